"""Ask the brokers what we may do, before anything is done: when they refuse, they seldom say what it would take."""

from collections.abc import Callable, Sequence
from typing import Any

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from consumer.faults import refused
from consumer.patience import patiently
from consumer.settings import WorkerSettings

Operations = frozenset[str] | None
"""The names of what is allowed, such as READ; None where the brokers do not tell."""


def needed(settings: WorkerSettings) -> dict[str, tuple[str, ...]]:
    """What a worker must be allowed to do with each topic, by the setting that names it."""
    recall = ("READ",) if settings.duplicate_window_seconds else ()
    samples = {"samples_topic": ("WRITE",)} if settings.sample_rate else {}
    outputs = {"decisions_topic": ("WRITE", *recall), "dead_letters_topic": ("WRITE",), **samples}
    return {"input_topic": ("READ",), **outputs}


def on_topics(admin: AdminClient, topics: Sequence[str], seconds: float) -> dict[str, Operations]:
    """What we may do with each topic (KIP-430): nothing with one that is hidden from us."""
    answers = admin.describe_topics(
        TopicCollection(list(topics)), include_authorized_operations=True, request_timeout=seconds
    )
    return {topic: _operations(answers[topic].result) for topic in topics}


def on_group(admin: AdminClient, group: str, seconds: float) -> Operations:
    """What we may do with a consumer group, whether it exists or not."""

    def ask() -> Any:
        answers = admin.describe_consumer_groups([group], include_authorized_operations=True, request_timeout=seconds)
        return answers[group].result()

    return _operations(lambda: patiently(ask, seconds))  # on brokers that have just started no group has a coordinator


def _operations(ask: Callable[[], Any]) -> Operations:
    try:
        operations = ask().authorized_operations
    except KafkaException as error:
        return frozenset() if refused(error.args[0]) else None
    return None if operations is None else frozenset(operation.name for operation in operations)
