"""Configure the Kafka clients so that no default of theirs can lose or repeat a record."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient

from consumer.msk import iam_properties
from consumer.settings import WorkerSettings
from schemas.errors import ConfigurationError

log = structlog.get_logger()

LARGEST_MESSAGE = 2_000_000
"""Bytes of one record, unless `message.max.bytes` says otherwise."""

NO_REBOOTSTRAP: dict[str, Any] = {"metadata.recovery.strategy": "none"}
"""For every client that lives on when the brokers go away.

Re-bootstrapping (KIP-899, the default) when the last broker disconnects leaves partitions with the broker handle that
it drops: nothing is sent any more, and the producer cannot be destroyed (librdkafka 2.16.0).
"""

Client = TypeVar("Client", bound=Consumer | Producer | AdminClient)


def make_client(kind: type[Client], properties: Mapping[str, Any]) -> Client:
    """A client with these properties. Raises ConfigurationError naming one that librdkafka does not take."""
    try:
        return kind(dict(properties))
    except KafkaException as error:
        raise ConfigurationError(f"kafka: {error.args[0].str().strip()}") from None
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"kafka: {error}") from None


def make_consumer(
    settings: WorkerSettings, on_statistics: Callable[[str], None] = lambda _text: None, *, tells_ends: bool = False
) -> Consumer:
    """A consumer with static membership that commits nothing by itself and reads only what is committed.

    With ``tells_ends`` it says when it has come to the end of a partition.
    """
    ours = {"stats_cb": _harmless(on_statistics), "enable.partition.eof": tells_ends}
    return make_client(Consumer, consumer_properties(settings) | ours)


def _harmless(callback: Callable[[str], None]) -> Callable[[str], None]:
    """An exception in a callback surfaces from whichever call of the client has run it: a poll, or a commit."""

    def call(text: str) -> None:
        try:
            callback(text)
        except Exception as error:  # noqa: BLE001 - no statistic is worth a worker
            log.warning("statistics_not_understood", reason=repr(error))

    return call


def consumer_properties(settings: WorkerSettings, fetched_ahead_kb: int = 32_768) -> dict[str, Any]:
    """What a member of the group of the settings is configured with. They may fetch more or less ahead."""
    defaults = {
        "session.timeout.ms": 10_000,
        "max.poll.interval.ms": 120_000,
        "check.crcs": True,
        "queued.max.messages.kbytes": fetched_ahead_kb,
        "fetch.wait.max.ms": 10,
        "fetch.queue.backoff.ms": 5,
        "statistics.interval.ms": 5_000,
    }
    ours = {
        "group.id": settings.group,
        "group.instance.id": settings.slot_id,
        "partition.assignment.strategy": "cooperative-sticky",
        "isolation.level": "read_committed",
        "auto.offset.reset": "error",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
    }
    return defaults | _common(settings) | kafka_properties(settings) | settings.consumer_kafka | ours


def largest_message(settings: WorkerSettings) -> int:
    """Bytes of the largest record that the producers take. Raises ConfigurationError if the setting is no number."""
    given = (settings.kafka | settings.producer_kafka).get("message.max.bytes", LARGEST_MESSAGE)
    try:
        return int(given)
    except ValueError:
        raise ConfigurationError("kafka: message.max.bytes is no number") from None


def producer_maker(settings: WorkerSettings, largest: int = LARGEST_MESSAGE) -> Callable[[Mapping[str, Any]], Producer]:
    """A function that makes producers for this worker from the few properties that tell them apart.

    ``largest`` is the size in bytes of the largest batch that the topics take: brokers count the batch as one.
    """
    defaults = {
        # transaction > message > socket: with the defaults a transaction expires before its socket does.
        "transaction.timeout.ms": 30_000,
        "message.timeout.ms": 20_000,
        "socket.timeout.ms": 10_000,
        "linger.ms": 5,
        "batch.size": min(1_000_000, largest),
        "queue.buffering.max.messages": max(100_000, 4 * settings.batch_size),
        "queue.buffering.max.kbytes": 262_144,
        "message.max.bytes": LARGEST_MESSAGE,
        "partitioner": "murmur2_random",
        "delivery.report.only.error": True,
    }
    given = defaults | _common(settings) | kafka_properties(settings) | settings.producer_kafka

    def make(own: Mapping[str, Any]) -> Producer:
        return make_client(Producer, given | {"acks": "all", "enable.idempotence": True} | dict(own))

    return make


def kafka_properties(settings: WorkerSettings) -> dict[str, Any]:
    """What every client of the settings is given: the user's properties, over how to be known to MSK by IAM.

    Raises ConfigurationError where that cannot be.
    """
    return (iam_properties(settings.msk_iam_region) if settings.msk_iam_region else {}) | settings.kafka


def _common(settings: WorkerSettings) -> dict[str, Any]:
    return NO_REBOOTSTRAP | {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": settings.slot_id,
        "error_cb": log_error,
        "log.connection.close": False,
        # Brokers that come back are found within a second, not ten.
        "reconnect.backoff.max.ms": 1_000,
        # One line a failure is enough: with the broker down librdkafka logs about twenty a second.
        "log_level": 3,
    }


def log_error(error: KafkaError) -> None:
    """Note what a client complains of."""
    log.warning("kafka_client", code=error.name(), reason=error.str())


def admin_client(settings: WorkerSettings, on_error: Callable[[KafkaError], None] = log_error) -> AdminClient:
    """An admin client; keep it in a variable, or its futures fail."""
    return make_client(AdminClient, _common(settings) | kafka_properties(settings) | {"error_cb": on_error})
