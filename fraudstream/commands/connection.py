"""The options by which a command finds Kafka: flags over environment over the settings file, as for the worker."""

from pathlib import Path
from typing import Annotated

import typer

from consumer.clients import kafka_properties
from consumer.settings import WorkerSettings
from fraudstream.commands.options import CONFIG_OPTION, pairs
from fraudstream.kafka import Connection
from fraudstream.settings import read_settings

Config = Annotated[Path | None, CONFIG_OPTION]
Bootstrap = Annotated[
    str | None, typer.Option(help="Kafka brokers, host:port,host:port. [default: 127.0.0.1:9092]", show_default=False)
]
Properties = Annotated[
    list[str] | None, typer.Option(metavar="KEY=VALUE", help="Any librdkafka property, for TLS, SASL and tuning alike.")
]
Registry = Annotated[str | None, typer.Option(help="Schema Registry; pinned schemas if not given.")]


def settings_of(
    config: Path | None, bootstrap_servers: str | None, kafka: list[str] | None, schema_registry_url: str | None
) -> WorkerSettings:
    """The settings in force, of which commands other than the worker use the connection and the topics.

    Raises ConfigurationError naming the first setting that is wrong.
    """
    flags = {
        "bootstrap_servers": bootstrap_servers,
        "kafka": pairs("--kafka", kafka),
        "schema_registry_url": schema_registry_url,
    }
    return read_settings(config, flags)


def connect(settings: WorkerSettings) -> Connection:
    """The cluster of the settings.

    Raises ConfigurationError for a property that librdkafka does not know, or where MSK's IAM cannot be used.
    """
    return Connection(settings.bootstrap_servers, kafka_properties(settings))
