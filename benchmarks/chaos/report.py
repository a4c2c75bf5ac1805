"""Tell what came of the scenarios: a line as each ends, a table, and the table in the docs."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.table import Table

from benchmarks.chaos.play import Played
from benchmarks.report import markdown_row, origin, put_into

HEADER = ("scenario", "done to it", "records", "ended by themselves", "audit", "reader during the run", "seconds")
RECOVERY = "s until it goes on"


def line(played: Played) -> str:
    """What is said of a scenario when it has ended."""
    verdict = "clean" if played.clean else f"[red]{played.problem or _counts(played.anomalies | played.live)}[/red]"
    return f"{played.scenario}: {verdict} ({played.seconds:.0f} s)"


def table(results: Sequence[Played]) -> Table:
    """The table for the terminal."""
    header, *rows = _rows(results)
    shown = Table(*header)
    for row in rows:
        shown.add_row(*row)
    return shown


def update(page: Path, results: Sequence[Played], command: str, name: str) -> None:
    """Put the table into the docs, between the markers of this name."""
    put_into(page, _markdown(results, command), name)


def _markdown(results: Sequence[Played], command: str) -> Iterator[str]:
    header, *rows = _rows(results)
    yield origin(command)
    yield markdown_row(header)
    yield markdown_row((["---"] * 2 + ["--:"] + ["---"] * 3 + ["--:"] * 2)[: len(header)])
    yield from map(markdown_row, rows)
    yield ""


def _rows(results: Sequence[Played]) -> Iterator[tuple[str, ...]]:
    """The header and a row for each; how fast it went on only where something was mended."""
    timed = any(played.recoveries for played in results)
    yield (*HEADER, RECOVERY) if timed else HEADER
    for played in results:
        recoveries = ", ".join(f"{seconds:.1f}" for seconds in played.recoveries)
        yield (*_cells(played), recoveries) if timed else _cells(played)


def _cells(played: Played) -> tuple[str, ...]:
    ended = ", ".join(f"{count} with exit code {code}" for code, count in sorted(played.ended.items()))
    audit = played.problem or _counts(played.anomalies) or "0 anomalies"
    live = "" if played.problem else _counts(played.live) or "0 anomalies"
    records = f"{played.events:,} and {played.aborted:,} aborted"
    return played.scenario, played.what, records, ended or "none", audit, live, f"{played.seconds:.0f}"


def _counts(anomalies: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {anomaly}" for anomaly, count in anomalies.items())
