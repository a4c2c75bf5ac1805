"""Compare how many events came with how many come at that time of the day."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from drift.windows import DAY, HOUR, MINUTE

HOURS = DAY // HOUR


@dataclass(frozen=True, slots=True)
class Hours:
    """A usual day: how many ``events`` came in how many ``minutes`` of each of its 24 hours (UTC)."""

    events: tuple[int, ...]
    minutes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Volume:
    """All ``events`` from ``start`` until before ``end`` (ms), of every model and variant, dead letters too."""

    events: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Traffic:
    """How many ``events`` (m,) int64 came in each of m minutes from ``first`` (ms) on."""

    first: int
    events: NDArray[np.int64]

    def between(self, start: int, end: int) -> Volume:
        """What came from ``start`` until before ``end``."""
        return Volume(int(self.events[self._here(start, end)].sum()), start, end)

    def hours(self, without: tuple[int, int] | None = None) -> Hours:
        """The usual day, if need be of all that is not from the first time ``without`` until before the second."""
        kept = np.ones(len(self.events), np.bool_)
        if without is not None:
            kept[self._here(*without)] = False
        hour = _hour_of(self.first + MINUTE * np.flatnonzero(kept))
        events = np.bincount(hour, self.events[kept], HOURS).astype(np.int64)
        return Hours(tuple(events.tolist()), tuple(np.bincount(hour, minlength=HOURS).tolist()))

    def _here(self, start: int, end: int) -> slice:
        return slice(*(max(0, (at - self.first) // MINUTE) for at in (start, end)))


def expected(usual: Hours, start: int, end: int) -> tuple[float, int]:
    """How many events come from ``start`` until before ``end`` (ms) on a usual day, and how many say so.

    Nobody says so where one of the hours was never watched.
    """
    minutes = np.bincount(_hour_of(np.arange(start, end, MINUTE)), minlength=HOURS)
    asked = minutes > 0
    events, watched = np.array(usual.events)[asked], np.array(usual.minutes)[asked]
    if not watched.all():
        return 0.0, 0
    return float((minutes[asked] * events / watched).sum()), int(events.sum())


def difference(events: float, expected: float) -> float:
    """The natural logarithm of how many times more they are than expected, or fewer. Half an event is added to each."""
    return float(abs(np.log((events + 0.5) / (expected + 0.5))))


def p_value(events: float, expected: float, known: float) -> float:
    """The exact test that both counts are of one rate (Przyborowski and Wilenski 1940): twice the smaller side.

    ``known`` events let ``expected`` be expected. Effective counts, which need not be whole, are rounded.
    """
    here, both = round(events), round(events) + round(known)
    share = expected / (expected + known)
    fewer = special.bdtr(here, both, share)
    more = special.bdtrc(here - 1, both, share) if here else 1.0
    return float(min(1.0, 2 * min(fewer, more)))


def critical(alpha: float, expected: float, known: float) -> float:
    """The ``difference`` that chance exceeds with the probability ``alpha``, by the normal law."""
    return float(special.ndtri(1 - alpha / 2) * np.sqrt(1 / expected + 1 / known))


def _hour_of(times: NDArray[np.int64]) -> NDArray[np.int64]:
    return times // HOUR % HOURS
