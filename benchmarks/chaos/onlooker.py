"""Read decisions and dead letters while they are written, as a payment system would, and keep what was seen."""

import threading
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
from confluent_kafka import KafkaError, Message, TopicPartition
from numpy.typing import NDArray

from consumer.audit import Audit
from consumer.ranges import Span
from consumer.records import RecordBatch
from consumer.settings import WorkerSettings
from consumer.sheet import Decided
from fraudstream.audit import Intake
from fraudstream.kafka import Connection

_CHUNK = 5_000


@dataclass(slots=True)
class Seen:
    """What one reader has seen of the outputs."""

    decided: list[Decided] = field(default_factory=list)
    buried: list[tuple[NDArray[np.int64], NDArray[np.int64]]] = field(default_factory=list)
    unreadable: list[tuple[int, int]] = field(default_factory=list)

    @property
    def places(self) -> NDArray[np.int64]:
        """Where the decisions stand that were seen, in order."""
        return np.sort(np.concatenate([each.place for each in self.decided] or [np.empty(0, np.int64)]))

    def tell(self, found: Audit) -> None:
        """Tell an audit of all of it."""
        for decided in self.decided:
            found.add_decisions(decided)
        for partition, offset in self.buried:
            found.add_dead_letters(partition, offset)
        for place in self.unreadable:
            found.add_unreadable(*place)


class Onlooker(threading.Thread):
    """A thread that reads both outputs as they grow, until it is told where they end."""

    def __init__(self, connection: Connection, settings: WorkerSettings, partitions: int) -> None:
        super().__init__(name="onlooker", daemon=True)
        self._connection = connection
        self._settings = settings
        self._intake = Intake(settings)
        self._seen = Seen()
        topics = (settings.decisions_topic, settings.dead_letters_topic)
        self._reached = {(topic, each): 0 for topic in topics for each in range(partitions)}
        self._ends: dict[tuple[str, int], int] | None = None

    def finish(self, ends: Mapping[str, Sequence[Span]]) -> Seen:
        """Read on to the ends of these spans; what was seen."""
        self._ends = {(topic, span.partition): span.stop for topic, spans in ends.items() for span in spans}
        self.join()
        return self._seen

    def run(self) -> None:
        """Read until the ends are known and reached."""
        with closing(self._connection.reader(f"{self._settings.group}.onlooker")) as consumer:
            consumer.assign([TopicPartition(topic, partition, 0) for topic, partition in self._reached])
            while not self._done():
                first = consumer.poll(0.1)
                messages = [] if first is None else [first, *consumer.consume(_CHUNK, 0)]
                self._look([message for message in messages if message.error() is None])
                for message in messages:
                    self._move(message)

    def _done(self) -> bool:
        return self._ends is not None and all(self._reached[where] >= end for where, end in self._ends.items())

    def _move(self, message: Message) -> None:
        error, offset = message.error(), message.offset()
        where = (message.topic() or "", message.partition() or 0)
        # Other errors are those of a broker that was killed, and the client comes over them by itself.
        if error is None or error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its only name
            assert offset is not None
            self._reached[where] = max(self._reached[where], offset + (error is None))

    def _look(self, messages: list[Message]) -> None:
        for topic in {message.topic() for message in messages}:
            batch = RecordBatch.of(topic or "", [message for message in messages if message.topic() == topic])
            if topic == self._settings.dead_letters_topic:
                self._seen.buried.append(self._intake.buried(batch))
                continue
            decided, unreadable = self._intake.decided(batch)
            self._seen.decided.append(decided)
            self._seen.unreadable += [(int(batch.partitions[row]), int(batch.offsets[row])) for row in unreadable]
