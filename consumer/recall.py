"""Read back what was decided lately on some partitions, from the decisions themselves: no other store is needed."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing

import numpy as np
import structlog
from confluent_kafka import Consumer, KafkaException

from consumer import committed, limits
from consumer.clients import consumer_properties, make_client
from consumer.duplicates import Recalled
from consumer.faults import refused
from consumer.outcomes import Outcomes, outcome_reader
from consumer.ranges import CLOCK_SKEW_MS, Extreme, Moment, Span
from consumer.settings import WorkerSettings
from consumer.topics import BrokerUnavailableError, Cluster
from schemas.errors import NotPermittedError

log = structlog.get_logger()


class DecisionsTopic:
    """What stands on the topic of the decisions, as a reader of committed records sees it."""

    def __init__(self, settings: WorkerSettings, cluster: Cluster) -> None:
        self._settings = settings
        self._cluster = cluster
        self._topic = settings.decisions_topic
        self._input = settings.input_topic.encode()
        self._read = outcome_reader(settings)

    def recall(self, since: Mapping[int, int]) -> Iterator[Recalled]:
        """The live decisions that count about these partitions of the input, from these times on (ms since 1970).

        Raises BrokerUnavailableError where the brokers cannot tell now, and NotPermittedError.
        """
        count = 0
        try:
            with (
                closing(self._consumer("read_committed")) as consumer,
                closing(self._consumer("read_uncommitted")) as beyond,
            ):
                spans = self._spans(consumer, beyond, since)
                for batch in committed.read(consumer, self._topic, spans, lambda _steps: None):
                    recalled = _recalled(self._read(batch.values), self._input, since)
                    count += len(recalled.ids)
                    yield recalled
        except KafkaException as error:
            if refused(error.args[0]):
                raise NotPermittedError(
                    f"decisions_topic: not permitted to READ topic {self._topic}, which duplicate_window_seconds takes"
                ) from None
            raise BrokerUnavailableError(f"topic {self._topic} cannot be read now: {error.args[0].str()}") from None
        except committed.HeldBackError as error:
            raise BrokerUnavailableError(str(error)) from None
        log.info("decisions_recalled", partitions=sorted(since), count=count)

    def _consumer(self, isolation: str) -> Consumer:
        """One that belongs to no group and is told where partitions end."""
        member = {"group.instance.id", "partition.assignment.strategy", "statistics.interval.ms"}
        given = {name: value for name, value in consumer_properties(self._settings).items() if name not in member}
        return make_client(Consumer, given | {"isolation.level": isolation, "enable.partition.eof": True})

    def _spans(self, consumer: Consumer, beyond: Consumer, since: Mapping[int, int]) -> Sequence[Span]:
        """What may hold those decisions, up to where the topic ends by now: open transactions are waited for.

        The offsets of a transaction may be committed a moment before its decisions can be read.
        """
        partitions = self._cluster.partitions("input_topic", "decisions_topic")
        of_decisions = partitions["decisions_topic"]
        # Where the counts agree, the worker keeps a decision in the partition of its transaction.
        asked = sorted(since) if of_decisions == partitions["input_topic"] else range(of_decisions)
        ends = {each: limits.ends_of(beyond, self._topic, each)[1] for each in asked}
        moment = Moment(min(since.values()) - CLOCK_SKEW_MS)
        starts = limits.spans(consumer, self._topic, asked, moment, Extreme.END)
        return [Span(span.partition, span.start, max(span.start, ends[span.partition])) for span in starts]


def _recalled(outcomes: Outcomes, topic: bytes, since: Mapping[int, int]) -> Recalled:
    ours = [each == topic for each in outcomes.topic]
    live = [each is None for each in outcomes.replay]
    counting = outcomes.readable & (outcomes.duplicate_of < 0) & ours & live & np.isin(outcomes.partition, list(since))
    rows = np.flatnonzero(counting)
    ids = [outcomes.transaction_id[row] or b"" for row in rows.tolist()]
    return Recalled(ids, outcomes.partition[rows], outcomes.offset[rows], outcomes.decided_at[rows])
