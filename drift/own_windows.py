"""Measure how far the windows of the reference period itself were from it: what a usual day does."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drift.alarm import SURE, beyond
from drift.baseline import Baseline, OwnWindows
from drift.columns import Observed, observe
from drift.hypotheses import hypotheses, of_volume
from drift.period import Period, uniform
from drift.report import Kind
from drift.tally import Counts
from drift.volume import Traffic
from drift.windows import DAY, HOUR, MINUTE, Scale

ENOUGH = 2_000
"""Rows of an own window that make its distance a fact about the time of day more than about chance."""

LONGEST = 4 * HOUR
"""An own window that was made longer than this would average the day away."""

MOST_WINDOWS = 1_008
"""A week of windows of ten minutes; of more, so many are looked at, evenly spread."""

LARGEST_PART = 2 / 3
"""An own window that is more of the period than this leaves too little to be compared with."""


@dataclass(frozen=True, slots=True)
class Plan:
    """The own windows of a scale: of ``length`` ms, from each of ``starts`` on."""

    scale: Scale
    length: int
    starts: list[int]


def plan(period: Period, scale: Scale) -> Plan:
    """Windows as long as those of the scale, or longer ones where these hold fewer than ``ENOUGH`` rows; maybe none.

    A baseline is often made of less traffic than it is to judge. In windows of few rows chance would be the largest
    difference, and a threshold above it would hide what is to be seen.
    """
    length = scale.length
    starts, sizes = _whole(period, scale, length)
    while 2 * length <= LONGEST and (not len(sizes) or np.median(sizes) < min(ENOUGH, scale.capacity)):
        length *= 2
        starts, sizes = _whole(period, scale, length)
    fit = (sizes >= scale.least) & (sizes <= LARGEST_PART * len(period.times))
    return Plan(scale, length, _spread(starts[fit], MOST_WINDOWS).tolist())


def _whole(period: Period, scale: Scale, length: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where the windows begin that lie wholly in the period, or all but a hundredth, and how many rows each has."""
    hop = length if scale.hop == scale.length else scale.hop
    first, last, slack = int(period.times[0]), int(period.times[-1]), length // 100
    starts = np.arange((first - slack) // hop * hop, last - length + slack + 1, hop)
    starts = starts[starts >= first - slack]
    return starts, np.diff(np.searchsorted(period.times, [starts, starts + length]), axis=0)[0]


def _spread(items: NDArray[np.int64], most: int) -> NDArray[np.int64]:
    """At most so many of the items, evenly."""
    return items[np.arange(most) * len(items) // most] if len(items) > most else items


def own_windows(period: Period, alone: Baseline, windows: Plan, on_window: Callable[[], None]) -> OwnWindows:
    """How far the planned windows of ``period`` are from the rest of it; ``alone`` is its baseline without them."""
    largest: dict[tuple[str, Kind], float] = {}
    for start in windows.starts:
        for key, difference in _differences(_cut(period, windows, start), alone, windows.scale, len(windows.starts)):
            largest[key] = max(largest.get(key, 0.0), difference)
        on_window()
    largest |= _volumes(period.traffic, windows.scale)
    seen = {key: difference for key, difference in largest.items() if difference > 0}
    return OwnWindows(windows.scale.name, windows.length, len(windows.starts), seen)


def _volumes(traffic: Traffic | None, scale: Scale) -> dict[tuple[str, Kind], float]:
    """How far the volume of a window of the scale ever was from that of the other days at its hours."""
    if traffic is None:
        return {}
    end = traffic.first + MINUTE * len(traffic.events)
    starts = _spread(
        np.arange(-(-traffic.first // scale.hop) * scale.hop, end - scale.length + 1, scale.hop), MOST_WINDOWS
    )
    found = [0.0]
    for start in starts.tolist():
        # The rest of its day is like it: what counts is how much days differ.
        others = traffic.hours(without=(start - DAY // 2, start + scale.length + DAY // 2))
        asked = of_volume(others, traffic.between(start, start + scale.length))
        found.append(beyond(asked.statistic, asked.critical(SURE / len(starts), 1.0, 1.0)))
    return {("volume", Kind.RATE): max(found)}


@dataclass(frozen=True, slots=True)
class _Cut:
    """A window of the period: its ``columns`` and ``counts``, and which part of the period it is.

    Separately for its rows, those of them with a score, and the events behind the alert rate.
    """

    columns: list[Observed]
    counts: Counts
    of_rows: float
    of_scores: float
    of_events: float


def _cut(period: Period, windows: Plan, start: int) -> _Cut:
    end = start + windows.length
    here = slice(*np.searchsorted(period.times, [start, end]).tolist())
    rows = uniform(period.hashes, here.start, here.stop, windows.scale.capacity)
    columns, counts = observe(period.rows[rows]), Counts()
    of_scores = of_events = 0.0
    if period.scores is not None:
        columns += observe(period.scores[rows, None])
        known = np.isfinite(period.scores)
        of_scores = float(known[here].sum() / max(known.sum(), 1))
    if period.alerts is not None:
        counts = period.alerts.between(start, end)
        of_events = counts.scored / max(int(period.alerts.scored.sum()), 1)
    return _Cut(columns, counts, (here.stop - here.start) / len(period.times), of_scores, of_events)


def _differences(cut: _Cut, alone: Baseline, scale: Scale, windows: int) -> Iterator[tuple[tuple[str, Kind], float]]:
    """((subject, kind), how far one of so many windows is from the rest of the period, beyond what chance does).

    The baseline holds the window too, with a part p of its rows, and so lies nearer to it than the rest does: the
    difference of two distributions or shares is that to the rest times 1 - p, exactly.
    """
    for asked in hypotheses(alone, cut.columns, cut.counts, scale):
        part = {Kind.SCORE: cut.of_scores, Kind.RATE: cut.of_events}.get(asked.kind, cut.of_rows)
        if part <= LARGEST_PART:
            noise = asked.critical(SURE / windows, 1 - part, 1.0)
            yield (asked.subject, asked.kind), beyond(asked.statistic / (1 - part), noise)
