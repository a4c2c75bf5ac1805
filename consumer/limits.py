"""Ask the broker where a range of a topic begins and ends, as a reader of committed records sees it."""

from collections.abc import Iterable, Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

from consumer.patience import patiently
from consumer.ranges import Point, Span, resolve

BROKER_SECONDS = 30.0


def spans(consumer: Consumer, topic: str, partitions: Iterable[int], first: Point, last: Point) -> list[Span]:
    """The spans between two points. ``consumer`` must read committed: the end is then the last stable offset.

    Raises KafkaException where the broker does not answer or refuses, and FraudstreamError as ``resolve`` does.
    """
    limits = {each: ends_of(consumer, topic, each) for each in partitions}

    def offsets_at(milliseconds: int) -> Mapping[int, int]:
        asked = [TopicPartition(topic, each, max(0, milliseconds)) for each in limits]
        found = patiently(lambda: _without_errors(consumer.offsets_for_times(asked, BROKER_SECONDS)))
        return {each.partition: each.offset for each in found if each.offset >= 0}

    return resolve(topic, first, last, limits, offsets_at)


def ends_of(consumer: Consumer, topic: str, partition: int) -> tuple[int, int]:
    """The first offset of a partition and the one after its last. Raises KafkaException."""
    return patiently(lambda: consumer.get_watermark_offsets(TopicPartition(topic, partition), BROKER_SECONDS))


def committed_of(consumer: Consumer, topic: str, partitions: Iterable[int]) -> list[TopicPartition]:
    """What the group of ``consumer`` has committed; partitions without are left out. Raises KafkaException."""
    asked = [TopicPartition(topic, each) for each in partitions]
    found = patiently(lambda: _without_errors(consumer.committed(asked, timeout=BROKER_SECONDS)))
    return [each for each in found if each.offset >= 0]


def _without_errors(found: list[TopicPartition]) -> list[TopicPartition]:
    for each in found:
        if each.error is not None:
            raise KafkaException(each.error)
    return found
