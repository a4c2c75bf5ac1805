"""Draw a chart as SVG that stands in a page by itself: no script, no font, no request."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

WIDTH, HEIGHT = 460, 300
LEFT, RIGHT, TOP, BOTTOM = 54, 24, 14, 44
_POINTS = 1_500
PROBABILITY_TICKS = (1e-5, 1e-3, 0.01, 0.1, 0.5, 0.9, 0.99, 0.999)


@dataclass(frozen=True, slots=True)
class Axis:
    """What is shown from ``low`` to ``high``, with (value, label) ticks; ``logit`` stretches both ends."""

    label: str
    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    scale: Literal["linear", "log", "logit"] = "linear"

    def place(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) values to (n,) positions, 0 at ``low`` and 1 at ``high``; beyond them at the edge."""
        shown = np.array([self.low, self.high, *np.clip(values, self.low, self.high)])
        if self.scale == "log":
            shown = np.log(shown)
        elif self.scale == "logit":
            shown = logit(shown)
        low, high = shown[:2]
        return np.asarray((shown[2:] - low) / (high - low))


@dataclass(frozen=True, slots=True)
class Series:
    """A named line, filled area or cloud of points; ``style`` is the CSS class that colours it."""

    name: str
    style: str
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    kind: Literal["line", "area", "points"] = "line"


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical line at ``x`` with a word beside it."""

    name: str
    x: float


def shares(label: str, high: float = 1.0) -> Axis:
    """A linear axis from 0 to ``high`` in per cent."""
    ticks = [high * step / 4 for step in range(5)]
    return Axis(label, 0, high, tuple((tick, f"{100 * tick:.3g} %") for tick in ticks))


def probabilities(label: str, low: float = 1e-5, high: float = 0.9999) -> Axis:
    """A log-odds axis in per cent: most scores are tiny, and what matters happens at both ends."""
    ticks = tuple((tick, f"{100 * tick:g} %") for tick in PROBABILITY_TICKS if low <= tick <= high)
    return Axis(label, low, high, ticks, "logit")


def amounts(label: str, high: float) -> Axis:
    """A linear axis from 0 to ``high`` with round ticks, in currency units."""
    power = 10.0 ** np.floor(np.log10(high / 4))
    step = next(power * round_ for round_ in (1, 2, 5, 10) if power * round_ * 6 >= high)
    return Axis(label, 0, high, tuple((tick, f"{tick:,.0f}") for tick in np.arange(0, high, step).tolist()))


def powers(label: str, low: float, high: float = 1.0) -> Axis:
    """A logarithmic axis with a tick each power of ten, in per cent."""
    exponents = range(round(np.log10(low)), round(np.log10(high)) + 1)
    return Axis(label, low, high, tuple((10.0**e, f"{100 * 10.0**e:g} %") for e in exponents), "log")


def outline(
    values: NDArray[np.float64], weights: NDArray[np.float64], edges: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The outline of a histogram, two points a bin, in shares of the whole."""
    counts, _ = np.histogram(values, edges, weights=weights)
    return np.repeat(counts / weights.sum(), 2)


def spread(rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """At most 1,500 of the rows, evenly: a page of 200,000 circles opens in no browser."""
    return rows[:: max(1, -(-len(rows) // _POINTS))]


def chart(x: Axis, y: Axis, series: Sequence[Series], marks: Sequence[Mark] = (), *, diagonal: bool = False) -> str:
    """An ``svg`` element with its grid, its legend and ``series`` drawn in order."""
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(y.label)} by {escape(x.label)}">',
        *_grid(x, y),
        *([_path("M{:.1f} {:.1f}L{:.1f} {:.1f}".format(*_corners()), "diagonal")] if diagonal else []),
        *(_drawn(line, x, y) for line in series),
        *_marks(marks, x),
        "</svg>",
        *_legend(series),
    ]
    return "".join(parts)


def _across(x: Axis, values: NDArray[np.float64]) -> NDArray[np.float64]:
    return LEFT + x.place(values) * (WIDTH - LEFT - RIGHT)


def _down(y: Axis, values: NDArray[np.float64]) -> NDArray[np.float64]:
    return TOP + (1 - y.place(values)) * (HEIGHT - TOP - BOTTOM)


def _corners() -> tuple[int, int, int, int]:
    return LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, TOP


def _grid(x: Axis, y: Axis) -> Iterable[str]:
    left, bottom, right, top = _corners()
    for value, label in x.ticks:
        at = _across(x, np.array([value])).item()
        yield _path(f"M{at:.1f} {top}V{bottom}", "grid")
        yield f'<text x="{at:.1f}" y="{bottom + 16}" text-anchor="middle">{escape(label)}</text>'
    for value, label in y.ticks:
        at = _down(y, np.array([value])).item()
        yield _path(f"M{left} {at:.1f}H{right}", "grid")
        yield f'<text x="{left - 6}" y="{at + 3.5:.1f}" text-anchor="end">{escape(label)}</text>'
    yield f'<text class="axis" x="{(left + right) / 2}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x.label)}</text>'
    middle = (top + bottom) / 2
    yield (
        f'<text class="axis" x="11" y="{middle}" text-anchor="middle" transform="rotate(-90 11 {middle})">'
        f"{escape(y.label)}</text>"
    )


def _drawn(series: Series, x: Axis, y: Axis) -> str:
    points = np.column_stack([_across(x, series.x), _down(y, series.y)]).round(1)
    if series.kind == "points":
        return "".join(f'<circle class="{series.style}" cx="{a:g}" cy="{b:g}" r="3.5"/>' for a, b in points.tolist())
    if series.kind == "area":
        floor = HEIGHT - BOTTOM
        points = np.vstack([[points[0, 0], floor], points, [points[-1, 0], floor]])
    line = "M" + "L".join(f"{a:g} {b:g}" for a, b in _without_repeats(points).tolist())
    return _path(line + ("Z" if series.kind == "area" else ""), f"{series.kind} {series.style}")


def _without_repeats(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points a tenth of a pixel apart are one point: a curve of 50,000 is drawn with some hundreds."""
    moved = np.any(points[1:] != points[:-1], axis=1)
    return np.vstack([points[:1], points[1:][moved]])


def _marks(marks: Sequence[Mark], x: Axis) -> Iterable[str]:
    _, bottom, right, top = _corners()
    for row, mark in enumerate(marks):
        at = _across(x, np.array([mark.x])).item()
        anchor, shift = ("end", -4) if at > right - 60 else ("start", 4)
        yield _path(f"M{at:.1f} {top}V{bottom}", "mark")
        yield (
            f'<text class="mark" x="{at + shift:.1f}" y="{top + 10 + 13 * row}" text-anchor="{anchor}">'
            f"{escape(mark.name)}</text>"
        )


def _legend(series: Sequence[Series]) -> Iterable[str]:
    if len(series) > 1:
        yield '<ul class="legend">'
        yield from (f'<li class="{line.style}">{escape(line.name)}</li>' for line in series)
        yield "</ul>"


def _path(d: str, style: str) -> str:
    return f'<path class="{style}" d="{d}"/>'
