"""Show a person what drifted and when: one page that needs nothing beside it."""

from collections.abc import Callable, Iterator, Sequence
from html import escape

from drift.alarm import Severity
from drift.baseline import Baseline
from drift.charts import charts_of, shapes_of
from drift.heat_map import heat_map
from drift.history import Alarm, History, excess
from drift.quality import quality_rows
from drift.times import Times, long
from drift.windows import Watched
from models.report import figure, fill

MOST_SHAPES = 12
"""Alarms that are drawn as distributions; of more, the largest."""

_LEGEND = (
    ("calm0", "far below its limit"),
    ("calm3", "close to it"),
    ("warn", "warn"),
    ("critical", "critical"),
    ("insufficient", "too few rows to say"),
)


def page(histories: Sequence[History], baseline_of: Callable[[Watched], Baseline | None]) -> str:
    """One HTML page about what was found, one history at least."""
    first = min(report.window_start for history in histories for report in history.reports)
    last = max(report.window_end for history in histories for report in history.reports)
    times = Times(first, last)
    return fill(
        "page.html",
        "drift",
        period=f"{long(first)} to {long(last)}",
        summary=escape(summary(histories)),
        sections="".join(_section(history, baseline_of(history.watched), times) for history in histories),
    )


def summary(histories: Sequence[History]) -> str:
    """What was found, in a sentence or two."""
    reports = [report for history in histories for report in history.reports]
    loud = [report for report in reports if report.severity.is_alarm]
    judged = [report for report in reports if report.severity is not Severity.INSUFFICIENT]
    told = f"{len(reports):,} windows, {len(reports) - len(judged):,} of them with too few rows to say anything."
    if not loud:
        return f"Nothing drifted in {told}"
    critical = sum(report.severity is Severity.CRITICAL for report in loud)
    named = dict.fromkeys(alarm.subject for history in histories for alarm in history.alarms)
    more = f" and {len(named) - 5} more" if len(named) > 5 else ""
    return (
        f"{len(loud):,} windows alarmed, {critical:,} of them critically, of {told} "
        f"What changed: {', '.join(list(named)[:5])}{more}."
    )


def _section(history: History, baseline: Baseline | None, times: Times) -> str:
    watched = history.watched
    title = f"{escape(watched.name)} {escape(watched.version)} <span>{escape(watched.variant)}</span>"
    return "".join(
        [
            f"<h1>{title}</h1>",
            *_doubts(baseline),
            "<h2>When</h2>",
            *_heat_maps(history, times),
            "<h2>What alarmed</h2>",
            _alarms(history.alarms, times),
            *_shapes(history.alarms, baseline, times),
            "<h2>Over time</h2>",
            f'<div class="plots">{"".join(figure(*plot) for plot in charts_of(history, baseline, times))}</div>',
            "<h2>Data quality</h2>",
            _table(
                ("", "baseline", f"newest {history.longest[0].scale}", f"worst {history.shortest[0].scale}"),
                quality_rows(history),
            ),
        ]
    )


def _doubts(baseline: Baseline | None) -> Iterator[str]:
    for doubt in baseline.doubts if baseline else ("its baseline is not at hand: only the windows are drawn",):
        yield f'<p class="warn-text">{escape(doubt[0].upper() + doubt[1:])}.</p>'


def _alarms(alarms: Sequence[Alarm], times: Times) -> str:
    if not alarms:
        return "<p>Nothing.</p>"
    headings = ("what", "how", "windows", "first", "last", "change", "limit", "of limit", "PSI", "adjusted p")
    body = "".join(f"<tr><th>{_subject(alarm)}</th>{_cells(alarm_row(alarm, times))}</tr>" for alarm in alarms)
    return _frame(headings, body, "dense alarms")


def alarm_row(alarm: Alarm, times: Times) -> tuple[str, ...]:
    """What is told of an alarm beside its subject, as text."""
    _, test = alarm.largest
    return (
        f"{alarm.kind.value}, {alarm.scale}",
        f"{len(alarm.windows):,}",
        times.at(alarm.windows[0].window_start),
        times.at(alarm.windows[-1].window_end),
        f"{test.statistic:.4f}",
        f"{test.threshold:.4f}",
        f"{excess(test):.1f}",
        "" if test.psi is None else f"{test.psi:.3f}",
        f"{test.adjusted_p:.1g}",
    )


def _subject(alarm: Alarm) -> str:
    return f'<span class="{alarm.severity.value}-text">{escape(alarm.subject)}</span>'


def _heat_maps(history: History, times: Times) -> Iterator[str]:
    for scale in history.scales:
        note = "Point at a cell to read it." + _key()
        yield f'<figure class="wide"><figcaption><b>Windows of {escape(scale)}</b>{note}</figcaption>'
        yield heat_map(history, scale, times) + "</figure>"


def _key() -> str:
    swatch = '<svg class="heat" viewBox="0 0 12 12"><rect class="{}" width="12" height="12"/></svg>'
    return f'<ul class="key">{"".join(f"<li>{swatch.format(style)}{label}</li>" for style, label in _LEGEND)}</ul>'


def _shapes(alarms: Sequence[Alarm], baseline: Baseline | None, times: Times) -> Iterator[str]:
    # The same change shows in windows of several scales: the one where it is largest will do.
    largest = {(alarm.subject, alarm.kind): alarm for alarm in reversed(alarms)}
    chosen = [alarm for alarm in alarms if largest[alarm.subject, alarm.kind] is alarm]
    plots = [plot for alarm in chosen[:MOST_SHAPES] for plot in shapes_of(alarm, baseline, times)]
    if plots:
        yield "<h2>What it looks like</h2>"
        yield f'<div class="plots">{"".join(figure(*plot) for plot in plots)}</div>'


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return _frame(headings, "".join(f"<tr><th>{escape(row[0])}</th>{_cells(row[1:])}</tr>" for row in rows))


def _frame(headings: Sequence[str], body: str, style: str = "dense") -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    return (
        f'<div class="scroll"><table class="{style}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _cells(texts: Sequence[str]) -> str:
    return "".join(f"<td>{escape(text)}</td>" for text in texts)
