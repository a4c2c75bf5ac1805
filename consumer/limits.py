"""Ask the broker where a range of a topic begins and ends, as a reader of committed records sees it."""

from collections.abc import Iterable, Mapping

from confluent_kafka import Consumer, KafkaException, TopicPartition

from consumer.ranges import Point, Span, resolve

BROKER_SECONDS = 30.0


def spans(consumer: Consumer, topic: str, partitions: Iterable[int], first: Point, last: Point) -> list[Span]:
    """The spans between two points. ``consumer`` must read committed: the end is then the last stable offset.

    Raises KafkaException where the broker does not answer or refuses, and FraudstreamError as ``resolve`` does.
    """
    limits = {each: consumer.get_watermark_offsets(TopicPartition(topic, each), BROKER_SECONDS) for each in partitions}

    def offsets_at(milliseconds: int) -> Mapping[int, int]:
        asked = [TopicPartition(topic, each, max(0, milliseconds)) for each in limits]
        found = consumer.offsets_for_times(asked, BROKER_SECONDS)
        for each in found:
            if each.error is not None:
                raise KafkaException(each.error)
        return {each.partition: each.offset for each in found if each.offset >= 0}

    return resolve(topic, first, last, limits, offsets_at)
