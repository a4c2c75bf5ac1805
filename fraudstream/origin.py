"""Find a decision by its id on Kafka, and the transaction that it is about."""

from contextlib import closing
from dataclasses import dataclass
from uuid import UUID

from confluent_kafka import OFFSET_BEGINNING as BEGINNING
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from consumer.ranges import CLOCK_SKEW_MS
from consumer.settings import WorkerSettings
from fraudstream.kafka import ANSWER_SECONDS, Connection, sentence
from fraudstream.reading import to_the_end
from schemas.decision import place_of
from schemas.errors import FraudstreamError


@dataclass(frozen=True, slots=True)
class Origin:
    """A decision and its transaction as they stand on their topics."""

    decision: Message
    transaction: Message


def find(connection: Connection, settings: WorkerSettings, identity: UUID) -> Origin:
    """The decision ``identity`` on the decisions topic, and the record of the input topic that its id points at.

    Raises FraudstreamError where one of them is not (or no longer) there, what ``Connection.partitions`` raises, and
    NotPermittedError where a topic cannot be read.
    """
    partition, offset = place_of(identity)
    inputs = connection.partitions(settings.input_topic)
    outputs = connection.partitions(settings.decisions_topic)
    if partition not in inputs:
        raise FraudstreamError(f"decision {identity}: topic {settings.input_topic} has no partition {partition}")
    with closing(connection.reader(settings.group, given=settings.consumer_kafka)) as consumer:
        transaction = _record_at(consumer, settings.input_topic, partition, offset)
        # Where the counts agree, the worker keeps a decision in the partition of its transaction.
        candidates = [partition] if len(inputs) == len(outputs) else outputs
        asked = [TopicPartition(settings.decisions_topic, each) for each in candidates]
        decision = _decision(consumer, asked, identity, transaction.timestamp()[1] - CLOCK_SKEW_MS)
    return Origin(decision, transaction)


def _record_at(consumer: Consumer, topic: str, partition: int, offset: int) -> Message:
    place = f"offset {offset} of partition {partition} of topic {topic}"
    try:
        earliest, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), ANSWER_SECONDS)
    except KafkaException as error:
        raise sentence(error.args[0], f"topic {topic}") from None
    if offset < earliest:
        raise FraudstreamError(f"{place} is no longer there: the topic keeps what is from offset {earliest} on")
    if offset >= end:
        raise FraudstreamError(f"{place} was never written: the topic ends at offset {end}")
    consumer.assign([TopicPartition(topic, partition, offset)])
    message = next(to_the_end(consumer, 1), None)
    if message is None or message.offset() != offset:
        raise FraudstreamError(f"{place} holds no committed record")
    return message


def _decision(consumer: Consumer, asked: list[TopicPartition], identity: UUID, since: int) -> Message:
    """The decision on one of the partitions: first sought among those from the time ``since`` (ms) on, then in all."""
    try:
        moments = [TopicPartition(each.topic, each.partition, max(0, since)) for each in asked]
        starts = list(consumer.offsets_for_times(moments, ANSWER_SECONDS))
    except KafkaException as error:
        raise sentence(error.args[0], f"topic {asked[0].topic}") from None
    everything = [TopicPartition(each.topic, each.partition, BEGINNING) for each in asked]
    for assignment in (starts, everything):
        consumer.assign(assignment)
        for message in to_the_end(consumer, len(assignment)):
            if _names(message.value(), identity):
                return message
    raise FraudstreamError(f"topic {asked[0].topic} holds no decision {identity}")


def _names(value: bytes | None, identity: UUID) -> bool:
    """Whether a decision bears the id: in Avro its first 16 bytes behind any framing, in JSON its text."""
    return value is not None and (identity.bytes in value[:26] or str(identity).encode() in value[:80])
