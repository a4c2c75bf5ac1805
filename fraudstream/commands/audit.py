"""``fraudstream audit``: prove over a range that every transaction has exactly one outcome."""

import sys
from contextlib import suppress
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from consumer.assignments import SplitOf
from consumer.audit import Report
from consumer.ranges import GRAMMAR, Extreme, Offsets, Point
from consumer.replay import Plan
from consumer.settings import WorkerSettings
from consumer.sheet import Anomaly
from fraudstream.audit import Question
from fraudstream.audit import audit as run
from fraudstream.commands.bars import reading_bars
from fraudstream.commands.connection import connect
from fraudstream.commands.points import point
from fraudstream.replaying import Replaying
from models.rollout_store import RolloutStore
from models.routing import Experiment
from models.store import NotStoredError, open_store
from schemas.errors import FraudstreamError

COMMITTED = "committed"


def audit(
    settings: WorkerSettings,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            help=f"Where the range begins: {GRAMMAR} [default: beginning, or where the replay begins]",
            show_default=False,
        ),
    ] = None,
    to: Annotated[
        str, typer.Option("--to", help=f"Where it ends, likewise; or {COMMITTED}: where GROUP has got to.")
    ] = COMMITTED,
    replay: Annotated[
        str | None, typer.Option(help="Judge the decisions of the replay of this name, not the live ones.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Prove that each transaction of a range has exactly one outcome, in order for each card.

    Reads INPUT_TOPIC, DECISIONS_TOPIC and DEAD_LETTERS_TOPIC as any reader of committed records, and joins no group.
    Exits 0 if nothing is amiss and 1 if something is: lost, doubled, out of order, decided from an aborted record,
    without a source, torn out of its transaction, or in a bucket (with a STORE that holds rollouts: of a variant) that
    its card does not have. With DELIVERY at_least_once what is doubled is counted and allowed. Names places, never
    payloads.

    --to end also counts what nobody has decided yet as lost; the default, committed, does not look so far. Offsets
    are of INPUT_TOPIC; the outputs are read as far as they reach.

    fraudstream audit --from 2026-01-31T00:00 --to 2026-02-01T00:00
    """
    last = None if to == COMMITTED else point("--to", to)
    first: Point = Extreme.BEGINNING if from_ is None else point("--from", from_)
    connection, split_of = connect(settings), _rollouts(settings)
    if replay is not None:
        replaying = Replaying(connection, settings, replay)
        settings, plan = replaying.settings, _plan(replaying, replay)
        first = first if from_ is not None else Offsets({span.partition: span.start for span in plan.spans})
        split_of = split_of if plan.by_rollout else None
    with reading_bars() as tell:
        report = run(connection, settings, Question(first, last, replay, split_of), tell)
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(_plain(report, settings, replay)) + b"\n")
    else:
        _show(report, settings)
    if not report.clean:
        sys.exit(FraudstreamError.exit_code)


def _rollouts(settings: WorkerSettings) -> SplitOf | None:
    """What the rollouts in the store of the settings say; None where there is no store, or no rollout in it."""
    if settings.store is None:
        return None
    rollouts = RolloutStore(open_store(settings.store, settings.store_endpoint))

    def split_of(epoch: int) -> Experiment | None:
        with suppress(NotStoredError):
            return rollouts.at(epoch).split
        return None

    with suppress(NotStoredError):
        rollouts.current()
        return split_of
    return None


def _plan(replaying: Replaying, name: str) -> Plan:
    plan = replaying.found()
    if plan is None:
        raise FraudstreamError(f"there is no replay {name} of topic {replaying.settings.input_topic}")
    return plan


def _plain(report: Report, settings: WorkerSettings, replay: str | None) -> dict[str, Any]:
    return {
        "clean": report.clean,
        "topic": settings.input_topic,
        "group": settings.group,
        "replay": replay,
        "delivery": settings.delivery,
        "records": sum(line.records for line in report.lines),
        "decisions": sum(line.decisions for line in report.lines),
        "duplicates": sum(line.duplicates for line in report.lines),
        "dead_letters": sum(line.dead_letters for line in report.lines),
        "anomalies": report.anomalies,
        "tolerated": sorted(report.tolerated),
        "partitions": [
            {
                "partition": line.span.partition,
                "from": line.span.start,
                "to": line.span.stop,
                "records": line.records,
                "decisions": line.decisions,
                "duplicates": line.duplicates,
                "dead_letters": line.dead_letters,
                "anomalies": line.anomalies,
            }
            for line in report.lines
        ],
        "examples": report.examples,
    }


def _show(report: Report, settings: WorkerSettings) -> None:
    console = Console()
    console.print(_table(report))
    for example in report.examples:
        topic = settings.decisions_topic if example.anomaly.of_output else settings.input_topic
        place = f"offset {example.offset} of partition {example.partition} of {topic}"
        console.print(f"{example.anomaly}: {place}", markup=False, highlight=False, soft_wrap=True)
    console.print(_verdict(report), markup=False, highlight=False, soft_wrap=True)


def _table(report: Report) -> Table:
    found = [anomaly for anomaly in Anomaly if report.anomalies[anomaly]]
    duplicates = ["duplicates"] if any(line.duplicates for line in report.lines) else []
    table = Table(box=None, pad_edge=False)
    for heading in ("partition", "from", "to", "records", "decisions", *duplicates, "dead letters", *found):
        table.add_column(heading, justify="right")
    for line in report.lines:
        copies = [line.duplicates] if duplicates else []
        numbers = (line.span.start, line.span.stop, line.records, line.decisions, *copies, line.dead_letters)
        counts = (line.anomalies.get(anomaly, 0) for anomaly in found)
        table.add_row(str(line.span.partition), *(f"{number:,}" for number in (*numbers, *counts)))
    return table


def _verdict(report: Report) -> str:
    records = f"{sum(line.records for line in report.lines):,} records"
    if not report.anomalies:
        return f"{records}, each with exactly one outcome"
    counts = ", ".join(f"{count:,} {anomaly}" for anomaly, count in report.anomalies.items())
    return f"{records}: {counts}" + (" (at least once: allowed)" if report.clean else "")
