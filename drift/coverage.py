"""Decide which records are new: each counts once, in however many batches and however often they are told."""

from bisect import bisect_left, bisect_right
from collections.abc import Hashable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stretch:
    """Offsets from ``first`` up to, not including, ``end``; the newest of their events has the time ``newest``."""

    first: int
    end: int
    newest: int


class Coverage:
    """The offsets that were counted, apart by key: by what else decides what a record counts as.

    Batches that were published exactly once tile a partition: one stretch is left of them all. A batch that is decided
    again after a crash may end elsewhere than it did before, and only the rest of it is new.
    """

    __slots__ = ("_forgotten", "_stretches")

    def __init__(self) -> None:
        self._stretches: dict[Hashable, list[Stretch]] = {}
        self._forgotten = 0

    def take(self, key: Hashable, told: Stretch) -> list[tuple[int, int]]:
        """The parts (first, end) of a stretch that were not taken before; now they are."""
        known = self._stretches.setdefault(key, [])
        # Stretches that touch the new one become one with it.
        begin = bisect_left(known, told.first, key=lambda stretch: stretch.end)
        end = bisect_right(known, told.end, key=lambda stretch: stretch.first)
        touched = known[begin:end]
        known[begin:end] = [_joined([*touched, told])]
        return list(_gaps(told, touched))

    def forget(self, before: int) -> None:
        """Nothing is counted any more whose event time is less than ``before``."""
        if before <= self._forgotten:
            return
        self._forgotten = before
        for key, known in list(self._stretches.items()):
            self._stretches[key] = [stretch for stretch in known if stretch.newest >= before]
            if not self._stretches[key]:
                del self._stretches[key]

    def __len__(self) -> int:
        return sum(map(len, self._stretches.values()))


def _joined(stretches: list[Stretch]) -> Stretch:
    return Stretch(
        min(stretch.first for stretch in stretches),
        max(stretch.end for stretch in stretches),
        max(stretch.newest for stretch in stretches),
    )


def _gaps(told: Stretch, known: list[Stretch]) -> list[tuple[int, int]]:
    """What of a stretch the known ones (rising, apart from each other) leave out."""
    gaps, at = [], told.first
    for stretch in known:
        if at < stretch.first:
            gaps.append((at, min(stretch.first, told.end)))
        at = max(at, stretch.end)
    if at < told.end:
        gaps.append((at, told.end))
    return gaps
