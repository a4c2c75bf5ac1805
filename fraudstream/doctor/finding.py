"""Decide from what was seen of a cluster what is good, what is doubtful and what is wrong, and what to do about it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

CLOCK_DOUBT_MS = 1_000
CLOCK_WRONG_MS = 60_000


class Verdict(StrEnum):
    """How a finding is to be taken; with one that is wrong a worker does not run, or not as it should."""

    GOOD = "good"
    DOUBTFUL = "doubtful"
    WRONG = "wrong"
    SKIPPED = "not looked at"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check came to, and what to do where it is not good."""

    check: str
    verdict: Verdict
    told: str
    advice: str = ""


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as the brokers describe it: the partitions, how many of them have no leader or too few replicas.

    ``replicas`` is the smallest number of copies; ``operations`` are what we may do, None if nobody told.
    """

    name: str
    partitions: int
    leaderless: int
    lagging: int
    replicas: int
    operations: frozenset[str] | None


def topic_findings(setting: str, topic: Topic, operations: Iterable[str]) -> Iterator[Finding]:
    """What is to be said of a topic with which a worker must be allowed ``operations``."""
    told = f"{topic.name}: {topic.partitions} partitions, {topic.replicas} replicas"
    if topic.leaderless:
        advice = "start the brokers that hold them; nothing is read or written there until then"
        yield Finding(setting, Verdict.WRONG, f"{told}; {topic.leaderless} partitions have no leader", advice)
    elif topic.lagging:
        advice = "see why a broker is down or slow: with fewer in sync than min.insync.replicas nothing is written"
        yield Finding(setting, Verdict.DOUBTFUL, f"{told}; {topic.lagging} partitions lack replicas in sync", advice)
    elif topic.replicas < 2:
        advice = "for anything but trying things out, create it with --replication-factor 3"
        yield Finding(setting, Verdict.DOUBTFUL, f"{told}: with the disk of one broker it is lost", advice)
    else:
        yield Finding(setting, Verdict.GOOD, told)
    for operation in operations:
        yield right("topic", topic.name, operation, topic.operations)


def right(kind: str, name: str, operation: str, operations: frozenset[str] | None) -> Finding:
    """Whether we may do ``operation`` to the topic or group of this name."""
    check, told = f"right to {operation} {kind}", f"{operation} on {kind} {name}"
    if operations is None:
        return Finding(check, Verdict.SKIPPED, f"{told}: the brokers do not tell what we may do")
    if operation in operations:
        return Finding(check, Verdict.GOOD, told)
    advice = f"kafka-acls.sh --add --allow-principal User:… --operation {operation.capitalize()} --{kind} {name}"
    return Finding(check, Verdict.WRONG, f"we may not {told}", advice)


def co_partitioning(topics: Mapping[str, Topic]) -> Finding:
    """Whether a decision can stand in the partition of its transaction; ``topics`` by setting."""
    source, decisions = topics["input_topic"], topics["decisions_topic"]
    if source.partitions == decisions.partitions:
        told = f"{source.name} and {decisions.name} have {source.partitions} partitions each"
        return Finding("co-partitioning", Verdict.GOOD, told)
    return Finding(
        "co-partitioning",
        Verdict.DOUBTFUL,
        f"{source.name} has {source.partitions} partitions and {decisions.name} {decisions.partitions}: "
        "decisions are placed by their key",
        f"readers that join both topics need the same number: kafka-topics.sh --alter --topic "
        f"{min((source, decisions), key=lambda topic: topic.partitions).name} "
        f"--partitions {max(source.partitions, decisions.partitions)}, while no worker runs",
    )


def clock(difference_ms: float, uncertainty_ms: float) -> Finding:
    """What it means that the clock of the brokers is ahead of ours by so much, give or take ``uncertainty_ms``."""
    told = f"the brokers' clock is {_ahead(difference_ms)} ours (± {uncertainty_ms / 1000:.2f} s)"
    certain = max(0.0, abs(difference_ms) - uncertainty_ms)
    if certain <= CLOCK_DOUBT_MS:
        return Finding("clock", Verdict.GOOD, told)
    advice = "synchronise both (chrony, systemd-timesyncd): latencies are measured and event times judged by our clock"
    return Finding("clock", Verdict.WRONG if certain > CLOCK_WRONG_MS else Verdict.DOUBTFUL, told, advice)


def _ahead(difference_ms: float) -> str:
    return f"{abs(difference_ms) / 1000:.2f} s {'ahead of' if difference_ms > 0 else 'behind'}"
