"""Decide what a replay reads and writes, and that under one name it goes on as it was begun, or not at all.

A plan is kept on the broker, as the committed offsets of a group of its own: the offset is where the replay ends, its
metadata says the rest. So whoever runs the same command again, on any machine, goes on with the same replay.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from consumer.limits import committed_of
from consumer.patience import patiently
from consumer.ranges import Span
from consumer.settings import WorkerSettings
from schemas.errors import ConfigurationError, FraudstreamError

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")


@dataclass(frozen=True, slots=True)
class Plan:
    """What the replay ``name`` decides again: ``first`` and ``last`` as they were written, and as spans.

    ``decider`` names what decides, as ``consumer.pinned`` understands it, and ``by`` is its digest.
    """

    name: str
    first: str
    last: str
    decider: str
    by: str
    spans: tuple[Span, ...]

    @property
    def stops(self) -> dict[int, int]:
        """Where each partition ends."""
        return {span.partition: span.stop for span in self.spans}

    @property
    def size(self) -> int:
        """Offsets to go through; not each of them need hold a record."""
        return sum(map(len, self.spans))

    @property
    def by_rollout(self) -> bool:
        """Whether its decisions name a rollout of the store; those by one model name none."""
        return self.decider.startswith("rollout ")

    def done(self, committed: dict[int, int]) -> int:
        """How many of those are behind the offsets that the replay has committed."""
        return sum(committed.get(span.partition, span.start) - span.start for span in self.spans)

    def check(self, first: str, last: str, decider: str, by: str) -> None:
        """Raises FraudstreamError if the same name is to mean something else now."""
        if (self.first, self.last) != (first, last):
            raise FraudstreamError(
                f"replay {self.name} was begun with --from {self.first} --to {self.last}; go on with these, "
                "or give the other range a name of its own"
            )
        if self.by != by:
            raise FraudstreamError(
                f"replay {self.name} was begun with {self.decider}, and {decider} is another model or policy, "
                "or decides under other settings; "
                "give this one a name of its own"
            )


def replay_settings(settings: WorkerSettings, name: str) -> WorkerSettings:
    """The settings of the workers of a replay: a group, and with it transactional ids, and topics of its own.

    Raises ConfigurationError for a name that could not be part of them.
    """
    if not NAME.fullmatch(name):
        raise ConfigurationError(f"--name: {name!r} is not made of small letters, digits and dashes, 64 at most")
    return settings.model_copy(
        update={
            "group": f"{settings.group}.replay.{name}",
            "decisions_topic": f"{settings.decisions_topic}.replay.{name}",
            "dead_letters_topic": f"{settings.dead_letters_topic}.replay.{name}",
            # What was sampled live is not sampled again.
            "sample_rate": 0.0,
            # The live worker of this machine may have its port.
            "metrics_port": 0,
        }
    )


def plan_group(settings: WorkerSettings) -> str:
    """The group whose offsets are the plan; ``settings`` are those of the replay."""
    return f"{settings.group}.plan"


def read_plan(consumer: Consumer, topic: str, partitions: Iterable[int], name: str) -> Plan | None:
    """The plan that was begun under this name; ``consumer`` is one of the plan's group. Raises KafkaException."""
    kept = committed_of(consumer, topic, partitions)
    if not kept:
        return None
    notes: list[dict[str, Any]] = [msgspec.json.decode(each.metadata or "{}") for each in kept]
    spans = (Span(each.partition, note["start"], each.offset) for each, note in zip(kept, notes, strict=True))
    note = notes[0]
    return Plan(name, note["from"], note["to"], note["decider"], note["by"], tuple(spans))


def begin(plan: Plan, topic: str, progress: Consumer, keeper: Consumer) -> None:
    """Commit where each partition begins for the group of ``progress``, then the plan for that of ``keeper``.

    A kill between the two leaves no plan, and the next start makes it anew. Raises KafkaException, and
    FraudstreamError where a replay of this name runs.
    """
    notes = {"from": plan.first, "to": plan.last, "decider": plan.decider, "by": plan.by}
    starts = [TopicPartition(topic, each.partition, each.start) for each in plan.spans]
    stops = [
        TopicPartition(
            topic, each.partition, each.stop, metadata=msgspec.json.encode(notes | {"start": each.start}).decode()
        )
        for each in plan.spans
    ]
    try:
        patiently(lambda: progress.commit(offsets=starts, asynchronous=False))
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_MEMBER_ID:  # only an empty group takes offsets from outside
            raise FraudstreamError(f"replay {plan.name} is being run by somebody else") from None
        raise
    patiently(lambda: keeper.commit(offsets=stops, asynchronous=False))


def committed(consumer: Consumer, topic: str, plan: Plan) -> dict[int, int]:
    """How far each partition of the plan is done; ``consumer`` is one of the replay's group. Raises KafkaException."""
    found = committed_of(consumer, topic, [each.partition for each in plan.spans])
    return {each.partition: each.offset for each in found}
