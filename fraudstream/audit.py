"""Audit a range: read its source, its decisions and its dead letters, and hold them against each other."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from operator import itemgetter

import numpy as np
from confluent_kafka import Consumer, KafkaException, Message
from numpy.typing import NDArray
from xxhash import xxh64_intdigest

from consumer import limits
from consumer.assignments import Assignments, SplitOf
from consumer.audit import Audit, Report
from consumer.dead_letters import source_of
from consumer.headers import headers_of
from consumer.outcomes import outcome_reader
from consumer.ranges import CLOCK_SKEW_MS, Extreme, Moment, Point, Span
from consumer.records import RecordBatch
from consumer.settings import Delivery, WorkerSettings
from consumer.sheet import Decided, pack_place
from fraudstream.kafka import Connection, sentence
from fraudstream.reading import read
from schemas.errors import ConfigurationError, FraudstreamError

Tell = Callable[[str, int, int], None]
"""Told of a topic, how many offsets of it are to be read in all, and how many more have been."""


@dataclass(frozen=True, slots=True)
class Question:
    """From one point of the source to another (without a ``last`` to what the group has committed), and for whom.

    ``replay`` names the replay whose decisions are judged, None for the live ones. ``split_of`` knows the rollouts.
    """

    first: Point
    last: Point | None
    replay: str | None = None
    split_of: SplitOf | None = None


def audit(connection: Connection, settings: WorkerSettings, question: Question, tell: Tell) -> Report:
    """What became of the records of the range; ``settings`` name the topics and the group that decides.

    Raises ConfigurationError, NotPermittedError or FraudstreamError with what the brokers say.
    """
    try:
        with (
            closing(connection.reader(settings.group)) as consumer,
            closing(connection.reader(settings.group, isolation="read_uncommitted")) as beyond,
        ):
            return _audit(connection, consumer, beyond, settings, question, tell)
    except KafkaException as error:
        raise sentence(error.args[0], f"topic {settings.input_topic} cannot be audited") from None


def _audit(
    connection: Connection,
    consumer: Consumer,
    beyond: Consumer,
    settings: WorkerSettings,
    question: Question,
    tell: Tell,
) -> Report:
    """``beyond`` also sees what is not committed, and so where a reader of committed records will get to."""
    partitions = connection.partitions(settings.input_topic)
    spans = _spans(consumer, settings, partitions, question)
    # Where the outputs end is asked after what is committed: what belongs to that lies before their ends.
    outputs = (settings.decisions_topic, settings.dead_letters_topic)
    whole = {topic: spans_of(beyond, topic, connection.partitions(topic)) for topic in outputs}
    found = Audit(spans, partitions, exactly_once=settings.delivery is Delivery.EXACTLY_ONCE)
    reading = _Reading(consumer, settings, question, found, tell)
    earliest = reading.sources(spans)
    since = whole if question.first is Extreme.BEGINNING else _since(consumer, whole, earliest - CLOCK_SKEW_MS)
    reading.outcomes(since)
    if found.has_lost:
        reading.outcomes(_before(whole, since))
    committed = _committed(consumer, settings.input_topic, partitions)
    ends = spans_of(beyond, settings.input_topic, partitions)
    return found.report({span.partition: span.stop for span in ends}, committed)


def _spans(consumer: Consumer, settings: WorkerSettings, partitions: Sequence[int], question: Question) -> list[Span]:
    topic = settings.input_topic
    if question.last is not None:
        return limits.spans(consumer, topic, partitions, question.first, question.last)
    committed = _committed(consumer, topic, partitions)
    if not committed:
        raise ConfigurationError(
            f"group: {settings.group} has committed nothing of topic {topic}; name the group that decides, "
            "or say with --to how far to look"
        )
    spans = limits.spans(consumer, topic, partitions, question.first, Extreme.END)
    stops = {span.partition: max(span.start, min(span.stop, committed.get(span.partition, 0))) for span in spans}
    return [Span(span.partition, span.start, stops[span.partition]) for span in spans]


def _committed(consumer: Consumer, topic: str, partitions: Sequence[int]) -> dict[int, int]:
    return {each.partition: each.offset for each in limits.committed_of(consumer, topic, partitions)}


def spans_of(consumer: Consumer, topic: str, partitions: Sequence[int]) -> list[Span]:
    """Every partition as far as the consumer sees it. Raises KafkaException."""
    return [Span(each, *limits.ends_of(consumer, topic, each)) for each in partitions]


def _since(consumer: Consumer, whole: Mapping[str, list[Span]], time: int) -> dict[str, list[Span]]:
    """The part of the spans of each topic that bears times from ``time`` on (ms since 1970)."""
    since: dict[str, list[Span]] = {}
    for topic, spans in whole.items():
        asked = [span.partition for span in spans]
        starts = {
            each.partition: each.start for each in limits.spans(consumer, topic, asked, Moment(time), Extreme.END)
        }
        since[topic] = [Span(span.partition, starts[span.partition], span.stop) for span in spans]
    return since


def _before(whole: Mapping[str, list[Span]], since: Mapping[str, list[Span]]) -> dict[str, list[Span]]:
    """What lies before the spans of ``since``."""
    return {
        topic: [Span(span.partition, span.start, later.start) for span, later in zip(spans, since[topic], strict=True)]
        for topic, spans in whole.items()
    }


class Intake:
    """Brings what is read from the topics into the form that an audit takes."""

    def __init__(self, settings: WorkerSettings, replay: str | None = None, split_of: SplitOf | None = None) -> None:
        self._read = outcome_reader(settings)
        self._topic = settings.input_topic
        self._asked = (settings.input_topic.encode(), None if replay is None else replay.encode())
        self._assignments = Assignments(split_of)

    def decided(self, batch: RecordBatch) -> tuple[Decided, list[int]]:
        """The decisions of a batch that are asked for, and the numbers of those rows that are no decisions."""
        outcomes = self._read(batch.values)
        ours = [pair == self._asked for pair in zip(outcomes.topic, outcomes.replay, strict=True)]
        rows = np.flatnonzero(outcomes.readable & np.array(ours, np.bool_))
        numbers = rows.tolist()
        decided = Decided(
            partition=outcomes.partition[rows],
            offset=outcomes.offset[rows],
            place=pack_place(batch.partitions[rows].astype(np.int64), batch.offsets[rows]),
            key=_hashes([batch.keys[row] for row in numbers]),
            decided_at=outcomes.decided_at[rows],
            misrouted=self._assignments.wrong(
                [outcomes.unit[row] or b"" for row in numbers],
                outcomes.bucket[rows],
                [outcomes.named[row] for row in numbers],
            ),
            duplicate_of=outcomes.duplicate_of[rows],
        )
        return decided, np.flatnonzero(~outcomes.readable).tolist()

    def buried(self, batch: RecordBatch) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Partitions and offsets, (n,) each, of the source records that a batch of dead letters is about."""
        sources = [source_of(headers_of(message)) for message in batch.messages]
        places = [source[1:] for source in sources if source is not None and source[0] == self._topic]
        partition, offset = np.array(places, np.int64).reshape(-1, 2).T
        return partition, offset


class _Reading:
    """Reads topics and tells an audit what is there."""

    def __init__(
        self, consumer: Consumer, settings: WorkerSettings, question: Question, found: Audit, tell: Tell
    ) -> None:
        self._consumer = consumer
        self._settings = settings
        self._audit = found
        self._tell = tell
        self._intake = Intake(settings, question.replay, question.split_of)

    def sources(self, spans: Sequence[Span]) -> int:
        """Read the records of the spans; the earliest time that one bears (ms since 1970).

        Raises FraudstreamError where there is none: of nothing nothing is proven.
        """
        earliest: int | None = None
        for batch in self._batches(self._settings.input_topic, spans):
            add_sources(self._audit, batch)
            times = map(itemgetter(1), map(Message.timestamp, batch.messages))
            earliest = min(times if earliest is None else (earliest, *times))
        if earliest is None:
            raise FraudstreamError(f"the range of topic {self._settings.input_topic} holds no committed record")
        return earliest

    def outcomes(self, stretches: Mapping[str, list[Span]]) -> None:
        """Read decisions and dead letters."""
        decisions, dead_letters = self._settings.decisions_topic, self._settings.dead_letters_topic
        for batch in self._batches(decisions, stretches[decisions]):
            decided, unreadable = self._intake.decided(batch)
            self._audit.add_decisions(decided)
            for row in unreadable:
                self._audit.add_unreadable(int(batch.partitions[row]), int(batch.offsets[row]))
        for batch in self._batches(dead_letters, stretches[dead_letters]):
            self._audit.add_dead_letters(*self._intake.buried(batch))

    def _batches(self, topic: str, spans: Sequence[Span]) -> Iterator[RecordBatch]:
        total = sum(map(len, spans))
        return read(self._consumer, topic, spans, lambda steps: self._tell(topic, total, steps))


def add_sources(found: Audit, batch: RecordBatch) -> None:
    """Tell an audit of these records of the source."""
    keys = _hashes(batch.keys)
    for partition in np.unique(batch.partitions).tolist():
        rows = batch.partitions == partition
        found.add_sources(partition, batch.offsets[rows], keys[rows])


def _hashes(keys: Sequence[bytes | None]) -> NDArray[np.uint64]:
    """A hash of each key, (n,) uint64; 0 for none."""
    return np.fromiter((0 if key is None else xxh64_intdigest(key) for key in keys), np.uint64, len(keys))
