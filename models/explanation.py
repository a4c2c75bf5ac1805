"""Draw one explained score: bars for the terminal, and a waterfall as a page that needs nothing beside it."""

from collections.abc import Callable, Iterator
from html import escape

from rich.table import Table
from rich.text import Text
from scipy.special import expit, logit

from models.explain import Explanation, Step, heading, percent, span
from schemas.printable import printable

BAR = 36
"""Characters from the least to the largest sum, in the terminal."""

COLOURS = {"total": "blue", "toward": "red", "away": "green"}

WIDTH, ROW, LEFT, RIGHT, FOOT = 960, 26, 290, 70, 34
LONGEST = 46
"""Characters of a label that fit beside the bars."""


def table(explanation: Explanation) -> Table:
    """A row a step: what it adds to the log-odds, a bar from where the sum stood to where it goes, and the score."""
    drawn = Table(box=None, pad_edge=False, title=heading(explanation), title_justify="left")
    drawn.add_column("feature", overflow="fold")
    drawn.add_column("log-odds", justify="right")
    drawn.add_column("", no_wrap=True)
    drawn.add_column("score so far", justify="right")
    low, high = span(explanation)
    for step in explanation.way():
        begin, end = ((value - low) / (high - low) for value in sorted((step.begin, step.end)))
        bar = _bar(begin, end, step)
        for _, at in explanation.thresholds:
            _mark(bar, (float(logit(at)) - low) / (high - low))
        drawn.add_row(Text(printable(step.name)), step.number, bar, percent(float(expit(step.end))))
    return drawn


def _bar(begin: float, end: float, step: Step) -> Text:
    """A line with a block in each place from ``begin`` to ``end`` (0 to 1), at least in one."""
    first = min(int(begin * BAR), BAR - 1)
    length = max(1, round(end * BAR) - first)
    bar = Text(" " * first + ("◆" if step.total else "█" * length), COLOURS[step.style])
    bar.pad_right(BAR - len(bar))
    return bar


def _mark(bar: Text, at: float) -> None:
    """A threshold at ``at`` (0 to 1), where the bar leaves room for it."""
    place = min(int(at * BAR), BAR - 1)
    if bar.plain[place] == " ":
        bar.plain = bar.plain[:place] + "┊" + bar.plain[place + 1 :]
        bar.stylize("yellow", place, place + 1)


def page(explanation: Explanation, title: str, facts: list[tuple[str, str]]) -> str:
    """One HTML page; ``facts`` are (name, value) of what was decided and by what."""
    from models.report import fill  # noqa: PLC0415 - it loads scikit-learn, which a terminal need not wait for

    return fill(
        "explanation.html",
        title=escape(title),
        outcome=explanation.outcome,
        summary=escape(heading(explanation)),
        waterfall=waterfall(explanation),
        shares="".join(_shares(explanation)),
        facts="".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in facts),
    )


def waterfall(explanation: Explanation) -> str:
    """An ``svg`` element: one bar a step, each beginning where the one before ended, and a line at each threshold."""
    steps = explanation.way()
    low, high = span(explanation)
    height = ROW * len(steps) + FOOT

    def across(value: float) -> float:
        return LEFT + (value - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    parts = [
        f'<svg class="waterfall" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="waterfall of the log-odds">'
    ]
    for row, (name, at) in enumerate(explanation.thresholds):
        x = across(float(logit(at)))
        parts.append(f'<path class="mark" d="M{x:.1f} 4V{height - FOOT + 14 * row + 4}"/>')
        parts.append(f'<text class="mark" x="{x + 4:.1f}" y="{height - FOOT + 14 * row + 12}">{name}</text>')
    parts += [_step(6 + ROW * row, step, across) for row, step in enumerate(steps)]
    return "".join([*parts, "</svg>"])


def _step(top: int, step: Step, across: Callable[[float], float]) -> str:
    left, right = sorted((across(step.begin), across(step.end)))
    shown = step.name if len(step.name) <= LONGEST else step.name[: LONGEST - 1] + "…"
    return (
        f'<text x="{LEFT - 10}" y="{top + 15}" text-anchor="end">'
        f"<title>{escape(step.name)}</title>{escape(shown)}</text>"
        f'<rect class="{step.style}" x="{left:.1f}" y="{top + 3}" width="{max(3.0, right - left):.1f}" '
        f'height="{ROW - 8}" rx="2"/>'
        f'<text class="soft" x="{right + 6:.1f}" y="{top + 15}">{step.number}</text>'
    )


def _shares(explanation: Explanation) -> Iterator[str]:
    for share in explanation.shares:
        name = escape(f"{share.feature}: {share.text}" if share.text else share.feature)
        value = "missing" if share.value is None else f"{share.value:.6g}"
        yield f"<tr><th>{name}</th><td>{escape(share.code)}</td><td>{value}</td><td>{share.contribution:+.4f}</td></tr>"
