"""``fraudstream topics``: every topic that a worker, a monitor and the producer need."""

from typing import Annotated

import typer

from consumer.settings import WorkerSettings
from fraudstream.commands.connection import connect
from fraudstream.topics import create_outputs, create_reports

SETTINGS = (
    *("bootstrap_servers", "kafka", "msk_iam_region", "allow_plaintext", "sample_rate"),
    *("input_topic", "decisions_topic", "dead_letters_topic", "samples_topic", "drift_topic", "retrain_topic"),
)


def topics(
    settings: WorkerSettings,
    labels_topic: Annotated[str, typer.Option(help="Where `fraudstream produce --labels` writes.")] = "fraud.labels",
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of the input, if it does not exist.")] = 6,
) -> None:
    """Create the topics that do not exist, with the cluster's own replication factor; the others stay as they are.

    Those for decisions and dead letters get as many partitions as the input has.

    fraudstream topics --partitions 12
    """
    connection = connect(settings)
    for topic in (settings.input_topic, labels_topic):
        connection.create_topic(topic, partitions)
    create_outputs(connection, settings)
    create_reports(connection, settings)
