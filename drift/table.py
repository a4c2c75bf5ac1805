"""Show a person in the terminal what drifted and when."""

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from drift.alarm import Severity
from drift.history import History
from drift.page import alarm_row, summary
from drift.quality import quality_rows
from drift.times import Times

_STYLES = {Severity.WARN: "yellow", Severity.CRITICAL: "bold red"}


def tables(histories: Sequence[History]) -> Iterator[Table | Text]:
    """The summary, then for each model and variant its alarms and the quality of its data."""
    first = min(report.window_start for history in histories for report in history.reports)
    last = max(report.window_end for history in histories for report in history.reports)
    times = Times(first, last)
    yield Text(summary(histories))
    for history in histories:
        watched = history.watched
        name = f"{watched.name}@{watched.version}, {watched.variant}, {times.span(first, last)} UTC"
        if history.alarms:
            yield _alarms(history, name, times)
        yield _quality(history, name)


def _alarms(history: History, name: str, times: Times) -> Table:
    drawn = Table(title=f"alarms of {name}", title_justify="left")
    for heading in ("what", "how", "windows", "first", "last", "change", "limit", "of limit", "PSI", "adjusted p"):
        drawn.add_column(heading, justify="left" if heading in ("what", "how") else "right", overflow="fold")
    for alarm in history.alarms:
        drawn.add_row(Text(alarm.subject, _STYLES[alarm.severity]), *alarm_row(alarm, times))
    return drawn


def _quality(history: History, name: str) -> Table:
    drawn = Table(title=f"data of {name}", title_justify="left")
    for heading in ("", "baseline", f"newest {history.longest[0].scale}", f"worst {history.shortest[0].scale}"):
        drawn.add_column(heading, justify="right" if heading else "left")
    for row in quality_rows(history):
        drawn.add_row(*row)
    return drawn
