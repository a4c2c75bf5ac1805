"""Draw how far each subject was from its baseline in each window, as SVG that stands in a page by itself."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from drift.alarm import Severity, worst
from drift.history import History, excess, hop_of
from drift.report import DriftReport, DriftTest
from drift.times import Times

LEFT, TOP, BOTTOM, ROW, WIDTH = 92, 4, 22, 15, 980
COLUMNS = 160
"""At most: of more windows, several share a column, which shows the worst of them."""

TICKS = 8

SHADES = 4
"""Of what is no alarm, by its part of the threshold."""


@dataclass(frozen=True, slots=True)
class _Cell:
    """One subject in the windows of a column."""

    style: str
    text: str


@dataclass(frozen=True, slots=True)
class _Columns:
    """Stretches of equal length from ``first`` to ``last`` (ms), with the windows that end in each."""

    first: int
    last: int
    reports: Sequence[Sequence[DriftReport]]


def heat_map(history: History, scale: str, times: Times) -> str:
    """An ``svg`` element: a row a subject, those with alarms on top; from left to right the windows in time."""
    columns, subjects = _columns(history.scales[scale]), history.subjects(scale)
    height = TOP + ROW * len(subjects) + BOTTOM
    cells = (
        _column(reports, number, len(columns.reports), subjects, times)
        for number, reports in enumerate(columns.reports)
        if reports
    )
    return "".join(
        [
            f'<svg class="heat" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="alarms by subject and time">',
            *_names(subjects),
            *cells,
            *_time_axis(columns, height, times),
            "</svg>",
        ]
    )


def _columns(reports: Sequence[DriftReport]) -> _Columns:
    """A window belongs where it ends: those of a day overlap."""
    hop = hop_of(reports)
    first, last = reports[0].window_end - hop, reports[-1].window_end
    count = min(COLUMNS, (last - first) // hop)
    parts: list[list[DriftReport]] = [[] for _ in range(count)]
    for report in reports:
        parts[(report.window_end - first - 1) * count // (last - first)].append(report)
    return _Columns(first, last, parts)


def _names(subjects: Sequence[str]) -> Iterator[str]:
    for row, subject in enumerate(subjects):
        at = TOP + ROW * row + ROW - 4
        yield f'<text x="{LEFT - 6}" y="{at}" text-anchor="end">{escape(subject[:16])}</text>'


def _column(reports: Sequence[DriftReport], number: int, columns: int, subjects: Sequence[str], times: Times) -> str:
    """The cells of one column."""
    width = (WIDTH - LEFT) / columns
    tests = _by_subject(reports)
    cells = [_cell(subject, tests.get(subject, ()), reports, times) for subject in subjects]
    drawn = []
    for row, cell in enumerate(cells):
        place = f'x="{LEFT + number * width:.1f}" y="{TOP + ROW * row}" width="{width + 0.1:.1f}" height="{ROW - 1}"'
        title = f"<title>{escape(cell.text)}</title>" if cell.text else ""
        drawn.append(f'<rect class="{cell.style}" {place}>{title}</rect>')
    return "".join(drawn)


def _by_subject(reports: Sequence[DriftReport]) -> Mapping[str, Sequence[DriftTest]]:
    tests: dict[str, list[DriftTest]] = {}
    for report in reports:
        for test in report.tests:
            tests.setdefault(test.subject, []).append(test)
    return tests


def _cell(subject: str, tests: Sequence[DriftTest], reports: Sequence[DriftReport], times: Times) -> _Cell:
    severity = worst(test.severity for test in tests)
    if severity is Severity.INSUFFICIENT:
        return _Cell("insufficient", "")
    if not severity.is_alarm:
        shade = int(SHADES * min(0.999, max(map(excess, tests))))
        return _Cell(f"calm{shade}", "")
    most = max((test for test in tests if test.severity.is_alarm), key=excess)
    when = times.span(reports[0].window_start, reports[-1].window_end)
    return _Cell(
        severity.value, f"{subject}, {when}: {most.kind.value} {most.statistic:.3f}, limit {most.threshold:.3f}"
    )


def _time_axis(columns: _Columns, height: int, times: Times) -> Iterator[str]:
    for moment, label in times.ticks(columns.first, columns.last, TICKS):
        share = (moment - columns.first) / (columns.last - columns.first)
        at = LEFT + share * (WIDTH - LEFT)
        anchor = "end" if share > 0.97 else "middle"
        yield f'<text x="{at:.1f}" y="{height - 6}" text-anchor="{anchor}">{escape(label)}</text>'
