"""Create the topics that are ours: how many partitions each has, and what is kept of it."""

from consumer.settings import WorkerSettings
from fraudstream.kafka import Connection

KEPT_90_DAYS = {"cleanup.policy": "compact,delete", "retention.ms": str(90 * 24 * 60 * 60 * 1000)}
"""Of what bears one key the last counts, until nobody asks any more."""


def create_outputs(connection: Connection, settings: WorkerSettings) -> None:
    """What a worker writes: decisions and dead letters as the input is divided, samples in one partition.

    Topics that are there stay as they are. Raises as ``Connection.partitions``, also where there is no input topic.
    """
    partitions = len(connection.partitions(settings.input_topic))
    for topic in (settings.decisions_topic, settings.dead_letters_topic):
        connection.create_topic(topic, partitions)
    if settings.sample_rate:
        connection.create_topic(settings.samples_topic, 1)


def create_reports(connection: Connection, settings: WorkerSettings) -> None:
    """What a monitor writes, in one partition each. Otherwise as ``create_outputs``."""
    for topic in (settings.drift_topic, settings.retrain_topic):
        connection.create_topic(topic, 1, KEPT_90_DAYS)
