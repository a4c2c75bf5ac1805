"""Publish what was decided together with the offsets it was decided from, or publish nothing."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition

from consumer.faults import Fault, classify
from consumer.fences import Fences
from schemas.errors import ConfigurationError, FraudstreamError, NotPermittedError

log = structlog.get_logger()

COMMIT_SECONDS = 30.0
"""Not below ``transaction.timeout.ms``: past it the broker has aborted the transaction anyway."""


class PublishError(FraudstreamError):
    """Catch this to rewind to the committed offsets: the batch is not published, or it is not known to be."""


class TooLargeError(PublishError):
    """Catch this to make smaller records, too: the client or the brokers do not take one of this size."""


@dataclass(frozen=True, slots=True)
class Messages:
    """Records for one partition, each ``{"value": bytes, "key": bytes | None}``; partition -1 lets the key decide."""

    topic: str
    partition: int
    messages: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Letter:
    """One record with headers."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, str | bytes | None]]


@dataclass(frozen=True, slots=True)
class Outbox:
    """All that one batch of input leads to; it is published whole or not at all."""

    messages: list[Messages] = field(default_factory=list)
    letters: list[Letter] = field(default_factory=list)
    on_published: Callable[[], None] = lambda: None
    """Called once, after the commit."""
    on_too_large: Callable[[Sequence[Letter]], None] = lambda _letters: None
    """Called with all letters when a record is larger than what is taken, before the batch is read again."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """How long each stage took that led to it."""
    offsets: list[TopicPartition] | None = None
    """Where the input is to be read from again; None for what comes after the batch."""


@dataclass(frozen=True, slots=True)
class Place:
    """How far the input was read for an outbox, and as which member of the group (its generation) by whom."""

    offsets: list[TopicPartition]
    consumer: Consumer
    group: object


class Delivery(Protocol):
    """How an outbox and the offsets behind it reach the broker."""

    replacements: int
    fences: Fences

    def open(self) -> None:
        """Get ready to publish, before the consumer subscribes."""

    def publish(self, outbox: Outbox, place: Place) -> float:
        """Publish and commit, or raise PublishError; the seconds that the commit took.

        NotPermittedError and ConfigurationError end the worker.
        """

    def close(self) -> None:
        """Let go of the producers."""


class ExactlyOnce:
    """Kafka transactions (KIP-98, KIP-447) over two producers used in turn.

    The markers of a committed transaction reach the log after the commit has returned, and the next transaction
    of the same producer waits for them: 20 to 100 ms. The other producer has no such wait.
    """

    def __init__(self, make_producer: Callable[[Mapping[str, Any]], Producer], slot_id: str) -> None:
        self._make = make_producer
        self._slot_id = slot_id
        self._ids = (f"{slot_id}.a", f"{slot_id}.b")
        self._producers: list[Producer] = []
        self._turn = 0
        self.replacements = 0
        self.fences = Fences(slot_id)

    def open(self) -> None:
        """Initialise both producers: this fences whoever had the slot and aborts what it left open."""
        self._producers = [self._initialised(name) for name in self._ids]

    def publish(self, outbox: Outbox, place: Place) -> float:
        """One transaction. Raises PublishError after replacing the producer."""
        turn = self._turn
        self._turn = 1 - turn
        producer = self._producers[turn]
        try:
            producer.begin_transaction()
            produce(producer, outbox)
            produced = time.perf_counter()
            producer.send_offsets_to_transaction(place.offsets, place.group, COMMIT_SECONDS)
            producer.commit_transaction(COMMIT_SECONDS)
        except (KafkaException, PublishError, BufferError) as error:
            self._replace(turn, error)
            raise _failure(f"the transaction failed: {error}", error) from error
        return time.perf_counter() - produced

    def _replace(self, turn: int, error: Exception) -> None:
        fault = fault_of(error)
        log.warning("producer_replaced", slot=self._slot_id, fault=fault.name, error=str(error))
        self.replacements += 1
        if fault not in {Fault.FATAL, Fault.FENCED}:  # what is left open holds up every reader until it expires
            with suppress(KafkaException):  # the next initialisation aborts what this could not
                self._producers[turn].abort_transaction(COMMIT_SECONDS)
        if fault is Fault.NOT_PERMITTED:
            raise _not_permitted(error, self._ids[turn]) from error
        if fault is Fault.FENCED:
            self.fences.count("producer")
        with suppress(KafkaException):  # nothing is lost with it: it is thrown away
            self._producers[turn].purge(in_flight=True)
        self._producers[turn] = self._initialised(self._ids[turn])

    def _initialised(self, transactional_id: str) -> Producer:
        producer = self._make({"transactional.id": transactional_id})
        deadline = time.monotonic() + COMMIT_SECONDS
        while True:
            try:
                producer.init_transactions(COMMIT_SECONDS)
            except KafkaException as error:
                fault = classify(error.args[0])
                if fault is Fault.NOT_PERMITTED:
                    raise _not_permitted(error, transactional_id) from error
                if error.args[0].code() == KafkaError.INVALID_TRANSACTION_TIMEOUT:
                    raise ConfigurationError(
                        "producer_kafka: transaction.timeout.ms is more than the brokers' transaction.max.timeout.ms"
                    ) from error
                if fault is not Fault.RETRY or time.monotonic() > deadline:
                    raise PublishError(f"cannot initialise transactions of {transactional_id}: {error}") from error
            else:
                return producer

    def close(self) -> None:
        """Drop both producers; nothing is in flight between two batches."""
        self._producers.clear()


class AtLeastOnce:
    """An idempotent producer, then the offsets: a crash between the two repeats a batch."""

    def __init__(self, make_producer: Callable[[Mapping[str, Any]], Producer], slot_id: str) -> None:
        self._make = make_producer
        self._failed: list[KafkaError] = []
        self._producer: Producer | None = None
        self.replacements = 0
        self.fences = Fences(slot_id)

    def open(self) -> None:
        """Make the producer; it connects by itself."""
        self._producer = self._make({"enable.idempotence": True, "on_delivery": self._note_failure})

    def _note_failure(self, error: KafkaError | None, _message: object) -> None:
        # Only append: an exception raised in a callback surfaces from a call that had succeeded.
        if error is not None:
            self._failed.append(error)

    def publish(self, outbox: Outbox, place: Place) -> float:
        """Produce, wait until every record is acknowledged, commit the offsets. Raises PublishError."""
        assert self._producer is not None
        self._failed.clear()
        try:
            produce(self._producer, outbox)
            produced = time.perf_counter()
            self._await_acknowledgements(self._producer)
            place.consumer.commit(offsets=place.offsets, asynchronous=False)
        except (KafkaException, PublishError, BufferError) as error:
            log.warning("producer_replaced", error=str(error))
            if fault_of(error) is Fault.NOT_PERMITTED:
                raise _not_permitted(error, "") from error
            self.replacements += 1
            with suppress(KafkaException):  # nothing is lost with it: it is thrown away
                self._producer.purge(in_flight=True)
                self._producer.poll(0)
            self.open()
            raise _failure(f"the batch was not published: {error}", error) from error
        return time.perf_counter() - produced

    def _await_acknowledgements(self, producer: Producer) -> None:
        unacknowledged = producer.flush(COMMIT_SECONDS)
        if self._failed:
            raise KafkaException(self._failed[0])
        if unacknowledged:
            raise PublishError(f"{unacknowledged} records were not acknowledged in {COMMIT_SECONDS:.0f} s")

    def close(self) -> None:
        """Drop the producer; every record was acknowledged before the last commit."""
        self._producer = None


def _not_permitted(error: Exception, transactional_id: str) -> NotPermittedError:
    refusal: KafkaError = error.args[0]
    right = {
        KafkaError.TOPIC_AUTHORIZATION_FAILED: "WRITE on the topics of decisions and dead letters, READ on the input",
        KafkaError.GROUP_AUTHORIZATION_FAILED: "READ on the group",
        KafkaError.CLUSTER_AUTHORIZATION_FAILED: "IDEMPOTENT_WRITE on the cluster",
        KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: f"WRITE on the transactional id {transactional_id}",
    }.get(refusal.code(), "to be let in: the brokers do not believe who we are")
    return NotPermittedError(f"not permitted to publish, which takes {right} ({refusal.name()}: {refusal.str()})")


def _failure(sentence: str, error: Exception) -> PublishError:
    too_large = isinstance(error, TooLargeError) or (
        isinstance(error, KafkaException) and error.args[0].code() == KafkaError.MSG_SIZE_TOO_LARGE
    )
    return TooLargeError(sentence) if too_large else PublishError(sentence)


def fault_of(error: Exception) -> Fault:
    """The fault behind any exception of a publishing call."""
    if isinstance(error, KafkaException) and isinstance(error.args[0], KafkaError):
        return classify(error.args[0])
    return Fault.ABORT


def produce(producer: Producer, outbox: Outbox) -> None:
    """Hand every record to the client. Raises PublishError, KafkaException or BufferError if it refuses one."""
    for batch in outbox.messages:
        _produce_all(producer, batch)
    for letter in outbox.letters:
        producer.produce(letter.topic, letter.value, letter.key, partition=letter.partition, headers=letter.headers)


def _produce_all(producer: Producer, batch: Messages) -> None:
    # `produce_batch` takes what fits, marks what it refused with `_error`, and raises nothing.
    accepted = producer.produce_batch(batch.topic, batch.messages, partition=batch.partition)
    if accepted == len(batch.messages):
        return
    errors = [message["_error"] for message in batch.messages if "_error" in message]
    too_large = any(error.code() == KafkaError.MSG_SIZE_TOO_LARGE for error in errors)
    raise (TooLargeError if too_large else PublishError)(
        f"the client refused {len(batch.messages) - accepted} of {len(batch.messages)} records for {batch.topic}: "
        f"{errors[0] if errors else 'no reason given'}"
    )
