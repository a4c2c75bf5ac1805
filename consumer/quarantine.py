"""Find the record that kills the process, and keep it from doing so again.

A crash in native code cannot be caught, only survived by a parent, which knows what was in hand: a batch of n at the
first crash, whose records are then processed in pieces of √n; one of these at the second, then processed one by one;
one record at the third, which is quarantined.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from consumer.delivery import Outbox
from consumer.in_hand import InHand, Range
from consumer.records import RecordBatch


@dataclass(frozen=True, slots=True)
class Suspects:
    """Which offsets the last crash may be due to, to be processed ``step`` at a time, and what is quarantined."""

    ranges: tuple[Range, ...] = ()
    step: int = 1
    quarantined: frozenset[tuple[int, int]] = frozenset()

    def __contains__(self, place: tuple[int, int]) -> bool:
        return any(place in suspected for suspected in self.ranges)

    def after_crash(self, in_hand: tuple[Range, ...]) -> "Suspects":
        """What is to be suspected now."""
        size = sum(len(each) for each in in_hand)
        place = next(((each.partition, each.first) for each in in_hand), None)
        if place is None:
            return self
        if place not in self:
            return replace(self, ranges=in_hand, step=isqrt(size))
        if size > 1:
            return replace(self, ranges=in_hand, step=1)
        return Suspects(quarantined=self.quarantined | {place})

    def after(self, records: RecordBatch) -> "Suspects":
        """What is to be suspected still when these records have done no harm."""
        reached = {each.partition: each.offset for each in records.next_offsets()}
        return replace(self, ranges=tuple(each for each in self.ranges if reached.get(each.partition, 0) <= each.last))


@dataclass(frozen=True, slots=True)
class Hand:
    """What a process is given by its parent: where to note what it has in hand, what to beware of, and its past.

    ``restarted`` says that another process has run on its slot before.
    """

    memory: Any
    suspects: Suspects
    restarted: bool = False


class Careful:
    """``process``, with a note of what is in hand: all of a batch, or a few at a time where one is suspected.

    ``alone`` is the same with nothing in the background, where a late crash would blame what is in hand by then: so all
    is processed until the suspects are behind.
    """

    def __init__(
        self,
        process: Callable[[RecordBatch], Outbox],
        alone: Callable[[RecordBatch], Outbox],
        in_hand: InHand,
        suspects: Suspects,
    ) -> None:
        self._process = process
        self._alone = alone
        self._in_hand = in_hand
        self._suspects = suspects

    def __call__(self, records: RecordBatch) -> Outbox:
        """One outbox for all."""
        if not self._suspects.ranges:
            return self._hold(records, self._process)
        outbox = _joined([self._hold(piece, self._alone) for piece in self._pieces(records)])
        self._suspects = self._suspects.after(records)
        return outbox

    def _pieces(self, records: RecordBatch) -> Iterator[RecordBatch]:
        """The records in their order, suspects apart from the others and at most ``step`` at a time."""
        places = zip(records.partitions.tolist(), records.offsets.tolist(), strict=True)
        suspected = [place in self._suspects for place in places]
        start = 0
        for row in range(1, len(suspected) + 1):
            full = suspected[start] and row - start == self._suspects.step
            if full or row == len(suspected) or suspected[row] != suspected[start]:
                yield RecordBatch.of(records.topic, records.messages[start:row])
                start = row

    def _hold(self, records: RecordBatch, process: Callable[[RecordBatch], Outbox]) -> Outbox:
        with self._in_hand.holding(records):
            return process(records)


def apart(records: RecordBatch, quarantined: Collection[tuple[int, int]]) -> NDArray[np.bool_]:
    """(n,): which of the records are quarantined (partition, offset)."""
    if not quarantined:
        return np.zeros(len(records), np.bool_)
    places = zip(records.partitions.tolist(), records.offsets.tolist(), strict=True)
    return np.array([place in quarantined for place in places], np.bool_)


def without(payloads: Sequence[bytes | None], hidden: NDArray[np.bool_]) -> Sequence[bytes | None]:
    """The payloads, None in the place of those that nobody shall decode."""
    if not hidden.any():
        return payloads
    return [None if out else payload for out, payload in zip(hidden.tolist(), payloads, strict=True)]


def _joined(outboxes: list[Outbox]) -> Outbox:
    stages = dict.fromkeys(stage for outbox in outboxes for stage in outbox.seconds)
    return Outbox(
        [messages for outbox in outboxes for messages in outbox.messages],
        [letter for outbox in outboxes for letter in outbox.letters],
        partial(_call_all, [outbox.on_published for outbox in outboxes]),
        outboxes[0].on_too_large,
        {stage: sum(outbox.seconds.get(stage, 0.0) for outbox in outboxes) for stage in stages},
    )


def _call_all(calls: list[Callable[[], None]]) -> None:
    for call in calls:
        call()
