"""Read from the sample topic what a model scored in a stretch of event time."""

from collections.abc import Callable
from contextlib import closing

from confluent_kafka import KafkaException

from consumer.limits import spans
from consumer.ranges import Extreme, Moment
from consumer.settings import WorkerSettings
from drift.intake import Intake
from drift.period import Period
from drift.sampled_period import SampledPeriod
from drift.windows import Timing
from fraudstream.kafka import Connection, sentence
from fraudstream.reading import read
from schemas.errors import InvalidRecordError
from schemas.feature_sample import decode

Tell = Callable[[str, int, int], None]
"""Told a topic, how many offsets of it there are to read, and how many more have been."""


def sampled_traffic(
    connection: Connection, settings: WorkerSettings, model: tuple[str, str], start: int, end: int, tell: Tell
) -> Period:
    """What ``model`` (name and version) scored with event times from ``start`` until before ``end`` (ms).

    Raises ConfigurationError where nothing of it was sampled, NotPermittedError where the topic may not be read.
    """
    topic = settings.samples_topic
    seen = SampledPeriod(topic, *model, start, end)
    lead = Timing().lead
    intake = Intake(settings.input_topic, lead)
    with closing(connection.reader(settings.group)) as consumer:
        try:
            # No event is believed that is further ahead of the clock; but it may be sampled any time afterwards.
            stretches = spans(consumer, topic, connection.partitions(topic), Moment(start - lead), Extreme.END)
        except KafkaException as error:
            raise sentence(error.args[0], f"topic {topic} cannot be read") from error
        total = sum(map(len, stretches))
        for records in read(consumer, topic, stretches, lambda steps: tell(topic, total, steps)):
            for value in records.values:
                _take(value, intake, seen)
    return seen.period()


def _take(value: bytes | None, intake: Intake, seen: SampledPeriod) -> None:
    try:
        samples = intake.take(decode(value)).samples
    except InvalidRecordError:
        return  # the monitor counts and names these; one record more or less makes no other baseline
    for sample in samples:
        seen.add(sample)
