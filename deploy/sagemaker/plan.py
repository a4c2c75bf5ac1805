"""Work out what an endpoint for a rollout consists of: pure, so that it can be shown before anything is done.

The requests are those of the SageMaker, Application Auto Scaling and CloudWatch APIs. Models and configurations are
named by what they contain: the same plan twice changes nothing, and a rollback finds what there was.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal

from deploy.sagemaker.pack import Packed
from models.registry import Version
from models.rollout import Document, Shadow, Variant, served
from schemas.errors import ConfigurationError

HOURS_A_MONTH = 730
MOST_VARIANTS = 5
"""Two alarms each: a deployment watches ten at most."""

_LONGEST_SECONDS = 28_800
"""Of a deployment, with all its waits."""

_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")

Request = Mapping[str, Any]
Shift = Literal["all-at-once", "canary", "linear"]


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asks for beside the rollout.

    ``captured`` (percent) of the requests go to ``capture_to``; from ``instances`` up to ``most_instances`` of each
    variant run, so that each takes ``invocations`` a minute. ``latency_ms`` is the p99 of the model above which, as
    after 5xx errors, a deployment is rolled back. ``hourly_price`` is of one instance, where it is known.
    """

    endpoint: str
    role: str
    image: str
    instance_type: str
    instances: int = 1
    most_instances: int = 4
    invocations: int = 3000
    captured: int = 0
    capture_to: str | None = None
    shift: Shift = "canary"
    step_percent: int = 10
    wait_seconds: int = 300
    latency_ms: int = 50
    tags: Mapping[str, str] = field(default_factory=dict)
    hourly_price: float | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """Every request that it takes, in order, and what a person should know first."""

    endpoint: str
    models: tuple[Request, ...]
    config: Request
    targets: tuple[Request, ...]
    policies: tuple[Request, ...]
    alarms: tuple[Request, ...]
    deployment: Request
    notes: tuple[str, ...]
    costs: tuple[str, ...]

    @property
    def config_name(self) -> str:
        """The configuration that the endpoint is to have."""
        name: str = self.config["EndpointConfigName"]
        return name

    @property
    def weights(self) -> dict[str, float]:
        """The weight of each production variant: the share of the cards that the rollout gives it."""
        return {each["VariantName"]: each["InitialVariantWeight"] for each in self.config["ProductionVariants"]}


def plan(document: Document, packed: Mapping[Version, tuple[Packed, str]], wish: Wish) -> Plan:
    """The plan for every variant of the rollout; ``packed`` holds the model of each version and its URL.

    Raises ConfigurationError for what SageMaker would refuse.
    """
    _check(document, wish)
    shadow, notes = _shadow(document)
    hosted: list[Variant | Shadow] = [*document.variants, *([shadow] if shadow else [])]
    tags = [{"Key": key, "Value": value} for key, value in sorted(_tags(document, wish).items())]
    models = {each.version: model_of(each.model, *packed[each.model], wish, tags) for each in hosted}
    production = [_production(each, models[each.version]["ModelName"], wish, each.share) for each in document.variants]
    config: dict[str, Any] = {"ProductionVariants": production, "Tags": tags}
    if shadow:
        config["ShadowProductionVariants"] = [_production(shadow, models[shadow.version]["ModelName"], wish, 1.0)]
    if wish.captured:
        config["DataCaptureConfig"] = {
            "EnableCapture": True,
            "InitialSamplingPercentage": wish.captured,
            "DestinationS3Uri": wish.capture_to,
            "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
        }
    config["EndpointConfigName"] = _named(wish.endpoint, _digest(config | {"Tags": None}))
    names = [each["VariantName"] for each in production]
    alarms = tuple(alarm for name in names for alarm in _alarms(wish, name))
    return Plan(
        endpoint=wish.endpoint,
        models=tuple(models.values()),
        config=config,
        targets=tuple(_target(wish, name) for name in names),
        policies=tuple(_policy(wish, name) for name in names),
        alarms=alarms,
        deployment=deployment_of(
            wish.shift, wish.step_percent, wish.wait_seconds, [alarm["AlarmName"] for alarm in alarms]
        ),
        notes=tuple(notes),
        costs=tuple(_costs(wish, len(names), has_shadow=shadow is not None)),
    )


def variant_name(each: Variant | Shadow) -> str:
    """What a variant is called at SageMaker: as its endpoint in the rollout says, else by its own name."""
    if each.endpoint is not None and each.endpoint.target_variant is not None:
        return each.endpoint.target_variant
    return re.sub(r"[._-]+", "-", each.name).strip("-")


def resource_of(endpoint: str, variant: str) -> str:
    """The name of a variant's capacity at Application Auto Scaling."""
    return f"endpoint/{endpoint}/variant/{variant}"


def _check(document: Document, wish: Wish) -> None:
    if not _NAME.fullmatch(wish.endpoint) or len(wish.endpoint) > 50:
        raise ConfigurationError("endpoint: take letters, digits and single dashes between them, 50 at most")
    if wish.captured and not (wish.capture_to or "").startswith("s3://"):
        raise ConfigurationError("capture-to: say where captured requests go, s3://bucket/prefix")
    if not 1 <= wish.instances <= wish.most_instances:
        raise ConfigurationError("instances must be at least 1, and most-instances not below them")
    if len(document.variants) > MOST_VARIANTS:
        raise ConfigurationError(f"an endpoint here has at most {MOST_VARIANTS} variants, and the rollout has more")
    names = [variant_name(each) for each in served(document)]
    for name in names:
        if not _NAME.fullmatch(name) or names.count(name) > 1:
            raise ConfigurationError(f"{name!r} cannot be the name of one variant at SageMaker: name it otherwise")


def _shadow(document: Document) -> tuple[Shadow | None, list[str]]:
    """The shadow that SageMaker can run itself, which is one beside one variant, and why not where it cannot."""
    if not document.shadows:
        return None, []
    if len(document.variants) == 1 and len(document.shadows) == 1:
        note = (
            "SageMaker sends the shadow a copy of every request; its answers are only in its data capture and metrics"
        )
        return document.shadows[0], [note]
    return None, ["SageMaker runs one shadow beside one variant: those of this rollout stay with the workers"]


def _tags(document: Document, wish: Wish) -> dict[str, str]:
    return {
        **wish.tags,
        "fraudstream:endpoint": wish.endpoint,
        "fraudstream:experiment": document.experiment_id,
        "fraudstream:epoch": str(document.epoch),
    }


def model_of(version: Version, packed: Packed, url: str, wish: Wish, tags: Sequence[Request]) -> Request:
    """What makes SageMaker's model of a packed version."""
    container = {"Image": wish.image, "ModelDataUrl": url}
    return {
        "ModelName": _named(f"{version.name}-{version.version}", _digest([container, wish.role])),
        "PrimaryContainer": container,
        "ExecutionRoleArn": wish.role,
        "Tags": [
            *tags,
            {"Key": "fraudstream:model", "Value": str(version)},
            {"Key": "fraudstream:digest", "Value": packed.digest},
        ],
    }


def _production(each: Variant | Shadow, model: str, wish: Wish, weight: float) -> Request:
    return {
        "VariantName": variant_name(each),
        "ModelName": model,
        "InstanceType": wish.instance_type,
        "InitialInstanceCount": wish.instances,
        "InitialVariantWeight": weight,
    }


def _target(wish: Wish, variant: str) -> Request:
    return {
        **_scaled(wish, variant),
        "MinCapacity": wish.instances,
        "MaxCapacity": wish.most_instances,
    }


def _policy(wish: Wish, variant: str) -> Request:
    metric = {"PredefinedMetricType": "SageMakerVariantInvocationsPerInstance"}
    return {
        **_scaled(wish, variant),
        "PolicyName": f"{wish.endpoint}-{variant}-invocations",
        "PolicyType": "TargetTrackingScaling",
        "TargetTrackingScalingPolicyConfiguration": {
            "TargetValue": float(wish.invocations),
            "PredefinedMetricSpecification": metric,
            "ScaleOutCooldown": 60,
            "ScaleInCooldown": 600,
        },
    }


def _scaled(wish: Wish, variant: str) -> dict[str, Any]:
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": resource_of(wish.endpoint, variant),
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }


def _alarms(wish: Wish, variant: str) -> Iterator[Request]:
    common = {
        "Namespace": "AWS/SageMaker",
        "Dimensions": [
            {"Name": "EndpointName", "Value": wish.endpoint},
            {"Name": "VariantName", "Value": variant},
        ],
        "Period": 60,
        "EvaluationPeriods": 2,
        "ComparisonOperator": "GreaterThanThreshold",
        "TreatMissingData": "notBreaching",
    }
    name = f"fraudstream-{wish.endpoint}-{variant}"
    yield {
        **common,
        "AlarmName": f"{name}-5xx",
        "AlarmDescription": "The endpoint fails: a deployment under way is rolled back.",
        "MetricName": "Invocation5XXErrors",
        "Statistic": "Sum",
        "Threshold": 0.0,
    }
    yield {
        **common,
        "AlarmName": f"{name}-latency",
        "AlarmDescription": f"The p99 of the model is above {wish.latency_ms} ms: a deployment is rolled back.",
        "MetricName": "ModelLatency",
        "ExtendedStatistic": "p99",
        "Threshold": wish.latency_ms * 1000.0,  # CloudWatch has it in microseconds
    }


def deployment_of(shift: Shift, step_percent: int, wait_seconds: int, alarms: Sequence[str]) -> Request:
    """How traffic moves to a new fleet, and the alarms that send it back.

    https://docs.aws.amazon.com/sagemaker/latest/dg/deployment-guardrails-blue-green.html

    Raises ConfigurationError for what SageMaker would refuse.
    """
    if shift == "linear" and not 10 <= step_percent <= 50:
        raise ConfigurationError("step-percent must lie between 10 and 50 for a linear shift")
    if not 1 <= step_percent <= 50:
        raise ConfigurationError("step-percent must lie between 1 and 50")
    step = {"Type": "CAPACITY_PERCENT", "Value": step_percent}
    routing: dict[str, Any] = {"Type": shift.upper().replace("-", "_"), "WaitIntervalInSeconds": wait_seconds}
    steps = 1
    if shift == "canary":
        routing["CanarySize"] = step
    elif shift == "linear":
        routing["LinearStepSize"] = step
        steps = -(-100 // step_percent)
    if not 0 <= wait_seconds <= 3_600 or wait_seconds * (steps + 1) >= _LONGEST_SECONDS:
        raise ConfigurationError("wait-seconds must lie between 0 and 3,600, and all waits stay below 8 hours together")
    longest = min(_LONGEST_SECONDS, max(1_800, 2 * wait_seconds * (steps + 1)))
    policy = {
        "BlueGreenUpdatePolicy": {
            "TrafficRoutingConfiguration": routing,
            "TerminationWaitInSeconds": wait_seconds,
            "MaximumExecutionTimeoutInSeconds": longest,
        },
    }
    return policy | ({"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": x} for x in alarms]}} if alarms else {})


def _costs(wish: Wish, variants: int, *, has_shadow: bool) -> Iterator[str]:
    """What costs money by the month, in hours and shares; in money only where a price was given."""
    least = wish.instances * (variants + has_shadow)
    most = wish.most_instances * variants + wish.instances * has_shadow
    hours = f"{least * HOURS_A_MONTH:,} to {most * HOURS_A_MONTH:,} hours of {wish.instance_type} a month"
    if wish.hourly_price is not None:
        low, high = (count * HOURS_A_MONTH * wish.hourly_price for count in (least, most))
        hours += f": {low:,.0f} to {high:,.0f} at {wish.hourly_price:g} an hour"
    yield hours
    yield "twice as many instances while a deployment runs (blue and green)"
    if wish.captured:
        yield f"S3 for {wish.captured} % of the requests and answers, about 350 bytes a transaction"
    yield f"{2 * variants} CloudWatch alarms, and {variants} of Application Auto Scaling's own pairs"


def _named(what: str, digest: str) -> str:
    return f"{re.sub(r'[^a-zA-Z0-9]+', '-', what).strip('-')[:50].rstrip('-')}-{digest[:12]}"


def _digest(content: object) -> str:
    return sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
