"""Have an endpoint be what a plan says, move its weights, go back, and take it away; each twice is as good as once."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deploy.sagemaker.aws import AbsentError, Account, call, pages
from deploy.sagemaker.plan import Plan, resource_of
from schemas.errors import ConfigurationError, FraudstreamError

POLL_SECONDS = 5.0
PATIENCE_SECONDS = 4 * 3600.0
DIMENSION = "sagemaker:variant:DesiredInstanceCount"
_SERVING = "InService"
_FAILED = ("Failed", "OutOfService", "UpdateRollbackFailed")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint as AWS describes it."""

    name: str
    status: str
    config: str
    variants: tuple[Mapping[str, Any], ...]
    failure: str | None

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each variant as it is now."""
        return {each["VariantName"]: float(each["CurrentWeight"]) for each in self.variants}


def describe(account: Account, name: str) -> Endpoint | None:
    """The endpoint; None where there is none."""
    try:
        found = call(account.sagemaker, "describe_endpoint", EndpointName=name)
    except AbsentError:
        return None
    variants = tuple(found.get("ProductionVariants", ()))
    return Endpoint(name, found["EndpointStatus"], found["EndpointConfigName"], variants, found.get("FailureReason"))


def deploy(account: Account, plan: Plan, say: Say, pause: Callable[[float], None] = time.sleep) -> bool:
    """Make what is missing, then create or update the endpoint, and wait until it serves; whether anything changed.

    Raises FraudstreamError where the deployment failed or was rolled back by an alarm.
    """
    now = describe(account, plan.endpoint)
    _require_rest(now)
    if now is not None:
        _require_same_variants(now, set(plan.weights), plan.deployment)
    for request in plan.models:
        ensure_model(account, request, say)
    _create(account, "endpoint_config", "EndpointConfigName", plan.config, say)
    for request in plan.alarms:  # before the deployment that they watch
        call(account.alarms, "put_metric_alarm", **request)
    changes = now is None or now.config != plan.config_name
    if now is None:
        say(f"creating the endpoint {plan.endpoint}")
        tags = plan.config["Tags"]
        name = plan.config_name
        call(account.sagemaker, "create_endpoint", EndpointName=plan.endpoint, EndpointConfigName=name, Tags=tags)
    elif changes:
        _update(account, now, plan.config_name, set(plan.weights), plan.deployment, say)
    wait(account, plan.endpoint, plan.config_name, say, pause)
    for request in plan.targets:
        call(account.scaling, "register_scalable_target", **request)
    for request in plan.policies:
        call(account.scaling, "put_scaling_policy", **request)
    return changes


def shift(account: Account, name: str, weights: Mapping[str, float], say: Say) -> bool:
    """Give the variants these weights; whether they had others.

    Raises ConfigurationError where the endpoint has not exactly these variants: that takes a deployment.
    """
    now = _required(account, name)
    if set(now.weights) != set(weights):
        has, wants = (", ".join(sorted(variants)) for variants in (now.weights, weights))
        raise ConfigurationError(f"{name} serves {has} and the rollout {wants}: deploy it first")
    if all(abs(now.weights[variant] - weight) < 1e-6 for variant, weight in weights.items()):
        return False
    _require_rest(now)
    wanted = [{"VariantName": variant, "DesiredWeight": weight} for variant, weight in weights.items()]
    say(f"shifting {name}: " + ", ".join(f"{variant} {weight:.2%}" for variant, weight in weights.items()))
    request = {"EndpointName": name, "DesiredWeightsAndCapacities": wanted}
    call(account.sagemaker, "update_endpoint_weights_and_capacities", **request)
    return True


def history(account: Account, name: str) -> list[str]:
    """The configurations that were made for this endpoint, the latest first."""
    listed = pages(
        account.sagemaker,
        "list_endpoint_configs",
        "EndpointConfigs",
        NameContains=f"{name}-",
        SortBy="CreationTime",
        SortOrder="Descending",
    )
    prefix = f"{name}-"
    ours = [x for x in listed if x["EndpointConfigName"].startswith(prefix) and _is_digest(x, prefix)]
    # Sorted here as well: those that stand in for AWS need not do it.
    return [x["EndpointConfigName"] for x in sorted(ours, key=lambda x: x["CreationTime"], reverse=True)]


def rollback(account: Account, name: str, deployment: Mapping[str, Any], to: str | None, say: Say) -> str:
    """Go back to an earlier configuration, by default the one made before that in force; which it is.

    Raises ConfigurationError where there is none.
    """
    now = _required(account, name)
    _require_rest(now)
    made = history(account, name)
    if to is None:
        before = made[made.index(now.config) + 1 :] if now.config in made else []
        if not before:
            raise ConfigurationError(f"{name} has no configuration from before {now.config}")
        to = before[0]
    elif to not in made:
        raise ConfigurationError(f"{name} never had a configuration {to}: it had {', '.join(made) or 'none'}")
    if to != now.config:
        variants, _ = _named_in(account, [to])
        _require_same_variants(now, variants, deployment)
        _update(account, now, to, variants, deployment, say)
    return to


def delete(account: Account, name: str, say: Say) -> list[str]:
    """Take away the endpoint, its scaling, alarms, configurations and models; what was there."""
    gone = []
    now, configs = describe(account, name), history(account, name)
    variants, models = _named_in(account, configs)
    for variant in sorted(variants):
        request = {"ServiceNamespace": "sagemaker", "ScalableDimension": DIMENSION}
        try:
            call(account.scaling, "deregister_scalable_target", ResourceId=resource_of(name, variant), **request)
        except AbsentError:
            continue
        gone.append(f"scaling of {variant}")
    if now is not None:
        say(f"deleting the endpoint {name}")
        call(account.sagemaker, "delete_endpoint", EndpointName=name)
        gone.append(f"endpoint {name}")
    for config in configs:
        call(account.sagemaker, "delete_endpoint_config", EndpointConfigName=config)
        gone.append(f"configuration {config}")
    for model in sorted(models - _used_by_others(account, name, models)):
        try:
            call(account.sagemaker, "delete_model", ModelName=model)
        except AbsentError:
            continue
        gone.append(f"model {model}")
    alarms = [f"fraudstream-{name}-{variant}-{kind}" for variant in sorted(variants) for kind in ("5xx", "latency")]
    if alarms:
        call(account.alarms, "delete_alarms", AlarmNames=alarms)
        gone += [f"alarm {alarm}" for alarm in alarms]
    return gone


def wait(account: Account, name: str, config: str, say: Say, pause: Callable[[float], None] = time.sleep) -> Endpoint:
    """Wait until the endpoint serves with this configuration.

    Raises FraudstreamError where it failed, or serves with another: an alarm has rolled the deployment back.
    """
    deadline, said = time.monotonic() + PATIENCE_SECONDS, ""
    while True:
        now = _required(account, name)
        if now.status != said:
            said = now.status
            say(f"{name} is {said}")
        if now.status in _FAILED:
            raise FraudstreamError(f"{name} is {now.status}: {now.failure or 'no reason is given'}")
        if now.status == _SERVING:
            if now.config != config:
                why = now.failure or "an alarm went off during the deployment"
                raise FraudstreamError(f"{name} was rolled back to {now.config}: {why}")
            return now
        if time.monotonic() > deadline:
            raise FraudstreamError(f"{name} is still {now.status} after {PATIENCE_SECONDS / 3600:.0f} hours")
        pause(POLL_SECONDS)


def ensure_model(account: Account, request: Mapping[str, Any], say: Say) -> None:
    """Create the model unless it is there: its name is its content."""
    _create(account, "model", "ModelName", request, say)


def _create(account: Account, kind: str, name: str, request: Mapping[str, Any], say: Say) -> None:
    """Create what has a name by its content, unless it is there."""
    try:
        call(account.sagemaker, f"describe_{kind}", **{name: request[name]})
    except AbsentError:
        say(f"creating the {kind.replace('_', ' ')} {request[name]}")
        call(account.sagemaker, f"create_{kind}", **request)


def _update(
    account: Account, now: Endpoint, config: str, variants: set[str], deployment: Mapping[str, Any], say: Say
) -> None:
    say(f"updating {now.name} to {config}")
    request: dict[str, Any] = {"EndpointName": now.name, "EndpointConfigName": config}
    if variants == set(now.weights):
        request["DeploymentConfig"] = deployment
    else:
        say("other variants than now: all traffic moves at once, and no alarm sends it back")
    call(account.sagemaker, "update_endpoint", **request)


def _require_same_variants(now: Endpoint, variants: set[str], deployment: Mapping[str, Any]) -> None:
    """AWS guards a deployment only where the variants are called as before, and takes no steps between others.

    https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-exclusions.html
    """
    routing = deployment["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]["Type"]
    if variants != set(now.weights) and routing != "ALL_AT_ONCE":
        has, wants = (", ".join(sorted(names)) for names in (now.weights, variants))
        raise ConfigurationError(
            f"{now.name} serves {has} and is to serve {wants}: AWS moves traffic step by step, and back at an alarm, "
            "only between variants of the same names; take --shift all-at-once"
        )


def _required(account: Account, name: str) -> Endpoint:
    found = describe(account, name)
    if found is None:
        raise ConfigurationError(f"there is no endpoint {name}")
    return found


def _require_rest(now: Endpoint | None) -> None:
    if now is not None and now.status not in (_SERVING, *_FAILED):
        raise ConfigurationError(f"{now.name} is {now.status}: wait until it is {_SERVING}")


def _is_digest(config: Mapping[str, Any], prefix: str) -> bool:
    rest = config["EndpointConfigName"].removeprefix(prefix)
    return len(rest) == 12 and all(letter in "0123456789abcdef" for letter in rest)


def _named_in(account: Account, configs: list[str]) -> tuple[set[str], set[str]]:
    """Variants and models of these configurations."""
    variants, models = set(), set()
    for config in configs:
        found = call(account.sagemaker, "describe_endpoint_config", EndpointConfigName=config)
        variants |= {each["VariantName"] for each in found["ProductionVariants"]}
        models |= {
            each["ModelName"] for each in (*found["ProductionVariants"], *found.get("ShadowProductionVariants", ()))
        }
    return variants, models


def _used_by_others(account: Account, name: str, models: set[str]) -> set[str]:
    """Those of the models that a configuration of another endpoint needs."""
    if not models:
        return set()
    listed = pages(account.sagemaker, "list_endpoint_configs", "EndpointConfigs")
    others = [x["EndpointConfigName"] for x in listed if not x["EndpointConfigName"].startswith(f"{name}-")]
    return models & _named_in(account, others)[1]
