"""Send the held-out transactions at a rate, read what is decided, and take the time between."""

import io
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from threading import Event
from typing import Any

import fastavro
import numpy as np
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition
from numpy.typing import NDArray

from drift.windows import PANE
from fraudstream.demo.cluster import PARTITIONS, Cluster
from fraudstream.demo.tally import Tally, Truth
from models.split import parts
from producer.encode import encode_avro
from producer.publish import Pace, Publisher, send_at_pace
from producer.transactions import Transactions, TransactionSource, from_frame
from schemas.dataset import Dataset
from schemas.errors import FraudstreamError
from schemas.framing import confluent_prefix
from schemas.load import load

CONFLUENT_PREFIX = confluent_prefix(1)
DRAIN_SECONDS = 30.0
ANSWER_SECONDS = 10.0
EVENT_MS = 1_000
"""Event time between two transactions, however fast they are sent: ten minutes of it hold enough to be judged."""
OTHER_UNIT = 100
"""What amounts are multiplied by where they drift: somebody upstream sends cents."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """The ``count`` transactions from number ``first`` on, all later than what a model with these shares has seen."""

    source: TransactionSource
    first: int
    count: int
    legitimate_kept: float
    drifts: bool = False
    """Whether the amounts of the second half are another unit's."""

    def sent(self, first: int, count: int, pace: Pace) -> Transactions:
        """Numbers ``first`` to ``first + count - 1`` of them as they are sent at this pace.

        Their event times end before the first is sent, and begin with a window of the monitor.
        """
        numbers = np.arange(first, first + count)
        begin = int(pace.start * 1000 - self.count * EVENT_MS) // PANE.length * PANE.length
        rows = self.source.stretch(self.first + first, count).happening_at(begin + numbers * EVENT_MS)
        other = self.drifts & (numbers >= self.count // 2)
        return replace(rows, amount=np.where(other, OTHER_UNIT * rows.amount, rows.amount))

    def truth(self, pace: Pace) -> Truth:
        """What is known of them when they are sent at this pace."""
        rows = self.sent(0, self.count, pace)
        identities = rows.transaction_id.astype(str).tolist()
        due = pace.due_at(0, self.count, pace.start)
        return Truth(
            {name: row for row, name in enumerate(identities)}, rows.is_fraud, rows.amount, due, self.legitimate_kept
        )


def held_out(dataset: Dataset, shares: tuple[float, float], *, drifts: bool = False) -> HeldOut:
    """The test part of a data set that is split as training splits it."""
    test = parts(dataset, shares)[2]
    source, count = from_frame(dataset.frame), test.stop - test.start
    return HeldOut(source, test.start, count, dataset.legitimate_kept, drifts)


class Reader:
    """Reads decisions and dead letters with read_committed, from the beginning of the topics to their end."""

    def __init__(self, cluster: Cluster) -> None:
        self._dead_letters = cluster.topics.dead_letters
        self._consumer = Consumer(
            {"fetch.wait.max.ms": 10}
            | cluster.connection.properties
            | {
                "group.id": f"{cluster.topics.transactions}.reader",  # asked for; nothing is committed to it
                "enable.auto.commit": False,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
            }
        )
        topics = (cluster.topics.decisions, cluster.topics.dead_letters)
        self._partitions = [TopicPartition(topic, each, 0) for topic in topics for each in range(PARTITIONS)]
        self._ends: dict[tuple[str | None, int | None], int] = {}
        self._schema: Any = fastavro.parse_schema(load("decision"))
        # Without a group to join: the first latency is not the time of joining.
        self._consumer.assign(self._partitions)

    def get_ready(self) -> None:
        """Be at the end of the empty topics, so that the first latency is not the time of getting there.

        Raises FraudstreamError if that takes too long.
        """
        self._until(lambda: len(self._ends) == len(self._partitions), lambda: self._take(0.1))

    def read(self, tally: Tally, wait_seconds: float) -> None:
        """Take what is there; wait for one record at most so long."""
        messages = self._take(wait_seconds)
        now = time.time()
        for message in messages:
            self._note(message.topic(), message.value(), tally, now)

    def read_to_end(self, tally: Tally) -> None:
        """Read everything that the topics hold now. Raises FraudstreamError if that takes too long."""
        ends = {}
        for each in self._partitions:
            # Up to the last stable offset, as the isolation level says.
            ends[each.topic, each.partition] = self._consumer.get_watermark_offsets(each, ANSWER_SECONDS)[1]
        self._until(lambda: all(self._ends[place] >= end for place, end in ends.items()), lambda: self.read(tally, 0.1))

    def close(self) -> None:
        """Leave the broker."""
        self._consumer.close()

    def _until(self, reached: Callable[[], bool], read: Callable[[], object]) -> None:
        deadline = time.monotonic() + ANSWER_SECONDS
        while not reached():
            if time.monotonic() > deadline:
                raise FraudstreamError(f"the decisions could not be read to their end within {ANSWER_SECONDS:.0f} s")
            read()

    def _take(self, wait_seconds: float) -> list[Message]:
        """Records, with the ends of partitions noted and left out."""
        first = self._consumer.poll(wait_seconds)
        messages = [] if first is None else [first, *self._consumer.consume(5_000, 0)]
        for message in messages:
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its only name
                self._ends[message.topic(), message.partition()] = message.offset() or 0
        return [message for message in messages if message.error() is None]

    def _note(self, topic: str | None, value: bytes | None, tally: Tally, now: float) -> None:
        if topic == self._dead_letters or value is None:
            tally.dead_letters += 1
            return
        decision: Any = fastavro.schemaless_reader(io.BytesIO(value[len(CONFLUENT_PREFIX) :]), self._schema, None)
        tally.note(decision, now)


def watch(reader: Reader, tally: Tally, seconds: float, show: Callable[[], None], check: Callable[[], None]) -> None:
    """Read until every transaction has an outcome, or for half a minute more than sending takes.

    ``show`` and ``check`` are called all the time; what ``check`` raises ends it.
    """
    deadline = time.monotonic() + seconds + DRAIN_SECONDS
    while not tally.complete and time.monotonic() < deadline:
        reader.read(tally, 0.05)
        show()
        check()


@contextmanager
def sending(publisher: Publisher, rows: HeldOut, pace: Pace) -> Iterator[Callable[[], None]]:
    """Send the transactions on a thread of its own: an open loop that waits for no reader.

    What is yielded raises what sending has raised. At the end it stops, and waits for what was sent.
    """
    stop = Event()

    def send(first: int, due: NDArray[np.float64]) -> None:
        batch = rows.sent(first, len(due), pace)
        publisher.send(batch.card_id.tolist(), encode_avro(batch, CONFLUENT_PREFIX))

    with ThreadPoolExecutor(1, thread_name_prefix="send") as thread:
        done = thread.submit(send_at_pace, pace, rows.count, send, stop.is_set)

        def check() -> None:
            if done.done():
                done.result()

        try:
            yield check
        finally:
            stop.set()
    publisher.flush(ANSWER_SECONDS)
