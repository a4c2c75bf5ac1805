"""Read stretches of a topic for a command: what the brokers say against it becomes one sentence."""

from collections.abc import Callable, Iterator, Sequence

from confluent_kafka import Consumer, KafkaException

from consumer import committed
from consumer.ranges import Span
from consumer.records import RecordBatch
from fraudstream.kafka import Connection, sentence


def consumer_of(connection: Connection, group: str, *, isolation: str = "read_committed") -> Consumer:
    """A consumer that may ask what ``group`` has committed; it never joins the group and commits nothing."""
    ours = {
        "group.id": group,
        "enable.auto.commit": False,
        "isolation.level": isolation,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "queued.max.messages.kbytes": 65_536,
    }
    return Consumer(connection.properties | ours)


def read(consumer: Consumer, topic: str, spans: Sequence[Span], moved: Callable[[int], None]) -> Iterator[RecordBatch]:
    """As ``consumer.committed.read``; raises what ``sentence`` makes of a KafkaException."""
    try:
        yield from committed.read(consumer, topic, spans, moved)
    except KafkaException as error:
        raise sentence(error.args[0], f"topic {topic} cannot be read") from None
