"""Keep by the hash of an id where it was decided and when: a hash table in NumPy that takes a batch at a time."""

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]
Hashes = NDArray[np.uint64]

_SMALLEST = 1 << 10
_PIECE = 1 << 13
"""Rows that are moved at once: what is worked on meanwhile stays in the cache of a core."""
_FREE = np.uint64(0)


class IdTable:
    """Open addressing with linear probing, at most two thirds full: 36 to 150 bytes an entry.

    ``places`` and ``times`` hold what each slot was given; rows of ``claim`` name slots.
    """

    def __init__(self) -> None:
        self._size = 0
        self._clear(_SMALLEST)

    def __len__(self) -> int:
        return self._size

    def claim(self, hashes: Hashes, places: Numbers, times: Numbers) -> Numbers:
        """The slot of each hash, (n,); where it is new, with the place and the time of the first row that has it.

        All arrays have the shape (n,), and no two places are equal. There must be room for n more.
        """
        keys = np.maximum(hashes, _FREE + np.uint64(1))
        slots = (keys & self._mask).astype(np.int64)
        waiting = np.arange(len(keys))
        while len(waiting):
            at, wanted = slots[waiting], keys[waiting]
            # Of rows that want one slot the last to be written gets it, for all three arrays: so the first comes last.
            vacant = np.flatnonzero(self._keys[at] == _FREE)[::-1]
            if len(vacant):
                into, rows = at[vacant], waiting[vacant]
                self._keys[into], self.places[into], self.times[into] = wanted[vacant], places[rows], times[rows]
                self._size += int(np.count_nonzero(self.places[into] == places[rows]))
            elsewhere = self._keys[at] != wanted
            waiting = waiting[elsewhere]
            slots[waiting] = (slots[waiting] + 1) & np.int64(self._mask)
        return slots

    def has_room(self, count: int) -> bool:
        """Whether so many more may be claimed."""
        return 3 * (self._size + count) <= 2 * len(self._keys)

    def keep(self, wanted: NDArray[np.bool_], room: int = 0) -> None:
        """Drop the slots that are not ``wanted``, one bool a slot, and make room for so many more."""
        kept = np.flatnonzero(wanted & (self._keys != _FREE))
        keys, places, times = self._keys[kept], self.places[kept], self.times[kept]
        self._clear(max(_SMALLEST, 1 << (3 * (len(kept) + room)).bit_length()))
        for start in range(0, len(kept), _PIECE):
            piece = slice(start, start + _PIECE)
            self.claim(keys[piece], places[piece], times[piece])

    def _clear(self, capacity: int) -> None:
        self._size = 0
        self._mask = np.uint64(capacity - 1)
        self._keys = np.zeros(capacity, np.uint64)
        self.places = np.zeros(capacity, np.int64)
        self.times = np.zeros(capacity, np.int64)
