"""Read what a topic holds now, and no further."""

import uuid
from collections.abc import Iterator
from contextlib import closing

from confluent_kafka import OFFSET_BEGINNING as BEGINNING
from confluent_kafka import Consumer, KafkaError, Message, TopicPartition

from consumer.settings import WorkerSettings
from fraudstream.kafka import Connection, sentence

_CHUNK = 5_000


def bounded_consumer(connection: Connection, settings: WorkerSettings) -> Consumer:
    """A consumer that belongs to no group and is told where partitions end."""
    ours = {
        "group.id": f"fraudstream-{uuid.uuid4().hex}",  # asked for by librdkafka; nothing is ever committed
        "enable.auto.commit": False,
        "isolation.level": "read_committed",
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
    }
    return Consumer(settings.consumer_kafka | connection.properties | ours)


def everything(connection: Connection, settings: WorkerSettings, topic: str) -> Iterator[Message]:
    """All committed records of the topic. Raises what ``Connection.partitions`` raises."""
    partitions = connection.partitions(topic)
    with closing(bounded_consumer(connection, settings)) as consumer:
        consumer.assign([TopicPartition(topic, each, BEGINNING) for each in partitions])
        yield from to_the_end(consumer, len(partitions))


def to_the_end(consumer: Consumer, partitions: int) -> Iterator[Message]:
    """What is assigned, up to where each partition ends now. Raises NotPermittedError where it cannot be read."""
    ended: set[int | None] = set()
    while len(ended) < partitions:
        for message in consumer.consume(_CHUNK, 0.2):
            error = message.error()
            if error is None:
                yield message
            elif error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - its only name
                ended.add(message.partition())
            elif not error.retriable():
                raise sentence(error, f"topic {message.topic()} cannot be read")
