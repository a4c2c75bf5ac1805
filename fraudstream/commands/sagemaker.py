"""``fraudstream sagemaker``: the models of a rollout at a SageMaker endpoint."""

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from fraudstream.commands.connection import Config
from fraudstream.commands.rollout_change import Rollouts
from fraudstream.commands.store import AsJson, Endpoint, Store, trusted_models
from models.registry import Version
from models.rollout import Changed, Document, first
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from deploy.sagemaker.pack import Packed
    from deploy.sagemaker.plan import Plan, Wish

# boto3 and XGBoost take over a second to load; only the commands that need them wait.
# ruff: noqa: PLC0415

Name = Annotated[str, typer.Option("--endpoint", help="Name of the endpoint.", show_default=False)]
Region = Annotated[str | None, typer.Option(help="AWS region. [default: that of AWS's own settings]")]
Role = Annotated[str, typer.Option(help="ARN of the role that SageMaker takes on to read the models.")]
Image = Annotated[str, typer.Option(help="The XGBoost image of your region, 3.0 or newer.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan, and do nothing.")]
Kind = Annotated[str, typer.Option("--shift", help="all-at-once, canary or linear.")]
Step = Annotated[int, typer.Option("--step-percent", help="Of the capacity: the canary, or each step.")]
Wait = Annotated[int, typer.Option("--wait-seconds", help="Between two steps, and before the old fleet ends.")]

sagemaker = typer.Typer(
    help="Serve the models of a rollout at a SageMaker endpoint: deploy, shift, go back, and score data sets.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@sagemaker.command()
def deploy(
    endpoint: Name,
    role: Role,
    image: Image,
    rollout: Annotated[bool, typer.Option("--rollout", help="All variants of the rollout that is in force.")] = False,
    model: Annotated[str | None, typer.Option(help="NAME@VERSION alone instead.", show_default=False)] = None,
    instance_type: Annotated[str, typer.Option(help="Of each variant.")] = "ml.m5.large",
    instances: Annotated[int, typer.Option(help="Fewest instances of each variant.")] = 1,
    most_instances: Annotated[int, typer.Option(help="Most instances of each variant.")] = 4,
    invocations: Annotated[int, typer.Option(help="Requests a minute that one instance should have.")] = 3000,
    captured: Annotated[int, typer.Option(min=0, max=100, help="Percent of requests and answers to capture.")] = 0,
    capture_to: Annotated[str | None, typer.Option(help="s3://bucket/prefix for what is captured.")] = None,
    shift: Kind = "canary",
    step_percent: Step = 10,
    wait_seconds: Wait = 300,
    latency_ms: Annotated[int, typer.Option(help="p99 of the model above which a deployment is rolled back.")] = 50,
    tag: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A tag; may be repeated.")] = None,
    hourly_price: Annotated[float | None, typer.Option(help="Of one instance, for the costs in the plan.")] = None,
    dry_run: DryRun = False,
    region: Region = None,
    config: Config = None,
    store: Store = None,
    store_endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Deploy the rollout: models, configuration, alarms, scaling and the endpoint. The plan is printed first.

    What is there already is left as it is. An endpoint that serves is updated blue/green, and rolled back by itself
    where an alarm goes off. Ctrl-C stops the waiting, and not the deployment.

    fraudstream sagemaker deploy --endpoint fraud --rollout --role ARN --image …/sagemaker-xgboost:3.0-5
    """
    from deploy.sagemaker.apply import deploy as apply
    from deploy.sagemaker.aws import Account
    from deploy.sagemaker.pack import upload
    from deploy.sagemaker.plan import Wish, plan

    wish = Wish(
        endpoint=endpoint,
        role=role,
        image=image,
        instance_type=instance_type,
        instances=instances,
        most_instances=most_instances,
        invocations=invocations,
        captured=captured,
        capture_to=capture_to,
        shift=_shift(shift),
        step_percent=step_percent,
        wait_seconds=wait_seconds,
        latency_ms=latency_ms,
        tags=_tags(tag or ()),
        hourly_price=hourly_price,
    )
    rollouts = Rollouts.open(config, store, store_endpoint)
    document = _document(rollouts, model, rollout=rollout)
    packed = _packed(rollouts, document.models)
    kept = rollouts.registry.store
    made = plan(document, {version: (each, each.url(kept)) for version, each in packed.items()}, wish)
    if not as_json:
        _print_plan(made, wish)
    changed = False
    if not dry_run:
        for each in packed.values():
            upload(each, kept)
        with _telling() as say:
            changed = apply(Account.open(region), made, say)
    if as_json:
        _print_json({"changed": changed, "dry_run": dry_run, "plan": asdict(made)})
    elif not dry_run:
        Console().print(f"{endpoint} serves {made.config_name}" + ("" if changed else ", as it did"), soft_wrap=True)


@sagemaker.command()
def status(endpoint: Name, region: Region = None, as_json: AsJson = False) -> None:
    """Show what an endpoint serves, and with which weights."""
    from deploy.sagemaker.apply import describe, history
    from deploy.sagemaker.aws import Account

    account = Account.open(region)
    found = describe(account, endpoint)
    if found is None:
        raise ConfigurationError(f"there is no endpoint {endpoint}")
    made = history(account, endpoint)
    if as_json:
        _print_json({"name": found.name, "status": found.status, "config": found.config, "history": made}
                    | {"variants": [dict(each) for each in found.variants], "failure": found.failure})  # fmt: skip
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("variant", "weight", "wanted", "instances", "wanted"):
        table.add_column(heading, justify="left" if heading == "variant" else "right")
    for each in found.variants:
        figures = ("CurrentWeight", "DesiredWeight", "CurrentInstanceCount", "DesiredInstanceCount")
        table.add_row(each["VariantName"], *(f"{each.get(figure, 0):g}" for figure in figures))
    console = Console()
    why = f": {found.failure}" if found.failure else ""
    console.print(f"{endpoint} is {found.status}, with {found.config}{why}", soft_wrap=True, highlight=False)
    console.print(table)
    console.print(f"configurations, latest first: {', '.join(made)}", soft_wrap=True, highlight=False)


@sagemaker.command()
def shift(
    endpoint: Name,
    dry_run: DryRun = False,
    region: Region = None,
    config: Config = None,
    store: Store = None,
    store_endpoint: Endpoint = None,
) -> None:
    """Give the variants the weights of the rollout in force, where SageMaker chooses by weight."""
    from deploy.sagemaker.apply import shift as move
    from deploy.sagemaker.aws import Account
    from deploy.sagemaker.plan import variant_name

    document = Rollouts.open(config, store, store_endpoint).kept.current()[0]
    weights = {variant_name(each): each.share for each in document.variants}
    Console().print("weights: " + ", ".join(f"{name} {weight:.2%}" for name, weight in weights.items()))
    if not dry_run:
        with _telling() as say:
            moved = move(Account.open(region), endpoint, weights, say)
        Console().print(f"{endpoint} has them" + ("" if moved else ", as it did"))


@sagemaker.command()
def rollback(
    endpoint: Name,
    to: Annotated[str | None, typer.Option(help="A configuration of `status`. [default: the one before]")] = None,
    shift: Kind = "all-at-once",
    step_percent: Step = 10,
    wait_seconds: Wait = 0,
    region: Region = None,
) -> None:
    """Go back to an earlier configuration, by default at once."""
    from deploy.sagemaker.apply import rollback as go_back
    from deploy.sagemaker.apply import wait
    from deploy.sagemaker.aws import Account
    from deploy.sagemaker.plan import deployment_of

    account = Account.open(region)
    with _telling() as say:
        policy = deployment_of(_shift(shift), step_percent, wait_seconds, ())
        found = go_back(account, endpoint, policy, to, say)
        wait(account, endpoint, found, say)
    Console().print(f"{endpoint} serves {found}", soft_wrap=True, highlight=False)


@sagemaker.command()
def delete(
    endpoint: Name,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    region: Region = None,
) -> None:
    """Delete the endpoint, its scaling, alarms, configurations and models. What is in S3 stays."""
    from deploy.sagemaker.apply import delete as take_away
    from deploy.sagemaker.aws import Account

    if not yes:
        typer.confirm(f"Delete {endpoint} and all that was made for it?", abort=True)
    with _telling() as say:
        gone = take_away(Account.open(region), endpoint, say)
    for line in gone or ["nothing was there"]:
        Console().print(line, soft_wrap=True, highlight=False)


@sagemaker.command("batch-transform")
def batch_transform(
    model: Annotated[str, typer.Option(help="NAME@VERSION.")],
    source: Annotated[str, typer.Option("--in", help="s3://bucket/prefix of CSV files: id, then the features.")],
    target: Annotated[str, typer.Option("--out", help="s3://bucket/prefix for the results: id, score.")],
    role: Role,
    image: Image,
    instance_type: Annotated[str, typer.Option(help="Of the job.")] = "ml.m5.xlarge",
    instances: Annotated[int, typer.Option(help="Of the job.")] = 1,
    name: Annotated[str | None, typer.Option(help="Of the job. [default: by the model and the time]")] = None,
    dry_run: DryRun = False,
    region: Region = None,
    config: Config = None,
    store: Store = None,
    store_endpoint: Endpoint = None,
) -> None:
    """Score CSV files from S3 to S3. The id, first in each line, comes back beside the score and is not scored.

    Without a header, the features in the order of `fraudstream models show`, an empty field where one is missing. For
    decisions and not only scores, see `fraudstream batch`.
    """
    from deploy.sagemaker import transform
    from deploy.sagemaker.apply import ensure_model
    from deploy.sagemaker.aws import Account
    from deploy.sagemaker.pack import upload
    from deploy.sagemaker.plan import Wish, model_of

    version = Version.parse(model)
    rollouts = Rollouts.open(config, store, store_endpoint)
    kept = rollouts.registry.store
    packed = _packed(rollouts, [version])[version]
    made = model_of(version, packed, packed.url(kept), Wish("", role, image, instance_type), ())
    job_name = name or re.sub(r"[^a-zA-Z0-9]+", "-", f"{version}")[:40] + datetime.now(UTC).strftime("-%Y%m%d%H%M%S")
    job = transform.Job(job_name, made["ModelName"], source, target, instance_type, instances)
    request = transform.request_of(job)
    if dry_run:
        _print_json({"model": made, "job": request})
        return
    upload(packed, kept)
    account = Account.open(region)
    with _telling() as say:
        ensure_model(account, made, say)
        transform.run(account, job, say)
    Console().print(f"{job_name} has written {target}", soft_wrap=True, highlight=False)


def _document(rollouts: Rollouts, model: str | None, *, rollout: bool) -> Document:
    if rollout == (model is not None):
        raise typer.BadParameter("say what to deploy: --rollout, or --model NAME@VERSION")
    if model is None:
        return rollouts.kept.current()[0]
    return first(Version.parse(model), Changed("", datetime.now(UTC), "", "deploy"))


def _packed(rollouts: Rollouts, versions: Iterable[Version]) -> dict[Version, "Packed"]:
    """Each version, loaded as a worker loads it and packed for the container."""
    from deploy.sagemaker.pack import pack

    with trusted_models(rollouts.settings, rollouts.registry) as trusted:
        return {version: pack(trusted.version(version)) for version in versions}


def _shift(text: str) -> Any:
    if text not in ("all-at-once", "canary", "linear"):
        raise typer.BadParameter("--shift is all-at-once, canary or linear")
    return text


def _tags(given: Iterable[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in given]
    for key, sign, _ in pairs:
        if not key or not sign:
            raise typer.BadParameter("--tag takes KEY=VALUE")
    return {key: value for key, _, value in pairs}


def _print_plan(plan: "Plan", wish: "Wish") -> None:
    console = Console()
    table = Table(box=None, pad_edge=False)
    for heading in ("variant", "weight", "model", "instances"):
        table.add_column(heading)
    config = plan.config
    for each in config["ProductionVariants"]:
        scale = f"{wish.instances} to {wish.most_instances} {wish.instance_type}"
        table.add_row(each["VariantName"], f"{each['InitialVariantWeight']:.2%}", each["ModelName"], scale)
    for each in config.get("ShadowProductionVariants", ()):
        table.add_row(
            f"{each['VariantName']} (shadow)", "", each["ModelName"], f"{wish.instances} {wish.instance_type}"
        )
    console.print(table)
    routing = plan.deployment["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"]["Type"].lower()
    lines = [f"{plan.endpoint}: {plan.config_name}, {routing.replace('_', ' ')}, watched by {len(plan.alarms)} alarms"]
    lines += [f"note: {note}" for note in plan.notes] + [f"costs: {cost}" for cost in plan.costs]
    for line in lines:
        console.print(line, soft_wrap=True, highlight=False)


@contextmanager
def _telling() -> Iterator[Callable[[str], None]]:
    """Say what is done as it is done: a line each, and beneath it a sign of life where somebody looks."""
    console = Console(stderr=True)
    with console.status("asking AWS") as shown:

        def say(line: str) -> None:
            console.print(line, soft_wrap=True, highlight=False)
            shown.update(line)

        yield say


def _print_json(content: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(content, enc_hook=str) + b"\n")
