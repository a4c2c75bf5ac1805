"""Read the dead letters of a topic, find what they are about, and send records again, each letter once.

That a letter was sent again is written to a topic of its own in the same Kafka transaction that sends the record. So
whoever redrives again, with another filter or after a kill, sends nothing twice.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from itertools import islice

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer

from consumer import limits
from consumer.clients import producer_maker
from consumer.decide import validate
from consumer.headers import headers_of
from consumer.letter import DeadLetter, Record, Wanted, read_letter, without_ours
from consumer.patience import patiently
from consumer.ranges import Extreme, Point, Span
from consumer.redrive import Fate, Judged, Policy, judge
from consumer.settings import WorkerSettings
from consumer.wire import bounds_of, roles_of, transaction_reader
from fraudstream.kafka import Connection, sentence
from fraudstream.reading import read
from schemas.columns import Reason
from schemas.errors import FraudstreamError

TRANSACTION_SECONDS = 30.0
CHUNK = 500
_LARGEST_MESSAGE = 100_000_000
"""The source topic has taken the record before; it is not for this client to find it too large."""

Tell = Callable[[str, int, int], None]


class DeadLetters:
    """The dead letters of the settings."""

    def __init__(self, connection: Connection, settings: WorkerSettings) -> None:
        self._connection = connection
        self._settings = settings
        self.markers = f"{settings.dead_letters_topic}.redriven"

    def read(self, first: Point, last: Point, wanted: Wanted, tell: Tell) -> Iterator[DeadLetter]:
        """The letters of a range that are asked for, per partition in order. Raises as ``Connection.partitions``."""
        topic = self._settings.dead_letters_topic
        partitions = self._connection.partitions(topic)
        with self._consumer(topic) as consumer:
            spans = limits.spans(consumer, topic, partitions, first, last)
            total = sum(map(len, spans))
            for batch in read(consumer, topic, spans, lambda steps: tell(topic, total, steps)):
                for letter in map(read_letter, batch.messages):
                    if letter is not None and wanted.takes(letter):
                        yield letter

    def sent(self) -> set[bytes]:
        """The identities of the letters that were sent again."""
        if not self._connection.has_topic(self.markers):
            return set()
        with self._consumer(self.markers) as consumer:
            partitions = self._connection.partitions(self.markers)
            spans = limits.spans(consumer, self.markers, partitions, Extreme.BEGINNING, Extreme.END)
            batches = read(consumer, self.markers, spans, lambda _steps: None)
            return {key for batch in batches for key in batch.keys if key is not None}

    def fetch(self, letters: Sequence[DeadLetter]) -> list[Record | None]:
        """The records that letters are about, from the input topic; None for one that is no longer there."""
        topic = self._settings.input_topic
        with self._consumer(topic) as consumer:
            return [self._original(consumer, topic, letter) for letter in letters]

    def _original(self, consumer: Consumer, topic: str, letter: DeadLetter) -> Record | None:
        low, high = limits.ends_of(consumer, topic, letter.source_partition)
        if not low <= letter.source_offset < high:
            return None
        span = Span(letter.source_partition, letter.source_offset, letter.source_offset + 1)
        for batch in read(consumer, topic, [span], lambda _steps: None):
            message = batch.messages[0]
            return Record(message.key(), message.value(), without_ours(headers_of(message)))
        return None

    def redrive(self, letters: Iterable[DeadLetter], policy: Policy, *, send: bool) -> Iterator[list[Judged]]:
        """Judge letters about the input topic, some at a time, and send those that can be, if ``send``.

        Raises NotPermittedError, and FraudstreamError where somebody else redrives too or the brokers fail: all that
        was yielded is sent, and the next run goes on.
        """
        sender = self._sender() if send else None
        sent = self.sent()
        expect = self._expectation()
        ours = self._about_the_input(letters)
        while chunk := list(islice(ours, CHUNK)):
            judged = judge(chunk, sent, policy, self.fetch, expect)
            if sender is not None:
                self._send(sender, judged)
            yield judged

    def _expectation(self) -> Callable[[Sequence[bytes | None]], list[Fate]]:
        """What a worker will say of values, as far as its models have no part in it."""
        reader = transaction_reader(self._settings, ())
        roles, bounds = roles_of(self._settings), bounds_of(self._settings)

        def expect(values: Sequence[bytes | None]) -> list[Fate]:
            columns = reader.read(values)
            fates = [Fate.SENT if reason == Reason.OK else Fate.UNDECODABLE for reason in columns.reason.tolist()]
            if Fate.SENT in fates:
                for row in validate(columns, roles, bounds, int(time.time() * 1000)):
                    fates[row] = Fate.INVALID
            return fates

        return expect

    def _about_the_input(self, letters: Iterable[DeadLetter]) -> Iterator[DeadLetter]:
        """Nobody who can write to the dead letters shall choose by a header which other topic we write to."""
        topic = self._settings.input_topic
        partitions = set(self._connection.partitions(topic))
        return (each for each in letters if each.topic == topic and each.source_partition in partitions)

    def _sender(self) -> Producer:
        """A producer whose transactions end those of any other redrive of this group."""
        self._connection.create_topic(self.markers, 1, {"cleanup.policy": "compact"})
        identity = f"{self._settings.application}.{self._settings.environment}.{self._settings.group}.redrive"
        make = producer_maker(self._settings, _LARGEST_MESSAGE)
        # What goes wrong comes back from the calls, and is said once.
        quiet = {"log_level": 0, "error_cb": lambda _error: None}
        producer = make(quiet | {"transactional.id": identity, "message.max.bytes": _LARGEST_MESSAGE})
        with self._telling(f"transactional id {identity}"):
            patiently(lambda: producer.init_transactions(TRANSACTION_SECONDS))
        return producer

    def _send(self, producer: Producer, judged: Sequence[Judged]) -> None:
        """Send the records and note that they are sent, all or none."""
        records = [(each.letter, each.record) for each in judged if each.record is not None]
        if not records:
            return
        with self._telling(f"topic {self._settings.input_topic}"):
            producer.begin_transaction()
            try:
                for letter, record in records:
                    _produce(producer, letter.topic, record, letter.source_partition)
                    _produce(producer, self.markers, Record(letter.identity, b"", []), 0)
                producer.commit_transaction(TRANSACTION_SECONDS)
            except BaseException:
                with suppress(KafkaException):  # fenced, there is nothing to abort
                    producer.abort_transaction(TRANSACTION_SECONDS)
                raise

    @contextmanager
    def _consumer(self, topic: str) -> Iterator[Consumer]:
        with closing(self._connection.reader(self._settings.group)) as consumer, self._telling(f"topic {topic}"):
            yield consumer

    @contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        try:
            yield
        except KafkaException as error:
            if error.args[0].code() in {KafkaError._FENCED, KafkaError.PRODUCER_FENCED}:  # noqa: SLF001 - its name
                raise FraudstreamError(f"{what}: another redrive of group {self._settings.group} has begun") from None
            raise sentence(error.args[0], what) from None


def _produce(producer: Producer, topic: str, record: Record, partition: int) -> None:
    try:
        producer.produce(topic, record.value, record.key, partition=partition, headers=record.headers)
    except BufferError:  # large records: make room, and once more
        producer.flush(TRANSACTION_SECONDS)
        producer.produce(topic, record.value, record.key, partition=partition, headers=record.headers)
