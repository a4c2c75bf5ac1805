"""Decide when a bounded run is through with a partition: at the first thing that comes from beyond its last offset.

The last record before the end cannot be known beforehand: offsets have gaps where transactions ended and where records
were aborted or compacted away. So what is read decides: a record, or the end of the log, at or beyond the stop.
"""

from collections.abc import Iterable, Mapping, Sequence

from confluent_kafka import KafkaError, Message


class Until:
    """The stops of a bounded run by partition, and which of them were reached. A partition without one is not read."""

    def __init__(self, stops: Mapping[int, int]) -> None:
        self._stops = dict(stops)
        self._due: set[int] = set()

    def within(self, messages: Sequence[Message]) -> tuple[list[Message], set[int]]:
        """The messages that belong to the run, and the partitions that are through as of now."""
        inside, through = [], set[int]()
        for message in messages:
            partition = message.partition()
            if partition is not None and self._is_beyond(partition, message):
                through.add(partition)
            elif not _is_end(message.error()):
                inside.append(message)
        self._due |= through & self._stops.keys()
        return inside, through

    @property
    def is_due(self) -> bool:
        """Whether a stop was reached that ``due`` has not told yet."""
        return bool(self._due)

    def due(self) -> dict[int, int]:
        """The stops reached since the last call, to be committed with the records taken so far."""
        stops = {partition: self._stops[partition] for partition in sorted(self._due)}
        self._due.clear()
        return stops

    def forget(self, partitions: Iterable[int]) -> None:
        """These are read again, from where the broker says, or by somebody else."""
        self._due.difference_update(partitions)

    def _is_beyond(self, partition: int, message: Message) -> bool:
        if message.error() is not None and not _is_end(message.error()):
            return False
        return (message.offset() or 0) >= self._stops.get(partition, 0)


def _is_end(error: KafkaError | None) -> bool:
    return error is not None and error.code() == KafkaError._PARTITION_EOF  # noqa: SLF001 - it has no other name
