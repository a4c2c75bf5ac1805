"""Take the requests to train a model again from their topic, each until somebody says that it is done."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumer.limits import committed_of, ends_of
from consumer.patience import patiently
from consumer.ranges import Span
from consumer.settings import WorkerSettings
from drift.retrain import Request, decode
from fraudstream.kafka import Connection, sentence
from fraudstream.reading import read
from schemas.errors import FraudstreamError, InvalidRecordError


@dataclass(frozen=True, slots=True)
class Waiting:
    """A record of the topic that is not done: a request, or None and what is wrong with it."""

    partition: int
    offset: int
    request: Request | None
    problem: str = ""


def group_of(settings: WorkerSettings) -> str:
    """The group of those who train again; its rights are all that they have on a group."""
    return f"{settings.group}.retrain"


class Requests:
    """The requests on ``retrain_topic``. What is done stands in the committed offsets of a group of its own.

    Nobody joins the group: two who take the same request do the same work, and the store of rollouts lets one of them
    write.
    """

    def __init__(self, connection: Connection, settings: WorkerSettings) -> None:
        self._connection = connection
        self.topic = settings.retrain_topic
        self.group = group_of(settings)

    def waiting(self) -> list[Waiting]:
        """All that is not done, per partition the oldest first. Raises as ``Connection.partitions`` and ``read`` do."""
        partitions = self._connection.partitions(self.topic)
        self._connection.check_group(self.group)
        with self._consumer() as consumer:
            done = {each.partition: each.offset for each in committed_of(consumer, self.topic, partitions)}
            spans = [self._span(consumer, each, done.get(each, 0)) for each in partitions]
            batches = read(consumer, self.topic, spans, lambda _steps: None)
            return [_waiting(message) for batch in batches for message in batch.messages]

    def done(self, of: Waiting) -> None:
        """Never give this one again, nor those before it. Raises FraudstreamError where that cannot be kept."""
        place = TopicPartition(self.topic, of.partition, of.offset + 1)
        with self._consumer() as consumer:
            patiently(lambda: consumer.commit(offsets=[place], asynchronous=False))

    def _span(self, consumer: Consumer, partition: int, done: int) -> Span:
        low, high = ends_of(consumer, self.topic, partition)
        return Span(partition, min(max(low, done), high), high)

    @contextmanager
    def _consumer(self) -> Iterator[Consumer]:
        with closing(self._connection.reader(self.group)) as consumer:
            try:
                yield consumer
            except KafkaException as error:
                if error.args[0].code() == KafkaError.UNKNOWN_MEMBER_ID:  # only an empty group takes offsets from us
                    raise FraudstreamError(f"group {self.group} has members, and should have none") from None
                raise sentence(error.args[0], f"topic {self.topic}, group {self.group}") from None


def _waiting(message: Message) -> Waiting:
    partition, offset = message.partition(), message.offset()
    assert partition is not None
    assert offset is not None
    try:
        return Waiting(partition, offset, decode(message.value()))
    except InvalidRecordError as error:
        return Waiting(partition, offset, None, str(error))
