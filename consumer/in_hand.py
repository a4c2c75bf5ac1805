"""Note which records a process has in hand, in memory that its parent reads when it has crashed."""

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.context import BaseContext
from typing import Any

import numpy as np

from consumer.records import RecordBatch

MOST_RANGES = 4096


@dataclass(frozen=True, slots=True)
class Range:
    """Offsets ``first`` to ``last`` of a partition, both included."""

    partition: int
    first: int
    last: int

    def __len__(self) -> int:
        return self.last - self.first + 1

    def __contains__(self, place: tuple[int, int]) -> bool:
        partition, offset = place
        return partition == self.partition and self.first <= offset <= self.last


def shared_memory(context: BaseContext) -> Any:
    """Room for what one process has in hand, zeroed, to be given to it when it starts."""
    return context.RawArray(ctypes.c_int64, 1 + 3 * MOST_RANGES)


class InHand:
    """A count of ranges, then three numbers for each. The count is written last and cleared first."""

    def __init__(self, memory: Any) -> None:
        self._numbers = np.frombuffer(memory, np.int64)

    @contextmanager
    def holding(self, records: RecordBatch) -> Iterator[None]:
        """The records are in hand until the block ends, however it ends: but for a crash."""
        ranges = [
            (partition, int(offsets.min()), int(offsets.max()))
            for partition in np.unique(records.partitions).tolist()
            if len(offsets := records.offsets[records.partitions == partition])
        ][:MOST_RANGES]
        self._numbers[1 : 1 + 3 * len(ranges)] = np.ravel(ranges)
        self._numbers[0] = len(ranges)
        try:
            yield
        finally:
            self._numbers[0] = 0

    def take(self) -> tuple[Range, ...]:
        """What was in hand at the end, once."""
        count = int(self._numbers[0])
        rows = self._numbers[1 : 1 + 3 * count].reshape(-1, 3).tolist()
        self._numbers[0] = 0
        return tuple(Range(*row) for row in rows)
