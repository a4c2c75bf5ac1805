"""Read what a topic holds now, and no further; what the brokers say against it becomes one sentence."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing

from confluent_kafka import OFFSET_BEGINNING as BEGINNING
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumer import committed
from consumer.ranges import Span
from consumer.records import RecordBatch
from consumer.settings import WorkerSettings
from fraudstream.kafka import Connection, sentence

_CHUNK = 5_000


def read(consumer: Consumer, topic: str, spans: Sequence[Span], moved: Callable[[int], None]) -> Iterator[RecordBatch]:
    """As ``consumer.committed.read``; raises what ``sentence`` makes of a KafkaException."""
    try:
        yield from committed.read(consumer, topic, spans, moved)
    except KafkaException as error:
        raise sentence(error.args[0], f"topic {topic} cannot be read") from None


def everything(connection: Connection, settings: WorkerSettings, topic: str) -> Iterator[Message]:
    """All committed records of the topic. Raises what ``Connection.partitions`` raises."""
    partitions = connection.partitions(topic)
    with closing(connection.reader(settings.group, given=settings.consumer_kafka)) as consumer:
        consumer.assign([TopicPartition(topic, each, BEGINNING) for each in partitions])
        yield from to_the_end(consumer, len(partitions))


def to_the_end(consumer: Consumer, partitions: int, *, follow: bool = False) -> Iterator[Message]:
    """What is assigned, up to where each partition ends now, or for ever where ``follow`` asks for what comes then.

    Raises NotPermittedError where it cannot be read.
    """
    ended: set[int | None] = set()
    while follow or len(ended) < partitions:
        for message in consumer.consume(_CHUNK, 0.1):
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its only name
                ended.add(message.partition())
            elif not error.retriable():
                topic = message.topic()  # of what is wrong with the group it is none
                raise sentence(error, "group" if topic is None else f"topic {topic} cannot be read")
