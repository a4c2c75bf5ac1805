"""Recognise the copy of a transaction by its id, among those that were decided on its partition a moment ago."""

import secrets
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from consumer.decide import Verdict
from consumer.id_table import IdTable
from consumer.records import RecordBatch
from consumer.sheet import pack_place
from models.xxh64 import hashes_of, xxh64

_OFFSET = (1 << 46) - 1
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Recalled:
    """n decisions that were made before, and count: ``ids``, and (n,) int64 each of their source and ``decided_at``."""

    ids: Sequence[bytes]
    partition: NDArray[np.int64]
    offset: NDArray[np.int64]
    decided_at: NDArray[np.int64]


Recall = Callable[[Mapping[int, int]], Iterable[Recalled]]
"""From partitions of the input and a time for each (ms since 1970) to what was decided of them since, in order."""


@dataclass(frozen=True, slots=True)
class Window:
    """How long an id is remembered: ``milliseconds`` after it was decided, over ``records`` offsets of a partition."""

    milliseconds: int
    records: int


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The offsets of a partition's last batch, and since when ids are remembered for it."""

    first: int
    following: int
    since: int


class Duplicates:
    """Says of each decision whether an earlier one counts in its place.

    That is so where the same id was decided on the same partition, at most ``window.records`` offsets before, and
    where the copy came in (by the time of its record) no later than ``window.milliseconds`` after that decision. What
    was decided before a partition was assigned is recalled from the decisions themselves, with the first batch of the
    partition: so it is exactly what was committed, whoever decided it. From then on a batch that is decided again,
    after a rewind, replaces what was known from there on.
    """

    def __init__(self, window: Window, recall: Recall) -> None:
        self._window = window
        self._recall = recall
        self._seed = secrets.randbits(64)  # whoever chooses ids may not choose where they fall
        self._table = IdTable()
        self._last: dict[int, _Stretch] = {}
        self._given_up: dict[int, int] = {}

    def forget(self, partitions: Collection[int]) -> None:
        """These partitions were assigned or taken away: others may have decided on them."""
        known = self._last.keys() & set(partitions)
        for partition in known:
            del self._last[partition]
            self._given_up.pop(partition, None)
        if known:
            self._table.keep(~np.isin(self._table.places >> 46, list(known)))

    def mark(self, records: RecordBatch, verdict: Verdict) -> Verdict:
        """The verdict on the next records of their partitions, duplicates named. Raises what recalling does."""
        decisions = verdict.decisions
        self._follow(records, decisions.decided_at)
        places = pack_place(decisions.partition.astype(np.int64), decisions.offset)
        hashes = xxh64(decisions.transaction_id, self._seed) ^ _apart(decisions.partition)
        self._make_room(len(hashes))
        slots = self._table.claim(hashes, places, np.full(len(hashes), decisions.decided_at))
        copies = np.flatnonzero(self._table.places[slots] != places)
        if not len(copies):
            return verdict
        duplicate_of = np.full(len(hashes), -1)
        for row in copies.tolist():
            slot, offset = slots[row], int(decisions.offset[row])
            original = int(self._table.places[slot]) & _OFFSET
            came = records.messages[int(verdict.decided[row])].timestamp()[1]
            if (
                original >= offset - self._window.records
                and self._table.times[slot] >= came - self._window.milliseconds
            ):
                duplicate_of[row] = original
            else:
                self._table.places[slot], self._table.times[slot] = places[row], decisions.decided_at
                self._given_up[int(decisions.partition[row])] = offset
        if (duplicate_of < 0).all():
            return verdict
        return replace(verdict, decisions=replace(decisions, duplicate_of=duplicate_of))

    def _follow(self, records: RecordBatch, now: int) -> None:
        """Know for each partition of the batch what was decided before its first record here, and nothing of later."""
        stretches = dict(self._stretches(records, now))
        # Up to these offsets entries were given up that count if it is decided again: they are to be recalled.
        self.forget([each for each, stretch in stretches.items() if self._given_up.get(each, -1) >= stretch.first])
        last = self._last
        again = {
            each: new.first for each, new in stretches.items() if each in last and new.first < last[each].following
        }
        if again:
            self._keep_before(again)
        unknown = {each: stretch for each, stretch in stretches.items() if each not in last}
        if unknown:
            self._remember(unknown)
        last.update(stretches)

    def _stretches(self, records: RecordBatch, now: int) -> Iterator[tuple[int, _Stretch]]:
        partitions, rows = np.unique(records.partitions, return_index=True)
        for partition, row in zip(partitions.tolist(), rows.tolist(), strict=True):
            came = min(now, records.messages[row].timestamp()[1])
            last = int(records.offsets[records.partitions == partition][-1])
            yield partition, _Stretch(int(records.offsets[row]), last + 1, came - self._window.milliseconds)

    def _keep_before(self, firsts: Mapping[int, int]) -> None:
        partition, offset = self._table.places >> 46, self._table.places & _OFFSET
        later = [(partition == each) & (offset >= first) for each, first in firsts.items()]
        self._table.keep(~np.any(later, axis=0))

    def _remember(self, stretches: Mapping[int, _Stretch]) -> None:
        for recalled in self._recall({each: stretch.since for each, stretch in stretches.items()}):
            first = np.array([stretches[each].first for each in recalled.partition.tolist()], np.int64)
            wanted = (recalled.offset < first) & (recalled.offset >= first - self._window.records)
            hashes = (hashes_of(recalled.ids, self._seed) ^ _apart(recalled.partition))[wanted]
            places, times = pack_place(recalled.partition, recalled.offset)[wanted], recalled.decided_at[wanted]
            self._make_room(len(hashes))
            slots = self._table.claim(hashes, places, times)
            # An id that was decided anew, its window over, counts from then on: of several the last is kept.
            self._table.places[slots], self._table.times[slots] = places, times

    def _make_room(self, count: int) -> None:
        if self._table.has_room(count):
            return
        partition, offset = self._table.places >> 46, self._table.places & _OFFSET
        earliest, since = (np.zeros(int(partition.max()) + 1, np.int64) for _ in range(2))
        for each, stretch in self._last.items():
            if each < len(earliest):
                earliest[each], since[each] = stretch.first - self._window.records, stretch.since
            self._given_up[each] = max(self._given_up.get(each, -1), stretch.first - 1)
        self._table.keep((offset >= earliest[partition]) & (self._table.times >= since[partition]), count)


def _apart(partition: NDArray[np.int32] | NDArray[np.int64]) -> NDArray[np.uint64]:
    """What keeps the hashes of one id on two partitions apart, (n,)."""
    return partition.astype(np.uint64) * _GOLDEN
