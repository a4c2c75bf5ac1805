"""Find the decisions of a replay and the live ones about the same records, and compare them."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing

import numpy as np
from confluent_kafka import Consumer, KafkaException

from consumer import limits
from consumer.difference import Difference, Differences, Scores
from consumer.ranges import CLOCK_SKEW_MS, Extreme, Moment, Point, Span
from consumer.replay import Plan
from consumer.scores import score_reader
from consumer.settings import WorkerSettings
from fraudstream.kafka import Connection, sentence
from fraudstream.reading import read
from schemas.errors import FraudstreamError

Tell = Callable[[str, int, int], None]
"""Told of a topic, how many offsets of it are to be read in all, and how many more have been."""


class ReplayDiff:
    """Compares the replay of ``plan``, which has the topics of ``replayed``, with what ``live`` decided."""

    def __init__(
        self, connection: Connection, live: WorkerSettings, replayed: WorkerSettings, plan: Plan, largest: int
    ) -> None:
        self._connection = connection
        self._live = live
        self._replayed = replayed
        self._plan = plan
        self._found = Differences(plan.spans, largest)

    def run(self, tell: Tell) -> Difference:
        """Read both topics: the live one from the time of the first record on, and all of it if some are not there.

        Raises ConfigurationError, NotPermittedError or FraudstreamError with what the brokers say.
        """
        with closing(self._connection.reader(self._replayed.group)) as consumer:
            try:
                return self._run(consumer, tell)
            except KafkaException as error:
                raise sentence(error.args[0], f"replay {self._plan.name} cannot be compared") from None

    def _run(self, consumer: Consumer, tell: Tell) -> Difference:
        since = self._spans(consumer, self._live.decisions_topic, Moment(self._earliest(consumer) - CLOCK_SKEW_MS))
        self._read_live(consumer, since, tell)
        self._read_replayed(consumer, tell)
        if self._found.undecided_live:
            starts = {span.partition: span.start for span in since}
            whole = self._spans(consumer, self._live.decisions_topic, Extreme.BEGINNING)
            before = [Span(each.partition, each.start, starts[each.partition]) for each in whole]
            if any(map(len, before)):
                self._read_live(consumer, before, tell)
                self._read_replayed(consumer, tell)
        return self._found.result()

    def _spans(self, consumer: Consumer, topic: str, first: Point) -> list[Span]:
        return limits.spans(consumer, topic, self._connection.partitions(topic), first, Extreme.END)

    def _earliest(self, consumer: Consumer) -> int:
        """The earliest time that the first record of a span bears, in ms since 1970."""
        times = [self._time_of_first(consumer, span) for span in self._plan.spans]
        earliest = min((time for time in times if time is not None), default=None)
        if earliest is None:
            raise FraudstreamError(
                f"topic {self._live.input_topic} holds no record of replay {self._plan.name} any more"
            )
        return earliest

    def _time_of_first(self, consumer: Consumer, span: Span) -> int | None:
        for batch in read(consumer, self._live.input_topic, [span], lambda _steps: None):
            time: int = batch.messages[0].timestamp()[1]
            return time
        return None

    def _read_live(self, consumer: Consumer, spans: Sequence[Span], tell: Tell) -> None:
        scores = score_reader(self._live, None)
        topic = self._live.decisions_topic
        behind = _Behind(self._plan.stops, in_order=self._keeps_partitions(topic))
        for batch in read(consumer, topic, spans, _told(tell, topic, spans)):
            decisions = scores(batch.values)
            self._found.add_live(decisions)
            if behind.all_of(decisions):
                return

    def _read_replayed(self, consumer: Consumer, tell: Tell) -> None:
        scores = score_reader(self._replayed, self._plan.name)
        topic = self._replayed.decisions_topic
        spans = self._spans(consumer, topic, Extreme.BEGINNING)
        for batch in read(consumer, topic, spans, _told(tell, topic, spans)):
            self._found.add_replayed(scores(batch.values))

    def _keeps_partitions(self, topic: str) -> bool:
        """Whether a decision stands in the partition of its record: then they are in the order of the records."""
        return self._connection.partitions(topic) == self._connection.partitions(self._live.input_topic)


class _Behind:
    """Sees when decisions about later records have come on every partition: of the range nothing is missing then."""

    def __init__(self, stops: Mapping[int, int], *, in_order: bool) -> None:
        self._open = dict(stops)
        self._in_order = in_order

    def all_of(self, decisions: Scores) -> bool:
        for partition in np.unique(decisions.partition).tolist():
            last = int(decisions.offset[decisions.partition == partition].max())
            if last >= self._open.get(partition, last + 1):
                del self._open[partition]
        return self._in_order and not self._open


def _told(tell: Tell, topic: str, spans: Sequence[Span]) -> Callable[[int], None]:
    total = sum(map(len, spans))
    return lambda steps: tell(topic, total, steps)
