"""Turn what the client consumed into columns: the batch as the rest of the worker sees it."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import starmap

import numpy as np
from confluent_kafka import Message, TopicPartition
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class RecordBatch:
    """n records of one topic, in the order of arrival: per partition, in the order of the log.

    ``partitions`` (n,) int32 and ``offsets`` (n,) int64; ``values`` and ``keys`` hold None for a null.
    """

    topic: str
    messages: Sequence[Message]
    values: Sequence[bytes | None]
    keys: Sequence[bytes | None]
    partitions: NDArray[np.int32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.values)

    @classmethod
    def of(cls, topic: str, messages: Sequence[Message]) -> "RecordBatch":
        """The batch of these messages, none of which carries an error."""
        size = len(messages)
        return cls(
            topic,
            messages,
            list(map(Message.value, messages)),
            list(map(Message.key, messages)),
            np.fromiter(map(Message.partition, messages), np.int32, size),
            np.fromiter(map(Message.offset, messages), np.int64, size),
        )

    def next_offsets(self) -> list[TopicPartition]:
        """For each partition the offset after its last record here: what is committed with the batch."""
        present = np.unique(self.partitions)
        last = [(int(p), int(self.offsets[self.partitions == p].max()) + 1) for p in present]
        return list(starmap(lambda p, offset: TopicPartition(self.topic, p, offset), last))

    def only(self, partitions: set[int]) -> "RecordBatch":
        """The records of these partitions: what is left when others were revoked."""
        return RecordBatch.of(self.topic, [m for m in self.messages if m.partition() in partitions])

    def last_times(self) -> dict[int, float]:
        """For each partition the broker timestamp of its last record here, in seconds since 1970."""
        present, from_the_end = np.unique(self.partitions[::-1], return_index=True)
        last = (self.messages[-1 - at] for at in from_the_end.tolist())
        return {p: m.timestamp()[1] / 1000 for p, m in zip(present.tolist(), last, strict=True)}

    def broker_times(self, most: int) -> NDArray[np.float64]:
        """Broker timestamps in ms since 1970 of up to ``most`` records, evenly spread over the batch."""
        step = max(1, len(self.messages) // most)
        return np.array([m.timestamp()[1] for m in self.messages[::step]], np.float64)
