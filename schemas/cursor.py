"""Advance through n payloads at once: one position a row, and the first thing that was wrong with it."""

from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from schemas.columns import Mask, Reason, windows

_SHORT = 256
"""Bytes; a longer string is checked by itself, so that one long string does not make n long ones."""

SLACK = _SHORT + 16
"""Bytes that may be read past a position before it is checked: a short string, or the ten bytes of a varint."""

_LONGEST_VARINT = 10
_STOP = np.uint64(0x8080808080808080)
_PAYLOAD = np.uint64(0x7F7F7F7F7F7F7F7F)
_ONE = np.uint64(1)
# Each step joins neighbouring groups of 7, 14 and 28 bits: what is in the low half, in the high half, and the gap.
_JOINS = tuple(
    (np.uint64(low), np.uint64(high), np.uint64(gap))
    for low, high, gap in (
        (0x007F007F007F007F, 0x7F007F007F007F00, 1),
        (0x00003FFF00003FFF, 0x3FFF00003FFF0000, 2),
        (0x000000000FFFFFFF, 0x0FFFFFFF00000000, 4),
    )
)
_HIGH_BITS = np.zeros((_SHORT + 1, _SHORT), np.uint8)
_HIGH_BITS[np.arange(_SHORT) < np.arange(_SHORT + 1)[:, None]] = 0x80
_NOT_ASCII = _HIGH_BITS.view(np.uint64)
"""(length + 1, words): for each length the bits that no ASCII string of it has."""


class Cursor:
    """``position`` and ``end`` (n,) int64 in ``data``, ``reason`` (n,) uint8.

    A row that fails is parked before the slack at the end of ``data``, where every read is harmless; so no step asks
    which rows are still good, and position <= end holds for all of them between two steps.
    """

    __slots__ = ("_park", "data", "end", "position", "reason", "words")

    def __init__(
        self,
        data: NDArray[np.uint8],
        start: NDArray[np.int64],
        end: NDArray[np.int64],
        reason: NDArray[np.uint8],
        padding: int,
    ) -> None:
        self.data = data
        self.words: NDArray[Any] = np.ndarray((len(data) - 7,), "<u8", data, strides=(1,))
        self.position = start
        self.end = end
        self.reason = reason
        self._park = len(data) - padding

    @classmethod
    def over(
        cls,
        data: NDArray[np.uint8],
        start: NDArray[np.int64],
        end: NDArray[np.int64],
        reason: NDArray[np.uint8] | None,
        padding: int,
    ) -> Self:
        """At the start of each row; ``padding`` bytes past the last end must be readable, and are made so if not.

        Rows with a ``reason`` other than 0 are parked from the outset.
        """
        if int(end.max(initial=0)) + padding > len(data):
            data = np.concatenate([data, np.zeros(padding, np.uint8)])
        fresh = np.zeros(len(start), np.uint8)
        cursor = cls(np.ascontiguousarray(data), start.astype(np.int64), end.astype(np.int64), fresh, padding)
        cursor.fail(start > end, Reason.TRUNCATED)
        if reason is not None and (bad := reason != Reason.OK).any():
            cursor.fail(bad, Reason.TRUNCATED)
            cursor.reason[bad] = reason[bad]
        return cursor

    def fail(self, bad: Mask, reason: Reason) -> None:
        """Park these rows; the first reason of a row stays."""
        if np.count_nonzero(bad):  # five times as fast as any() on a small batch
            self.reason[bad & (self.reason == Reason.OK)] = reason
            self.position[bad] = self.end[bad] = self._park

    def gather(self, position: NDArray[np.int64], width: int) -> NDArray[np.uint8]:
        """(..., width) uint8: the bytes from each position on."""
        return windows(self.data, width)[position][..., None].view(np.uint8)

    def tag(self, null_index: int | None) -> Mask | None:
        """Step over the union index of a nullable field; which rows are null, None if none is."""
        if null_index is None:
            return None
        self.fail(self.position >= self.end, Reason.TRUNCATED)
        index = self.data[self.position]
        self.position += 1
        if (index == 2 - 2 * null_index).all():
            return None
        self.fail((index & 0xFD) != 0, Reason.BAD_UNION_INDEX)
        null = index == 2 * null_index
        return null if np.count_nonzero(null) else None

    def varint(self, null: Mask | None) -> NDArray[np.int64]:
        """Step over a zigzag varint, and say what it holds: (n,) int64, 0 where a row is null or bad."""
        first = self.data[self.position]
        if first.max(initial=0) < 0x80:
            unsigned, size = first.astype(np.uint64), np.ones(len(first), np.int64)
        else:
            unsigned, size = self._long_varint()
        if null is not None:
            unsigned[null] = size[null] = 0
        values = ((unsigned >> _ONE) ^ -(unsigned & _ONE)).view(np.int64)
        self.position = self.position + np.minimum(size, _LONGEST_VARINT)
        for bad, reason in (
            (self.position > self.end, Reason.TRUNCATED),
            (size > _LONGEST_VARINT, Reason.BAD_VARINT),
        ):
            if np.count_nonzero(bad):
                values[bad] = 0
                self.fail(bad, reason)
        return values

    def _long_varint(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """The bits of each varint before zigzag, and its size: 11 if it does not end or does not fit 64 bits."""
        word = self.words[self.position]
        stops = ~word & _STOP
        stop = stops & -stops  # the lowest byte without a continuation bit
        below = stop - _ONE
        size = (np.bitwise_count(below).astype(np.int64) + 1) >> 3
        bits = word & below & _PAYLOAD
        for low, high, gap in _JOINS:
            bits = (bits & low) | ((bits & high) >> gap)
        if not stop.all():
            self._finish_longest(np.flatnonzero(stop == 0), bits, size)
        return bits, size

    def _finish_longest(self, rows: NDArray[np.int64], bits: NDArray[np.uint64], size: NDArray[np.int64]) -> None:
        at = self.position[rows]
        ninth, tenth = self.data[at + 8].astype(np.uint64), self.data[at + 9].astype(np.uint64)
        ends_here = ninth < 0x80
        bits[rows] |= (ninth & np.uint64(0x7F)) << np.uint64(56)
        bits[rows] |= np.where(ends_here, np.uint64(0), tenth << np.uint64(63))
        size[rows] = np.where(ends_here, 9, np.where(tenth < 2, 10, 11))

    def check_text(self, start: NDArray[np.int64], length: NDArray[np.int64]) -> None:
        """Fail the rows whose bytes are not UTF-8."""
        longest = int(length.max(initial=0))
        short = np.minimum(length, _SHORT) if longest > _SHORT else length
        words = -(-min(longest, _SHORT) // 8)
        strange = self.gather(start, 8 * words).view(np.uint64) & _NOT_ASCII[short, :words]
        if longest <= _SHORT and not strange.any():
            return
        suspect = strange.any(axis=1) | (length > _SHORT)
        bad = np.zeros(len(start), np.bool_)
        for row in np.flatnonzero(suspect).tolist():
            bad[row] = not _is_utf8(self.data[start[row] : start[row] + length[row]].tobytes())
        self.fail(bad, Reason.BAD_UTF8)


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
