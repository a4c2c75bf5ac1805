"""``fraudstream drift report``: what drifted and when, for the terminal, for machines and as a page."""

import re
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer
from rich.console import Console

from consumer.settings import WorkerSettings
from fraudstream import logs
from fraudstream.commands.connection import connect
from fraudstream.reading import everything
from fraudstream.stored_file import write_file
from schemas.errors import FraudstreamError, InvalidRecordError

if TYPE_CHECKING:
    from drift.report import DriftReport

# SciPy takes a second to load; only the commands that use it wait for it.
# ruff: noqa: PLC0415

SETTINGS = (
    *(
        "bootstrap_servers",
        "kafka",
        "msk_iam_region",
        "consumer_kafka",
        "drift_topic",
        "drift_baselines",
        "model",
        "challenger",
    ),
    *("store", "store_endpoint"),
)

_UNITS = {"h": 3_600_000, "d": 86_400_000}


def report(
    settings: WorkerSettings,
    window: Annotated[
        str, typer.Option(help="Event times: the last 6h or 7d up to the newest window, or FROM/TO in UTC.")
    ] = "7d",
    html: Annotated[Path | None, typer.Option(help="Write a page with plots to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print all reports as JSON.")] = False,
) -> None:
    """Tell what drifted and when, from the reports that `drift run` has written.

    The page shows each alarm beside its baseline, which is looked for where `drift run` does.

    fraudstream drift report --window 24h --html drift.html

    fraudstream drift report --window 2026-01-31T12:00/2026-02-01
    """
    from drift.baselines import baselines_of
    from drift.history import histories
    from drift.page import page
    from drift.table import tables

    logs.configure("console", "error")  # doubts about a baseline stand on the page
    chosen = within(list(_reports(settings)), window)
    if not chosen:
        raise FraudstreamError(f"topic {settings.drift_topic} holds no report about this time")
    found = histories(chosen)
    if html:
        write_file(str(html), page(found, baselines_of(settings)).encode())
    if as_json:
        _print_json(chosen)
        return
    console = Console()
    for table in tables(found):
        console.print(table)
    if html:
        console.print(f"The page is {html}", soft_wrap=True, highlight=False)


def within(reports: Sequence["DriftReport"], window: str) -> list["DriftReport"]:
    """The reports about the windows that end in a stretch of time. Raises BadParameter where it is none."""
    newest = max((each.window_end for each in reports), default=0)
    first, last = _stretch(window, newest)
    return [each for each in reports if first < each.window_end <= last]


def _stretch(window: str, newest: int) -> tuple[int, int]:
    age = re.fullmatch(r"([1-9]\d{0,3})([hd])", window)
    if age:
        return newest - int(age[1]) * _UNITS[age[2]], newest
    first, slash, last = window.partition("/")
    try:
        if slash:
            return _moment(first), _moment(last)
    except ValueError:
        pass
    raise typer.BadParameter(f"{window!r} is neither an age such as 24h or 7d nor FROM/TO", param_hint="--window")


def _moment(text: str) -> int:
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)


def _reports(settings: WorkerSettings) -> Iterator["DriftReport"]:
    """The last report about each window."""
    from drift.wire import from_value

    newest = {
        message.key(): message.value() for message in everything(connect(settings), settings, settings.drift_topic)
    }
    unreadable = 0
    for value in newest.values():
        try:
            if value is not None:
                yield from_value(value)
        except InvalidRecordError:
            unreadable += 1
    if unreadable:
        Console(stderr=True).print(f"{unreadable:,} records of {settings.drift_topic} are no reports of this version")


def _print_json(reports: Sequence["DriftReport"]) -> None:
    from drift.report import to_record

    ordered = sorted(reports, key=lambda each: (each.window_end, each.key))
    sys.stdout.buffer.write(msgspec.json.encode([to_record(each) for each in ordered]) + b"\n")
