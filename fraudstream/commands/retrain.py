"""``fraudstream retrain``: answer a request of the drift monitor with a successor that watches beside the champion."""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from consumer.settings import WorkerSettings
from fraudstream.commands import rollout_change
from fraudstream.commands.bars import boosting_bar
from fraudstream.commands.connection import connect
from fraudstream.commands.drift_sources import warn
from fraudstream.commands.retrain_sources import USUAL_DAYS, Sources, Window, labelled_window
from fraudstream.commands.rollout_change import Rollouts, existing
from fraudstream.commands.rollout_text import print_change, print_lines
from fraudstream.commands.store import moving
from models import rollout_changes
from models.manifest import MANIFEST_FILE, digest, from_json
from models.registry import Registry, Version
from models.rollout import MAX_TEXT
from models.store import ConflictError
from schemas.printable import printable

if TYPE_CHECKING:
    from drift.retrain import Request
    from fraudstream.retraining import Requests, Waiting
    from models.model import Model
    from models.sandbox import Sandbox
    from models.successor import Contest

# XGBoost and SciPy take two seconds to load; `fraudstream --help`, and who finds that nothing waits, should not wait.
# ruff: noqa: PLC0415

SETTINGS = (
    *("group", "bootstrap_servers", "kafka", "retrain_topic", "store", "store_endpoint", "model_public_keys"),
    *("input_topic", "input_format", "input_schema", "input_schema_ids"),
    *("schema_registry_url", "schema_registry", "schema_subjects"),
    *("id_field", "unit_field", "event_time_field", "amount_field"),
)

_ATTEMPTS = 5
"""Rollouts that others may write at the very same time before this one gives up."""


@dataclass(frozen=True, slots=True)
class _Trained:
    """The successor's files, its name, and how it compares with the model that it is to succeed."""

    files: dict[str, bytes]
    version: Version
    contest: "Contest"


def retrain(
    settings: WorkerSettings,
    data: Annotated[
        str | None,
        typer.Option(help="Labelled transactions, .csv or parquet; a path or s3://…  Default: the topics."),
    ] = None,
    labels_topic: Annotated[str, typer.Option(help="Without --data: where labels come from.")] = "fraud.labels",
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Without --data: the first event time, as 2026-01-31T12:00 or -60d. "
            f"Default: {USUAL_DAYS} days before the end of the window that alarmed, and by --matured earlier.",
        ),
    ] = None,
    to: Annotated[
        str | None, typer.Option("--to", help="Event time before which to end. Default: all that has come since.")
    ] = None,
    matured: Annotated[
        str | None,
        typer.Option(
            metavar="AGE",
            help="Take a transaction that has no label for legitimate when it is so much older than the newest label "
            "(as 30d), and leave out what is younger. Default: only what has a label.",
        ),
    ] = None,
    legitimate_kept: Annotated[
        float | None, typer.Option(help="Share of legitimate transactions left in --data. Default: what the file says.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Column with 1 for fraud. Default: is_fraud or Class.")] = None,
    time: Annotated[str | None, typer.Option(help="Column with the time. Default: time or Time.")] = None,
    amount: Annotated[str | None, typer.Option(help="Column with the amount. Default: amount or Amount.")] = None,
    worse_by: Annotated[
        float,
        typer.Option(min=0, max=1, help="PR-AUC by which it may be worse than the model in place, on the last fifth."),
    ] = 0.0,
    key: Annotated[
        Path | None, typer.Option(help="Sign it with this Ed25519 private key (PEM), where models must be signed.")
    ] = None,
    by: Annotated[
        str | None, typer.Option("--by", help="Who changes the rollout. [default: $USER]", show_default=False)
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Train and compare; publish nothing, write nothing, leave the request.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was done as one JSON object.")] = False,
) -> None:
    """Answer one retraining request: train the successor of a model that drifted, and let it watch.

    `drift run` writes a request to RETRAIN_TOPIC on a critical alarm. This takes the oldest that is not done, trains by
    the recipe of the model that drifted on newer labelled transactions, loads the result as a worker would, compares
    both on the last fifth in time, publishes a new version, and enters it into the rollout as a shadow: it scores
    beside the others and decides nothing. Shares are never touched; that a version decides is for a person to say,
    with `fraudstream rollout ramp` or `promote`. For a scheduler: it works on one request and ends. Killed anywhere it
    may be run again. Nothing waiting: exit 0. Worse than the model in place: exit 1, and the request is done.

    fraudstream retrain --matured 30d

    fraudstream retrain --data s3://bucket/labelled.parquet --dry-run
    """
    from fraudstream.retraining import Requests

    sources = Sources(
        data,
        {"label": label, "time": time, "amount": amount},
        legitimate_kept,
        labels_topic,
        from_,
        to,
        matured,
    )
    rollouts = Rollouts.of(settings)
    requests = Requests(connect(settings), settings)
    say = _silent if as_json else print_lines
    taken = _next(requests, rollouts, dry_run=dry_run)
    if taken is None:
        say([f"No request waits on {requests.topic}."])
        _finish({"request": None, "outcome": "nothing"}, as_json=as_json)
        return
    waiting, request = taken
    say([f"Request {request.key}: {_drifted(request)}."])
    trained, used = _train(rollouts, request, sources, key)
    change = rollout_change.Request(by, _why(request), dry_run, as_json)
    if not as_json:
        _show(trained, request, used)
    told = _told(request, trained, used)
    if trained.contest.loss > worse_by:
        _refuse(requests, waiting, trained, worse_by, told, dry_run=dry_run, as_json=as_json)
    if dry_run:
        _rehearse(rollouts, trained.version, change)
        say(["Nothing was published or written, and the request waits: --dry-run."])
        _finish(told | {"outcome": "dry run"}, as_json=as_json)
        return
    _publish(rollouts.registry, trained)
    made = _shadow(rollouts, trained.version, change)
    requests.done(waiting)
    say([rollout_change.outcome(rollouts, made)])
    _finish(told | {"outcome": "shadow", "rollout": made.document.epoch}, as_json=as_json)


def _next(requests: "Requests", rollouts: Rollouts, *, dry_run: bool) -> "tuple[Waiting, Request] | None":
    """The oldest request that there is something to do about; those before it are done."""
    for waiting in requests.waiting():
        if waiting.request is None:
            place = f"offset {waiting.offset} of partition {waiting.partition} of {requests.topic}"
            needless: str | None = f"{place} is skipped: {waiting.problem}"
        else:
            needless = _needless(waiting.request, rollouts)
        if needless is None and waiting.request is not None:
            return waiting, waiting.request
        warn(needless or "")
        if not dry_run:
            requests.done(waiting)
    return None


def _needless(request: "Request", rollouts: Rollouts) -> str | None:
    """Why nothing is to be done about the request."""
    document, _ = rollout_change.current(rollouts.kept)
    for each in rollouts.kept.history():
        if each.changed.why.startswith(_reference(request)):
            return f"request {request.key} was answered by rollout {each.epoch} already"
    if all(variant.model != request.version for variant in existing(document).variants):
        return f"request {request.key} is skipped: {request.version} decides no more"
    return None


def _train(rollouts: Rollouts, request: "Request", sources: Sources, key: Path | None) -> tuple[_Trained, Window]:
    """The successor, as a worker would load it. Raises ConfigurationError where that cannot be had."""
    from models.artifact import from_files
    from models.sandbox import Sandbox
    from models.signature import public_keys

    keys = public_keys(rollouts.settings.model_public_keys)
    with tempfile.TemporaryDirectory(prefix="fraudstream-retrain-") as scratch, Sandbox() as sandbox:
        with moving() as watch:
            files = rollouts.registry.fetch(request.version, watch)
        champion = from_files(files, str(request.version), keys=keys, sandbox=sandbox)
        used = labelled_window(rollouts.settings, request, sources, champion.features)
        return _successor(champion, files, used, Path(scratch) / "model", key, sandbox, keys), used


def _successor(
    champion: "Model",
    files: dict[str, bytes],
    used: Window,
    directory: Path,
    key: Path | None,
    sandbox: "Sandbox",
    keys: Any,
) -> _Trained:
    from drift.model_baseline import train_with_baseline
    from models.artifact import from_files, read_directory
    from models.reasons import REASONS_FILE
    from models.signature import private_key, sign_directory
    from models.successor import contest, recipe

    chosen = recipe(champion.manifest)
    with boosting_bar(chosen.rounds * chosen.ensemble) as on_round:
        trained = train_with_baseline(
            directory, used.dataset, chosen, used.source, on_round, files.get(REASONS_FILE), used.card
        )
    if key is not None:
        sign_directory(directory, private_key(key))
    made = read_directory(directory)
    version = Version(trained.manifest.name, trained.manifest.version)
    from_files(made, str(version), keys=keys, sandbox=sandbox)
    return _Trained(made, version, contest(champion, trained, used.dataset, chosen))


def _publish(registry: Registry, trained: _Trained) -> None:
    """A run that was killed may have published these very trees, trained on a window that it called otherwise."""
    try:
        with moving() as watch:
            registry.publish(trained.files, watch)
    except ConflictError:
        if digest(registry.manifest(trained.version)) != digest(from_json(trained.files[MANIFEST_FILE], "successor")):
            raise


def _shadow(rollouts: Rollouts, version: Version, request: rollout_change.Request) -> rollout_change.Change:
    """Enter it beside the variants of whatever rollout is in force by then."""
    for attempt in range(_ATTEMPTS):
        try:
            return rollout_change.make(
                rollouts, lambda now, by: rollout_changes.shadow(existing(now), version, by), request
            )
        except ConflictError:
            if attempt == _ATTEMPTS - 1:
                raise
    raise AssertionError


def _rehearse(rollouts: Rollouts, version: Version, request: rollout_change.Request) -> None:
    """Say what would change."""
    document = existing(rollout_change.current(rollouts.kept)[0])
    changed = rollout_changes.shadow(document, version, request.by())
    if not request.as_json:
        print_change(document, changed)


def _refuse(
    requests: "Requests",
    waiting: "Waiting",
    trained: _Trained,
    worse_by: float,
    told: dict[str, Any],
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Say that the successor is too bad, once and for all, and exit."""
    if not dry_run:
        requests.done(waiting)
    _finish(told | {"outcome": "refused"}, as_json=as_json)
    warn(
        f"{trained.version} was not published: its PR-AUC is {trained.contest.loss:.4f} below that of the model in "
        f"place, and --worse-by allows {worse_by:g}"
    )
    raise typer.Exit(1)


def _show(trained: _Trained, request: "Request", used: Window) -> None:
    from rich.console import Console

    from models.comparison import draw
    from models.report import figures

    dataset = used.dataset
    frauds = int(dataset.frame["is_fraud"].sum())
    print_lines(
        [f"Trained {trained.version} on {len(dataset.frame):,} rows, {frauds:,} of them frauds: {used.source}."]
    )
    sides = zip(figures(trained.contest.champion), figures(trained.contest.successor), strict=True)
    rows = [(name, one, other) for (name, one), (_, other) in sides]
    Console().print(draw("both on the last fifth", ("", str(request.version), str(trained.version)), rows))


def _told(request: "Request", trained: _Trained, used: Window) -> dict[str, Any]:
    contest = trained.contest
    return {
        "request": {"key": request.key, "variant": request.variant, "subjects": request.subjects},
        "champion": str(request.version),
        "successor": str(trained.version),
        "data": {"source": used.source, "rows": len(used.dataset.frame)},
        "pr_auc": {"champion": contest.champion.pr_auc, "successor": contest.successor.pr_auc},
    }


def _finish(told: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")


def _silent(_lines: object) -> None:
    """Say nothing: what was done is told as JSON."""


def _drifted(request: "Request") -> str:
    """What drifted, in words."""
    named = [printable(subject) for subject in request.subjects[:5]]
    more = f" and {len(request.subjects) - 5} more" if len(request.subjects) > 5 else ""
    return f"{', '.join(named)}{more} drifted"


def _reference(request: "Request") -> str:
    """How the reason of a rollout begins that answers the request."""
    return f"retraining request {request.key}: "


def _why(request: "Request") -> str:
    return (_reference(request) + _drifted(request))[:MAX_TEXT]
