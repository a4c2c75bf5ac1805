"""Publish records so that each is delivered or reported, at a rate that does not wait for anybody."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from confluent_kafka import KafkaError, KafkaException, Producer
from numpy.typing import NDArray

from schemas.errors import ConfigurationError, FraudstreamError, NotPermittedError

BURST = 5_000
"""Most records handed over at once: more would only make the progress and Ctrl-C jerky."""
TICK_SECONDS = 0.001

_DEFAULTS: dict[str, Any] = {
    "linger.ms": 5,
    "batch.size": 1_000_000,
    "queue.buffering.max.messages": 100_000,
    "queue.buffering.max.kbytes": 1_048_576,
    "message.timeout.ms": 60_000,
    # Java's default, so that a card lands in the partition where a Java client would put it.
    "partitioner": "murmur2_random",
}


class Publisher:
    """Writes to one topic with an idempotent producer, and counts what the brokers have acknowledged."""

    def __init__(self, properties: Mapping[str, Any], topic: str) -> None:
        """Raises ConfigurationError naming a property that librdkafka does not take."""
        settings = _DEFAULTS | dict(properties)
        self.topic = topic
        self.sent = 0
        self._failures: list[KafkaError] = []
        ours = {"acks": "all", "enable.idempotence": True, "delivery.report.only.error": True}
        try:
            self._producer = Producer(settings | ours)
        except KafkaException as error:
            raise ConfigurationError(f"kafka: {error.args[0].str().strip()}") from None
        self._room = int(settings["queue.buffering.max.messages"])

    @property
    def delivered(self) -> int:
        """Records that the brokers have acknowledged."""
        return self.sent - len(self._producer) - len(self._failures)

    def get_ready(self, seconds: float) -> None:
        """Know the topic's partitions before the first record, which would wait up to a second for them.

        Raises as :meth:`send` does, also if no broker has answered within so many ``seconds``.
        """
        try:
            self._producer.list_topics(self.topic, seconds)
        except KafkaException as error:
            raise self._error(error.args[0]) from None

    def send(self, keys: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Hand over records, at most :data:`BURST`, waiting for room in the producer's queue.

        The records carry no time of their own: with event times of years ago the broker would delete them at once
        (``retention.ms`` goes by the record's time).

        Raises ConfigurationError, NotPermittedError or FraudstreamError with the brokers' reason as soon as one
        record is known to be lost.
        """
        # Waiting before instead of retrying what was refused: a refused batch is refused in parts, out of order.
        while len(self._producer) > max(0, self._room - len(keys)):
            self._producer.poll(0.01)
            self._raise_failure()
        messages: list[dict[str, Any]] = [{"key": key, "value": value} for key, value in zip(keys, values, strict=True)]
        accepted = self._producer.produce_batch(self.topic, messages, on_delivery=self._on_delivery)
        self.sent += accepted
        if accepted < len(messages):
            refused = next(message["_error"] for message in messages if "_error" in message)
            raise self._error(refused)
        self._producer.poll(0)
        self._raise_failure()

    def flush(self, seconds: float) -> None:
        """Wait until everything is delivered, at most so long. Raises as :meth:`send` does."""
        self._producer.flush(seconds)
        self._raise_failure()

    def _on_delivery(self, error: KafkaError | None, _message: object) -> None:
        if error is not None:
            self._failures.append(error)

    def _raise_failure(self) -> None:
        if self._failures:
            raise self._error(self._failures[0])

    def _error(self, error: KafkaError) -> FraudstreamError:
        what = f"{self.delivered:,} records were delivered to {self.topic}, then one was not: {error.str()}"
        if error.code() in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED):
            return NotPermittedError(what)
        if error.code() in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC):  # noqa: SLF001 - its only name
            return ConfigurationError(what)
        return FraudstreamError(what)


@dataclass(frozen=True, slots=True)
class Pace:
    """When each record is to be sent: an open loop, where record n is due at ``start + n / rate`` whatever happened.

    A publisher that falls behind catches up, and never moves the times that latencies are counted from. ``start`` is
    in seconds since 1970; without a rate (records a second) every record is due at once.
    """

    start: float
    rate: float | None = None

    def due_by(self, now: float) -> float:
        """How many records should have been sent by ``now`` (s since 1970)."""
        return np.inf if self.rate is None else (now - self.start) * self.rate + 1

    def due_at(self, first: int, count: int, now: float) -> NDArray[np.float64]:
        """When each record from number ``first`` is due: (count,) float64 in s since 1970; ``now`` without a rate."""
        if self.rate is None:
            return np.full(count, now)
        return self.start + np.arange(first, first + count) / self.rate


def send_at_pace(
    pace: Pace,
    total: int | None,
    send: Callable[[int, NDArray[np.float64]], None],
    stopped: Callable[[], bool],
    tick_seconds: float = TICK_SECONDS,
) -> int:
    """Call ``send(first, due)`` with stretches of the stream when they are due; return how many records were sent.

    ``due`` (n,) float64, at most :data:`BURST` long, holds the intended send times in s since 1970; what is due within
    a tick is sent together. Ends after
    ``total`` records, which may be None for endless, or as soon as ``stopped()``.
    """
    sent = 0
    while not stopped() and (total is None or sent < total):
        now = time.time()
        count = int(min(pace.due_by(now) - sent, BURST, np.inf if total is None else total - sent))
        if count > 0:
            send(sent, pace.due_at(sent, count, now))
            sent += count
        else:
            next_due = pace.due_at(sent, 1, now)[0]
            # Not longer than a moment, so that a stop is noticed; not shorter than a tick, so that a core can rest.
            time.sleep(min(0.1, max(tick_seconds, next_due - now)))
    return sent
