"""Decide what an error of the Kafka client means for the batch in hand."""

from enum import Enum

from confluent_kafka import KafkaError

_REFUSALS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
    KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
    KafkaError.SASL_AUTHENTICATION_FAILED,
    KafkaError._AUTHENTICATION,  # noqa: SLF001 - librdkafka's local codes have no public name
}
_MEMBER = "group.instance.id"
_FENCED = {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}  # noqa: SLF001


class Fault(Enum):
    """What to do after an error; the batch is never counted as published."""

    RETRY = "call again"
    ABORT = "abort, replace the producer, rewind"
    FATAL = "replace the producer without aborting, rewind"
    FENCED = "another process has this slot: replace the producer, rewind, and count"
    NOT_PERMITTED = "stop: a right is missing"


def refused(error: KafkaError) -> bool:
    """Whether the brokers say that a right is missing, or do not believe who we are."""
    return error.code() in _REFUSALS


def is_fatal(error: KafkaError) -> bool:
    """Whether the client is done for. Of one that a consumer hands out as a message, only the code says so."""
    return error.fatal() or error.code() == KafkaError._FATAL  # noqa: SLF001


def is_fenced_member(error: KafkaError) -> bool:
    """Whether the brokers know a newer process as the static member that we are: this consumer reads no more."""
    return error.code() == KafkaError.FENCED_INSTANCE_ID or (is_fatal(error) and _MEMBER in error.str())


def classify(error: KafkaError) -> Fault:
    """The fault behind an error of a producer call.

    The order matters: after a fatal error ``abort_transaction`` reports ``_CONFLICT`` and calls it retriable, so
    whoever asks ``retriable()`` first never stops (librdkafka's transactional producer manual, "error handling").
    """
    signs = (
        (refused(error), Fault.NOT_PERMITTED),
        (error.code() in _FENCED, Fault.FENCED),
        (error.fatal(), Fault.FATAL),
        (error.txn_requires_abort(), Fault.ABORT),
        (error.retriable(), Fault.RETRY),
    )
    return next((fault for sign, fault in signs if sign), Fault.FATAL)
