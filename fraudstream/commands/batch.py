"""``fraudstream batch``: data sets through the decisions of the stream."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from consumer.settings import WorkerSettings
from fraudstream.commands.store import moving
from fraudstream.stopping import stop_signals
from schemas.errors import FraudstreamError

if TYPE_CHECKING:
    from fraudstream.batch.places import DataFile
    from fraudstream.batch.run import Summary

BATCH_SETTINGS = (
    *("model", "model_public_keys", "challenger", "challenger_share", "experiment", "salt_id"),
    *("reason_codes", "reasons_for", "id_field", "unit_field", "event_time_field", "amount_field"),
    *("missing_unit", "earliest_event_time", "event_time_lead_seconds", "store", "store_endpoint"),
)
"""Those that have a say here; all others are the stream's."""


def batch(
    settings: WorkerSettings,
    source: Annotated[
        str, typer.Option("--in", metavar="FILE|DIR|s3://...", help="What to score: .parquet and .csv files.")
    ],
    out: Annotated[str, typer.Option("--out", metavar="DIR|s3://...", help="Where the decisions go.")],
    rollout: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="Decide as this rollout of the store does.", show_default=False)
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace decisions that another model or other settings made.")
    ] = False,
    threads: Annotated[int, typer.Option(min=1, help="Chunks decided at a time.")] = os.cpu_count() or 1,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as one JSON object.")] = False,
) -> None:
    """Decide every transaction of a data set as the stream would decide it.

    Each input file becomes one parquet file of decisions, which appears when it is complete; a row that cannot be
    decided goes to a file of the same name under _dead-letters, with the reason. A run that was stopped is taken up
    again by the same command: files whose content, model and settings are the same as before are skipped.

    Columns are found by the names that `fraudstream train` and the stream know, features by their own. Without columns
    for the ids of transactions and cards these are derived from the numbers of the rows.

    --model is the directory of a model, or NAME@VERSION of the store; --rollout the number of a rollout of the store,
    or current.

    Exits 1 if a file could not be scored, or 77 or 78 if that is why for all of them; the others are scored.

    fraudstream batch --in history.parquet --out decisions --model model
    """
    # pyarrow, boto3 and XGBoost take seconds to load; `fraudstream --help` should not wait for them.
    from fraudstream.batch.assemble import check_apart, data_set, decider  # noqa: PLC0415
    from fraudstream.batch.places import open_place  # noqa: PLC0415
    from fraudstream.batch.run import Run, plan  # noqa: PLC0415

    check_apart(source, out)
    data, place = data_set(source, settings.store_endpoint), open_place(out, settings.store_endpoint)
    with moving() as watch:
        decides = decider(settings, rollout, watch)
    jobs = plan(data, place, decides, overwrite=overwrite)
    began = time.monotonic()
    with stop_signals() as stop, _Bar.over(data.files) as bar:
        summary = Run(data.place, place, decides, threads, bar, stop.is_set).all(jobs)
    report = _report(summary, decides.models, data.passed_over, time.monotonic() - began)
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    else:
        typer.echo(_sentences(report))
    if summary.interrupted:
        raise typer.Exit(130)
    if summary.failed:
        codes = {error.exit_code for error in summary.failed.values()}
        raise typer.Exit(codes.pop() if len(codes) == 1 else 1)


class _Bar:
    """A bar on standard error, where that is a terminal, that grows with the bytes read; failures are said at once."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress = progress
        self._task = task
        self._began = time.monotonic()
        self._rows = 0
        self._before = self._size = 0

    @classmethod
    @contextmanager
    def over(cls, files: "Sequence[DataFile]") -> "Iterator[_Bar]":
        """A bar for all of them."""
        console = Console(stderr=True, soft_wrap=True)
        columns = (BarColumn(), TaskProgressColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
        with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
            yield cls(progress, progress.add_task("", total=sum(file.size for file in files)))

    def begins(self, file: "DataFile") -> None:
        """See Watcher."""
        self._before, self._size = self._before + self._size, file.size
        self._show(0.0)

    def chunk(self, rows: int, share: float) -> None:
        """See Watcher."""
        self._rows += rows
        self._show(share)

    def fails(self, error: FraudstreamError) -> None:
        """See Watcher."""
        self._progress.console.print(f"fraudstream: {error}", markup=False, highlight=False)

    def _show(self, share: float) -> None:
        rate = self._rows / max(1e-9, time.monotonic() - self._began)
        what = f"{self._rows:,} rows, {rate:,.0f}/s"
        self._progress.update(self._task, completed=self._before + share * self._size, description=what)


def _report(summary: "Summary", models: str, passed_over: int, seconds: float) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {
        "models": models,
        "rows": summary.counts.rows,
        "decisions": summary.counts.outcomes,
        "rejected": summary.counts.rejected,
        "files": {
            "scored": summary.scored,
            "finished_before": summary.finished_before,
            "failed": {name: str(error) for name, error in summary.failed.items()},
            "left": summary.left,
            "passed_over": passed_over,
        },
        "seconds": round(seconds, 3),
        "interrupted": summary.interrupted,
    }


def _sentences(report: dict[str, Any]) -> str:
    rate = report["rows"] / max(1e-9, report["seconds"])
    lines = [f"{report['rows']:,} rows in {report['seconds']:.1f} s ({rate:,.0f}/s), by {report['models']}"]
    lines += [f"{what:16} {_counted(report[what])}" for what in ("decisions", "rejected") if report[what]]
    files = {what: which if isinstance(which, int) else len(which) for what, which in report["files"].items()}
    lines += [f"files {what.replace('_', ' '):10} {number:,}" for what, number in files.items() if number]
    return "\n".join([*lines, *(["stopped: the same command goes on from here"] if report["interrupted"] else [])])


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {what}" for what, count in counts.items())
