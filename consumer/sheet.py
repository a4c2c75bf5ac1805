"""Keep for each offset of one partition what became of its record: 27 bytes an offset, whatever comes."""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from consumer.ranges import Span

_SHARDS = 16
"""Keys are compared in so many parts: sorted at once they would take more memory than all else."""
_NOWHERE = np.iinfo(np.int64).max
_MISROUTED, _FOREIGN, _COUNTS, _DUPLICATE = np.uint8(1), np.uint8(2), np.uint8(4), np.uint8(8)


class Anomaly(StrEnum):
    """What can be wrong, each counted by source record; docs/reliability.md says how each is recognised."""

    LOST = "lost"
    DOUBLED = "doubled"
    REORDERED = "reordered"
    TORN = "torn transaction"
    ABORTED_READ = "aborted read"
    UNFOUNDED = "without a source"
    MISROUTED = "misrouted"
    UNREADABLE = "unreadable"

    @property
    def of_output(self) -> bool:
        """Whether its places are those of output records: whoever cannot read one knows no source."""
        return self is Anomaly.UNREADABLE


@dataclass(frozen=True, slots=True)
class Decided:
    """n decisions in the order of their topic, every array of shape (n,).

    ``partition`` and ``offset`` int64 say which source record each is about, ``place`` int64 where it stands itself
    (:func:`pack_place`). ``key`` uint64 is the hash of its key, 0 for none; ``decided_at`` int64 is ms since 1970, the
    same for all of a batch. ``misrouted`` bool: its variant does not follow from its card and its rollout.
    ``duplicate_of`` int64 is the offset of the source record whose decision counts in its place, -1 where it counts.
    """

    partition: NDArray[np.int64]
    offset: NDArray[np.int64]
    place: NDArray[np.int64]
    key: NDArray[np.uint64]
    decided_at: NDArray[np.int64]
    misrouted: NDArray[np.bool_]
    duplicate_of: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offset)

    def take(self, rows: NDArray[np.int64]) -> "Decided":
        """Some of them, in the order of ``rows``."""
        return Decided(*(getattr(self, name)[rows] for name in Decided.__slots__))


def pack_place(partition: NDArray[np.int64], offset: NDArray[np.int64]) -> NDArray[np.int64]:
    """Partition and offset of output records as one number, (n,) int64: within a partition it grows with the offset."""
    return (partition << 46) | offset


class Sheet:
    """The records of one partition's span, and their outcomes."""

    def __init__(self, span: Span) -> None:
        size = len(span)
        self.span = span
        self.decisions = 0
        self.dead_letters = 0
        self._present = np.zeros(size, np.bool_)
        self._key = np.zeros(size, np.uint64)
        self._outcomes = np.zeros(size, np.uint8)
        self._flags = np.zeros(size, np.uint8)
        self._place = np.full(size, _NOWHERE)
        self._decided_at = np.zeros(size, np.int64)
        self._originals: list[NDArray[np.int64]] = []

    @property
    def duplicates(self) -> int:
        """Records that are duplicates: the decision of another one counts in the place of theirs."""
        return int(np.count_nonzero(self._flags & _DUPLICATE))

    @property
    def records(self) -> int:
        """Source records that a reader of committed ones sees."""
        return int(np.count_nonzero(self._present))

    @property
    def has_lost(self) -> bool:
        """Whether some record has no outcome so far."""
        return bool((self._present & (self._outcomes == 0)).any())

    def add_sources(self, offset: NDArray[np.int64], key: NDArray[np.uint64]) -> None:
        """Committed records of the span, with the hashes of their keys."""
        at = offset - self.span.start
        self._present[at] = True
        self._key[at] = key

    def add_decisions(self, decided: Decided) -> None:
        """Decisions about records of the span, in the order of their topic."""
        at = decided.offset - self.span.start
        self.decisions += len(at)
        distinct, first, times = np.unique(at, return_index=True, return_counts=True)
        self._count(distinct, times)
        # Where a record was decided twice, it is the first decision that has a place among those of its card.
        self._place[distinct] = np.minimum(self._place[distinct], decided.place[first])
        self._decided_at[distinct] = decided.decided_at[first]
        self._flags[at[decided.misrouted]] |= _MISROUTED
        copies = decided.duplicate_of >= 0
        self._flags[at[~copies]] |= _COUNTS
        if copies.any():
            self._flags[at[copies]] |= _DUPLICATE
            self._originals.append(np.stack((at[copies], decided.duplicate_of[copies] - self.span.start)))
        self._flags[at[self._present[at] & (self._key[at] != decided.key)]] |= _FOREIGN

    def add_dead_letters(self, offset: NDArray[np.int64]) -> None:
        """Dead letters about records of the span."""
        self.dead_letters += len(offset)
        self._count(*np.unique(offset - self.span.start, return_counts=True))

    def _count(self, distinct: NDArray[np.int64], times: NDArray[np.int64]) -> None:
        self._outcomes[distinct] = np.minimum(self._outcomes[distinct] + times, 255)

    def anomalies(self) -> dict[Anomaly, NDArray[np.int64]]:
        """The offsets of the records that each anomaly befell, in order."""
        lost = np.flatnonzero(self._present & (self._outcomes == 0))
        found = {
            Anomaly.LOST: lost,
            Anomaly.DOUBLED: np.flatnonzero(self._present & (self._outcomes > 1)),
            Anomaly.REORDERED: self._reordered(),
            Anomaly.TORN: self._torn(lost),
            Anomaly.ABORTED_READ: np.flatnonzero(~self._present & (self._outcomes > 0)),
            Anomaly.UNFOUNDED: np.union1d(np.flatnonzero(self._flags & _FOREIGN), self._without_original()),
            Anomaly.MISROUTED: np.flatnonzero(self._flags & _MISROUTED),
        }
        return {anomaly: at + self.span.start for anomaly, at in found.items() if len(at)}

    def _without_original(self) -> NDArray[np.int64]:
        """Duplicates of a record, in the span or behind it, that has no decision which counts."""
        copies, originals = np.concatenate([np.empty((2, 0), np.int64), *self._originals], axis=1)
        beyond = originals >= len(self._flags)
        inside = (originals >= 0) & ~beyond
        beyond[inside] = (self._flags[originals[inside]] & _COUNTS) == 0
        without: NDArray[np.int64] = np.unique(copies[beyond])
        return without

    def _reordered(self) -> NDArray[np.int64]:
        """Records whose decision stands before the decision of the record that came before them with the same key."""
        comparable = self._present & (self._place != _NOWHERE) & (self._key != 0)
        parts = (self._reordered_among(comparable & (self._key % _SHARDS == part)) for part in range(_SHARDS))
        return np.sort(np.concatenate(list(parts)))

    def _reordered_among(self, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        at = np.flatnonzero(chosen)
        places = self._place[at]
        # Between two partitions of the output there is no order that a reader could see.
        lanes = self._key[at] ^ ((places >> 46).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15))
        order = np.argsort(lanes, kind="stable")  # within a lane by offset
        lanes, places = lanes[order], places[order]
        before = (lanes[1:] == lanes[:-1]) & (places[1:] < places[:-1])
        late: NDArray[np.int64] = at[order[1:][before]]
        return late

    def _torn(self, lost: NDArray[np.int64]) -> NDArray[np.int64]:
        """Lost records between two decisions of one batch: the rest of their transaction is there."""
        decided = np.flatnonzero(self._place != _NOWHERE)
        after = np.searchsorted(decided, lost)
        between = (after > 0) & (after < len(decided))
        lost, after = lost[between], after[between]
        torn: NDArray[np.int64] = lost[self._decided_at[decided[after - 1]] == self._decided_at[decided[after]]]
        return torn
