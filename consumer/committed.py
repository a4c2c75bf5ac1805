"""Read stretches of a topic as any reader of committed records would, each to its very end."""

import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumer.ranges import Span
from consumer.records import RecordBatch
from schemas.errors import FraudstreamError

PATIENCE_SECONDS = 75.0
"""Longer than a transaction may stay open by default before the brokers abort it."""
_CHUNK = 10_000


def read(consumer: Consumer, topic: str, spans: Sequence[Span], moved: Callable[[int], None]) -> Iterator[RecordBatch]:
    """The committed records of the spans, per partition in order. ``moved`` is told how many offsets are behind.

    Whether a span was read is judged by position: markers and aborted records take offsets and are no records.
    Raises KafkaException where the brokers do not let them be read, and HeldBackError where an open transaction holds
    readers back for a minute.
    """
    progress = _Progress(consumer, topic, spans)
    consumer.assign([TopicPartition(topic, span.partition, span.start) for span in spans if len(span)])
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        while progress.unfinished:
            first = consumer.poll(0.2)
            messages = [] if first is None else [first, *consumer.consume(_CHUNK, 0)]
            records = RecordBatch.of(topic, [message for message in messages if message.error() is None])
            steps = progress.move(records, [message for message in messages if message.error() is not None])
            if steps:
                deadline = time.monotonic() + PATIENCE_SECONDS
                moved(steps)
            elif time.monotonic() > deadline:
                raise progress.held_back()
            inside = progress.within(records)
            if len(inside):
                yield inside
    finally:  # also where somebody has seen enough
        progress.close()


class HeldBackError(FraudstreamError):
    """Catch this to ask again later: a transaction is open, and what lies behind it cannot be read yet."""


class _Progress:
    """How far each span has been read."""

    def __init__(self, consumer: Consumer, topic: str, spans: Sequence[Span]) -> None:
        self._consumer = consumer
        self._topic = topic
        self._stops = {span.partition: span.stop for span in spans}
        self._reached = {span.partition: span.start for span in spans}
        self.unfinished = {span.partition for span in spans if len(span)}

    def move(self, records: RecordBatch, events: Sequence[Message]) -> int:
        """Take note of what came; how many offsets lie behind that did not before. Raises for what is no event."""
        before = sum(self._reached.values())
        for partition in np.unique(records.partitions).tolist():
            self._reach(partition, int(records.offsets[records.partitions == partition].max()) + 1)
        for event in events:
            error, partition, offset = event.error(), event.partition(), event.offset()
            assert error is not None
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its only name
                assert partition is not None
                assert offset is not None
                self._reach(partition, offset)
            elif not error.retriable():
                raise KafkaException(error)
        return sum(self._reached.values()) - before

    def _reach(self, partition: int, offset: int) -> None:
        self._reached[partition] = max(self._reached[partition], min(offset, self._stops[partition]))
        if self._reached[partition] == self._stops[partition] and partition in self.unfinished:
            self.unfinished.discard(partition)
            self._consumer.pause([TopicPartition(self._topic, partition)])

    def close(self) -> None:
        """Leave the consumer as it was found: a partition that is paused would be so in the next assignment too."""
        self._consumer.resume([TopicPartition(self._topic, partition) for partition in self._reached])
        self._consumer.unassign()

    def within(self, records: RecordBatch) -> RecordBatch:
        """Those of the records that lie in their spans: a live topic goes on behind them."""
        stops = np.zeros(max(self._stops) + 1, np.int64)
        stops[list(self._stops)] = list(self._stops.values())
        inside = records.offsets < stops[records.partitions]
        if inside.all():
            return records
        return RecordBatch.of(records.topic, [records.messages[row] for row in np.flatnonzero(inside).tolist()])

    def held_back(self) -> HeldBackError:
        """What to say when nothing comes any more."""
        partition = min(self.unfinished)
        return HeldBackError(
            f"topic {self._topic}: readers of committed records get no further than offset "
            f"{self._reached[partition]} of partition {partition}, and there are records up to "
            f"{self._stops[partition]}: a transaction is open there, or the brokers do not answer"
        )
