"""``fraudstream drift``: whether what is scored is still what was trained on."""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from fraudstream.commands import drift_report, drift_run
from fraudstream.commands.connection import Config
from fraudstream.commands.drift_report import report
from fraudstream.commands.drift_run import run
from fraudstream.commands.options import with_settings
from fraudstream.commands.store import AsJson, Endpoint, Store, moving, open_registry, trusted_keys
from fraudstream.settings import read_settings
from fraudstream.stored_file import local_copy, read_file, write_file
from models.manifest import SIGNATURE_FILE
from models.registry import Version
from schemas.dataset import read_dataset, read_rows
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from drift.baseline import Baseline
    from drift.report import DriftReport
    from models.model import Model

# XGBoost and SciPy take two seconds to load; only the commands that use them wait for them.
# ruff: noqa: PLC0415

drift = typer.Typer(help="Watch what is scored for drift.", no_args_is_help=True, rich_markup_mode=None)
drift.command()(with_settings(run, drift_run.SETTINGS))
drift.command()(with_settings(report, drift_report.SETTINGS))


class Span(StrEnum):
    """The windows that traffic is judged in."""

    PANE = "10m"
    DAY = "24h"


Card = Annotated[
    str | None, typer.Option(help="Column with the card, for how many rows belong to one.", show_default=False)
]


@drift.command()
def baseline(
    data: Annotated[str, typer.Option(help="What the model was trained on, .csv or parquet; a path or s3://…")],
    model: Annotated[str, typer.Option(help="Directory of the model, or NAME@VERSION.")],
    out: Annotated[
        str | None,
        typer.Option(help="File to write, a path or s3://…  Default: beside the model in its directory."),
    ] = None,
    categorical: Annotated[
        str | None, typer.Option(help="Features whose values are codes, by comma.", show_default=False)
    ] = None,
    card: Card = None,
    legitimate_kept: Annotated[
        float | None,
        typer.Option(help="Share of legitimate transactions left in the data. Default: what the file says, or all."),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Column with 1 for fraud. Default: is_fraud or Class.")] = None,
    time: Annotated[str | None, typer.Option(help="Column with the time. Default: time or Time.")] = None,
    amount: Annotated[str | None, typer.Option(help="Column with the amount. Default: amount or Amount.")] = None,
    config: Config = None,
    store: Store = None,
    store_endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Make the baseline of a model: what its features, scores and alerts are like in usual traffic.

    Without --out it is put beside the model and named in its manifest: `models publish` then publishes both.

    fraudstream drift baseline --data history.parquet --model model
    """
    from drift.baseline_file import to_bytes
    from drift.model_baseline import baseline_of, put_beside

    loaded = _model(model, config, store, store_endpoint)
    if out is None and not Path(model).is_dir():
        raise ConfigurationError("--out: say where to write it, as a published version never changes")
    endpoint = _endpoint(config, store_endpoint)
    with local_copy(data, endpoint) as path:
        dataset = read_dataset(
            path,
            label=label,
            time=time,
            amount=amount,
            features=loaded.features,
            legitimate_kept=legitimate_kept,
        )
    codes = [name.strip() for name in categorical.split(",")] if categorical else []
    with _progress("own windows") as on_window:
        made = baseline_of(loaded, dataset, data, card, codes, on_window)
    if out is not None:
        write_file(out, to_bytes(made), endpoint)
    else:
        was_signed = (Path(model) / SIGNATURE_FILE).exists()
        put_beside(Path(model), made)
        if was_signed:
            _warn(f"the manifest in {model} is another one now, and its signature is gone: sign it again")
    _tell_baseline(made, out or model, as_json=as_json)


@drift.command()
def check(
    baseline: Annotated[
        str, typer.Option(help="A file (a path or s3://…), or a model (its directory or NAME@VERSION).")
    ],
    data: Annotated[str, typer.Option(help="Rows to judge, .csv or parquet; a path or s3://…")],
    model: Annotated[
        str | None,
        typer.Option(help="Directory of the model, or NAME@VERSION: judges its scores of the rows too."),
    ] = None,
    card: Card = None,
    scale: Annotated[Span, typer.Option(help="How much traffic the rows are of.")] = Span.DAY,
    config: Config = None,
    store: Store = None,
    store_endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Judge the rows of a file against a baseline, once. Exits 1 on an alarm, or where there are too few rows to say.

    The rule is that of the monitor: one false alarm in 90 days is expected where nothing drifts.

    fraudstream drift check --baseline model --data today.parquet
    """
    import numpy as np

    from drift.alarm import Severity
    from drift.check import check as judge
    from drift.detect import Rule
    from drift.windows import SCALES
    from models.artifact import check_features

    expected = _baseline(baseline, config, store, store_endpoint)
    features = [profile.name for profile in expected.features]
    with local_copy(data, _endpoint(config, store_endpoint)) as path:
        rows = read_rows(path, features, [card] if card else [])
    scores = review_at = None
    if model is not None:
        loaded = _model(model, config, store, store_endpoint)
        check_features(loaded.manifest, features, model)
        scores, review_at = (
            loaded.score(rows.frame[list(loaded.features)].to_numpy(np.float32)),
            loaded.policy.review_at,
        )
    of = next(each for each in SCALES if each.name == scale)
    report = judge(rows, expected, of, Rule(), scores, review_at, card)
    _tell_report(report, expected, as_json=as_json)
    raise typer.Exit(int(report.severity is not Severity.OK))


def _endpoint(config: Path | None, endpoint: str | None) -> str | None:
    return read_settings(config, {"store_endpoint": endpoint}).store_endpoint


def _is_version(name: str) -> bool:
    return "@" in name and "://" not in name and not Path(name).exists()


def _model(name: str, config: Path | None, store: str | None, endpoint: str | None) -> "Model":
    from models.artifact import from_files, load

    keys = trusted_keys(config)
    if not _is_version(name):
        return load(Path(name), keys=keys)
    with moving() as watch:
        files = open_registry(config, store, endpoint).fetch(Version.parse(name), watch)
    return from_files(files, name, keys=keys)


def _baseline(name: str, config: Path | None, store: str | None, endpoint: str | None) -> "Baseline":
    from drift.baseline_file import FILE, MOST_BYTES, from_bytes

    if _is_version(name):
        content = open_registry(config, store, endpoint).file(Version.parse(name), FILE)
        if content is None:
            raise ConfigurationError(f"{name} was published without a baseline: make one with --out")
        return from_bytes(content, f"{FILE} of {name}")
    location = str(Path(name) / FILE) if Path(name).is_dir() else name
    return from_bytes(read_file(location, _endpoint(config, endpoint), MOST_BYTES), location)


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """What to tell of work done and its total; it draws a bar where somebody sees it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _tell_baseline(made: "Baseline", where: str, *, as_json: bool) -> None:
    if as_json:
        _print_json(_summary(made) | {"out": where})
        return
    kinds = Counter(profile.nature.value for profile in made.features)
    console = Console()
    console.print(
        f"The baseline of {made.name}@{made.version} is in {where}: {made.rows:,} rows, "
        f"{len(made.features)} features ({', '.join(f'{count} {kind}' for kind, count in kinds.items())})",
        soft_wrap=True,
        highlight=False,
    )
    _tell_doubts(made)


def _summary(made: "Baseline") -> dict[str, Any]:
    return {
        "model": {"name": made.name, "version": made.version},
        "source": made.source,
        "rows": made.rows,
        "days": (made.last_time - made.first_time) / 86_400_000,
        "rows_per_card": made.rows_per_card,
        "features": {profile.name: profile.nature.value for profile in made.features},
        "alerts": made.alerts,
        "own_windows": {own.scale: {"length_ms": own.length, "count": own.count} for own in made.own},
        "doubts": made.doubts,
    }


def _tell_report(report: "DriftReport", expected: "Baseline", *, as_json: bool) -> None:
    from drift.report import to_record
    from fraudstream.drift_table import tests_table

    if as_json:
        _print_json(to_record(report) | {"doubts": expected.doubts})
        return
    console = Console()
    against = f"{report.rows:,} rows against the baseline of {expected.name}@{expected.version}"
    if report.tests:
        console.print(tests_table(report))
        console.print(f"{against}: {len(report.alarms)} of {len(report.tests)} tests raise an alarm", highlight=False)
    else:
        console.print(f"{against}: too few to say anything", highlight=False)
    _tell_doubts(expected)


def _tell_doubts(made: "Baseline") -> None:
    for doubt in made.doubts:
        _warn(doubt)


def _warn(text: str) -> None:
    print(f"fraudstream: {text}", file=sys.stderr)  # noqa: T201 - for the person, beside what a pipe takes


def _print_json(value: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
