"""Configure the Kafka clients so that no default of theirs can lose or repeat a record."""

from collections.abc import Callable, Mapping
from typing import Any

import structlog
from confluent_kafka import Consumer, KafkaError, Producer
from confluent_kafka.admin import AdminClient

from consumer.settings import WorkerSettings

log = structlog.get_logger()


def make_consumer(
    settings: WorkerSettings, on_statistics: Callable[[str], None] = lambda _text: None, *, tells_ends: bool = False
) -> Consumer:
    """A consumer with static membership that commits nothing by itself and reads only what is committed.

    With ``tells_ends`` it says when it has come to the end of a partition.
    """
    defaults = {
        "session.timeout.ms": 10_000,
        "max.poll.interval.ms": 120_000,
        "check.crcs": True,
        "queued.max.messages.kbytes": 32_768,
        "fetch.wait.max.ms": 10,
        "fetch.queue.backoff.ms": 5,
        "statistics.interval.ms": 5_000,
    }
    return Consumer(
        defaults
        | _common(settings)
        | settings.kafka
        | settings.consumer_kafka
        | {
            "group.id": settings.group,
            "group.instance.id": settings.slot_id,
            "partition.assignment.strategy": "cooperative-sticky",
            "isolation.level": "read_committed",
            "auto.offset.reset": "error",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "enable.partition.eof": tells_ends,
            "stats_cb": on_statistics,
        }
    )


def producer_maker(settings: WorkerSettings) -> Callable[[Mapping[str, Any]], Producer]:
    """A function that makes producers for this worker from the few properties that tell them apart."""
    defaults = {
        # transaction > message > socket: with the defaults a transaction expires before its socket does.
        "transaction.timeout.ms": 30_000,
        "message.timeout.ms": 20_000,
        "socket.timeout.ms": 10_000,
        "linger.ms": 5,
        "batch.size": 1_000_000,
        "queue.buffering.max.messages": max(100_000, 4 * settings.batch_size),
        "queue.buffering.max.kbytes": 262_144,
        "message.max.bytes": 2_000_000,
        "partitioner": "murmur2_random",
        "delivery.report.only.error": True,
    }

    def make(own: Mapping[str, Any]) -> Producer:
        return Producer(
            defaults
            | _common(settings)
            | settings.kafka
            | settings.producer_kafka
            | {"acks": "all", "enable.idempotence": True}
            | dict(own)
        )

    return make


def _common(settings: WorkerSettings) -> dict[str, Any]:
    return {
        "bootstrap.servers": settings.bootstrap_servers,
        "client.id": settings.slot_id,
        "error_cb": _log_error,
        "log.connection.close": False,
        # One line a failure is enough: with the broker down librdkafka logs about twenty a second.
        "log_level": 3,
    }


def _log_error(error: KafkaError) -> None:
    log.warning("kafka_client", code=error.name(), reason=error.str())


def admin_client(settings: WorkerSettings) -> AdminClient:
    """An admin client; keep it in a variable, or its futures fail."""
    return AdminClient(_common(settings) | settings.kafka)
