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
_SLOT_TAKEN = "group.instance.id"
_FENCED = {KafkaError._FENCED, KafkaError.PRODUCER_FENCED, KafkaError.INVALID_PRODUCER_EPOCH}  # noqa: SLF001


class Fault(Enum):
    """What to do after an error; the batch is never counted as published."""

    RETRY = "call again"
    ABORT = "abort, replace the producer, rewind"
    FATAL = "replace the producer without aborting, rewind"
    FENCED = "another process has this slot: replace the producer, rewind, and count"
    SLOT_TAKEN = "stop: another process is the member of the group that we were"
    NOT_PERMITTED = "stop: a right is missing"


def refused(error: KafkaError) -> bool:
    """Whether the brokers say that a right is missing, or do not believe who we are."""
    return error.code() in _REFUSALS


def is_slot_taken(error: KafkaError) -> bool:
    """Whether another live process is the static member that we are; librdkafka makes it a fatal error of its own."""
    return error.code() == KafkaError.FENCED_INSTANCE_ID or (error.fatal() and _SLOT_TAKEN in error.str())


def classify(error: KafkaError) -> Fault:
    """The fault behind an error of a producer call.

    The order matters: after a fatal error ``abort_transaction`` reports ``_CONFLICT`` and calls it retriable, so
    whoever asks ``retriable()`` first never stops (librdkafka's transactional producer manual, "error handling").
    """
    signs = (
        (refused(error), Fault.NOT_PERMITTED),
        (is_slot_taken(error), Fault.SLOT_TAKEN),
        (error.code() in _FENCED, Fault.FENCED),
        (error.fatal(), Fault.FATAL),
        (error.txn_requires_abort(), Fault.ABORT),
        (error.retriable(), Fault.RETRY),
    )
    return next((fault for sign, fault in signs if sign), Fault.FATAL)
