"""``fraudstream drift check``: the tests of the monitor, once, over a file."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console

from consumer.settings import WorkerSettings
from fraudstream.commands.drift_sources import load_baseline, tell_doubts
from fraudstream.commands.store import load_model
from fraudstream.stored_file import local_copy

if TYPE_CHECKING:
    from drift.baseline import Baseline
    from drift.report import DriftReport

# XGBoost and SciPy take two seconds to load; `fraudstream --help` should not wait for them.
# ruff: noqa: PLC0415

SETTINGS = (
    *("store", "store_endpoint", "drift_unit", "drift_alarms"),
    *("drift_pane_minutes", "drift_window_minutes", "drift_hop_minutes"),
)


def check(
    settings: WorkerSettings,
    baseline: Annotated[
        str, typer.Option(help="A file (a path or s3://…), or a model (its directory or NAME@VERSION).")
    ],
    data: Annotated[str, typer.Option(help="Rows to judge, .csv or parquet; a path or s3://…")],
    model: Annotated[
        str | None,
        typer.Option(help="Directory of the model, or NAME@VERSION: judges its scores of the rows too."),
    ] = None,
    card: Annotated[
        str | None, typer.Option(help="Column with the card, for how many rows belong to one.", show_default=False)
    ] = None,
    scale: Annotated[
        str | None,
        typer.Option(help="How much traffic the rows are of: 10m, or 24h unless windows are set to other lengths."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Judge the rows of a file against a baseline, once. Exits 1 on an alarm, or where there are too few rows to say.

    The rule is that of the monitor with these settings, and its windows are: one false alarm in 90 days is expected
    where nothing drifts.

    fraudstream drift check --baseline model --data today.parquet
    """
    import numpy as np

    from drift.alarm import Severity
    from drift.check import check as judge
    from drift.rule import rule_of
    from models.artifact import check_features
    from schemas.dataset import read_rows

    rule = rule_of(settings)
    of = next((each for each in rule.scales if each.name == scale), None if scale else rule.scales[-1])
    if of is None:
        names = " or ".join(each.name for each in rule.scales)
        raise typer.BadParameter(f"windows are of {names}, not of {scale}", param_hint="--scale")
    expected = load_baseline(settings, baseline)
    features = [profile.name for profile in expected.features]
    with local_copy(data, settings.store_endpoint) as path:
        rows = read_rows(path, features, [card] if card else [])
    scores = review_at = None
    if model is not None:
        loaded = load_model(settings, model)
        check_features(loaded.manifest, features, model)
        scores = loaded.score(rows.frame[list(loaded.features)].to_numpy(np.float32))
        review_at = loaded.policy.review_at
    report = judge(rows, expected, of, rule, scores, review_at, card)
    _tell(report, expected, expected.doubts_at([of]), as_json=as_json)
    raise typer.Exit(int(report.severity is not Severity.OK))


def _tell(report: "DriftReport", expected: "Baseline", doubts: Sequence[str], *, as_json: bool) -> None:
    from drift.report import to_record
    from fraudstream.drift_table import tests_table

    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(to_record(report) | {"doubts": doubts}) + b"\n")
        return
    console = Console()
    against = f"{report.rows:,} rows against the baseline of {expected.name}@{expected.version}"
    found = f"{len(report.alarms)} of {len(report.tests)} tests raise an alarm"
    if report.tests:
        console.print(tests_table(report))
    else:
        found = "too few to say anything"
    console.print(f"{against}: {found}", highlight=False, soft_wrap=True)
    tell_doubts(doubts)
