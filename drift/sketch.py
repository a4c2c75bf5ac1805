"""Keep a uniform sample of rows that comes out the same in whatever order, how often and in how many parts they come.

Each event bears a hash of its id, and the events with the smallest hashes are kept (bottom-k, Cohen and Kaplan 2007;
with the limit below, the theta sketch of Dasgupta et al. 2016). Which they are is a property of the set of events: not
of their order, of repetitions, or of the partition and the process that saw them.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
Rows = NDArray[np.float32]

NO_LIMIT = np.uint64(2**64 - 1)


class Sketch:
    """At most ``capacity`` events: those of all that came whose hash is below ``limit``.

    ``hashes`` (n,) uint64 rising, ``units`` (n,) uint64 and ``rows`` (n, width) float32 belong together. Where one hash
    came with different rows, the smallest bytes stay, so that even then the order does not matter.
    """

    __slots__ = ("_hashes", "_limit", "_pending", "_rows", "_units", "_waiting", "capacity", "width")

    def __init__(self, capacity: int, width: int) -> None:
        self.capacity = capacity
        self.width = width
        self._limit = NO_LIMIT
        self._hashes = np.empty(0, np.uint64)
        self._units = np.empty(0, np.uint64)
        self._rows = np.empty((0, width), np.float32)
        self._pending: list[tuple[Hashes, Hashes, Rows]] = []
        self._waiting = 0

    def add(self, hashes: Hashes, units: Hashes, rows: Rows) -> None:
        """Take in n events: ``hashes`` and ``units`` (n,) of the event and of its card, ``rows`` (n, width).

        Nothing is sorted before ``capacity`` events have come in that are below the limit.
        """
        below = hashes < self._limit
        # Copies: what comes may be a view of a message, and would keep all of it alive.
        self._pending.append((hashes[below], units[below], rows[below]))
        self._waiting += len(self._pending[-1][0])
        if self._waiting >= self.capacity:
            self._compact()

    def lower(self, limit: np.uint64) -> None:
        """Whoever fed this had no events from the hash ``limit`` on: leave out those of others, for fairness."""
        if limit >= self._limit:
            return
        self._compact()
        if limit < self._limit:
            kept = slice(int(np.searchsorted(self._hashes, limit)))
            self._hashes, self._units, self._rows = self._hashes[kept], self._units[kept], self._rows[kept]
            self._limit = limit

    @property
    def limit(self) -> np.uint64:
        """Every event whose hash is below is here."""
        self._compact()
        return self._limit

    @property
    def hashes(self) -> Hashes:
        """(n,) rising."""
        self._compact()
        return self._hashes

    @property
    def units(self) -> Hashes:
        """(n,) hashes of the cards, in the order of ``hashes``."""
        self._compact()
        return self._units

    @property
    def rows(self) -> Rows:
        """(n, width), in the order of ``hashes``."""
        self._compact()
        return self._rows

    def __len__(self) -> int:
        return len(self.hashes)

    def _compact(self) -> None:
        if not self._pending:
            return
        hashes = np.concatenate([self._hashes, *(hashes for hashes, _, _ in self._pending)])
        units = np.concatenate([self._units, *(units for _, units, _ in self._pending)])
        rows = np.concatenate([self._rows, *(rows for _, _, rows in self._pending)])
        self._pending, self._waiting = [], 0
        kept = _one_of_each(hashes, units, rows)
        if len(kept) > self.capacity:
            self._limit = hashes[kept[self.capacity]]
            kept = kept[: self.capacity]
        self._hashes, self._units, self._rows = hashes[kept], units[kept], rows[kept]


def merge(sketches: Sequence[Sketch], capacity: int) -> Sketch:
    """The sketch of all events of ``sketches`` (one at least, of one width), with room for ``capacity`` of them.

    Below the lowest limit each of them holds every event that it saw, so what they hold there is a uniform sample of
    all. It may have more rows than any of them: a day holds more than each of its panes.
    """
    limit = _fitting([sketch.hashes for sketch in sketches], min(sketch.limit for sketch in sketches), capacity)
    merged = Sketch(capacity, sketches[0].width)
    merged._limit = limit  # noqa: SLF001 - of the same class
    for sketch in sketches:
        end = int(np.searchsorted(sketch.hashes, limit))
        merged.add(sketch.hashes[:end], sketch.units[:end], sketch.rows[:end])
    return merged


def _fitting(hashes: Sequence[Hashes], limit: np.uint64, capacity: int) -> np.uint64:
    """The limit below which ``capacity`` of the different hashes lie, or ``limit`` where that is lower."""
    below = np.concatenate([part[: np.searchsorted(part, limit)] for part in hashes])
    different = np.unique(below)
    return different[capacity] if len(different) > capacity else limit


def _one_of_each(hashes: Hashes, units: Hashes, rows: Rows) -> NDArray[np.intp]:
    """Positions of the different hashes, rising by hash."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    again = np.flatnonzero(ordered[1:] == ordered[:-1]) + 1
    if not len(again):
        return order
    is_first = np.ones(len(order), np.bool_)
    is_first[again] = False
    before, after = order[again - 1], order[again]
    # As bits, for NaN is not equal to itself.
    bits = rows.view(np.uint32)
    unlike = (units[before] != units[after]) | (bits[before] != bits[after]).any(axis=1)
    for value in np.unique(ordered[again[unlike]]):
        start, end = np.searchsorted(ordered, value, side="left"), np.searchsorted(ordered, value, side="right")
        order[start] = min(order[start:end], key=lambda at: (units[at], rows[at].tobytes()))
    return order[is_first]
