"""Decide which refusals of a broker are worth asking again: those by which it only says that it does not know yet."""

import time
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException

PATIENCE_SECONDS = 60.0
"""Above ``transaction.timeout.ms`` and the sweep after it, which end what a dead worker left open."""
PAUSE_SECONDS = 0.1

PASSING = {
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
    KafkaError.LEADER_NOT_AVAILABLE,
    KafkaError.NOT_LEADER_FOR_PARTITION,
    KafkaError.UNKNOWN_TOPIC_OR_PART,  # of a topic that was just created
    KafkaError.UNSTABLE_OFFSET_COMMIT,
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001 - librdkafka's local codes have no public name
}

Answer = TypeVar("Answer")


def patiently(ask: Callable[[], Answer], seconds: float = PATIENCE_SECONDS) -> Answer:
    """The answer, asked for again while the brokers only move; raises KafkaException for all else, and at last."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return ask()
        except KafkaException as error:
            if error.args[0].code() not in PASSING or time.monotonic() > deadline:
                raise
        time.sleep(PAUSE_SECONDS)
