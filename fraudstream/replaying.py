"""Begin a replay, or find it as it was begun, and say how far it is."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from confluent_kafka import Consumer, KafkaException

from consumer.limits import ends_of, spans
from consumer.ranges import Point
from consumer.replay import Plan, begin, committed, plan_group, read_plan, replay_settings
from consumer.settings import WorkerSettings
from fraudstream.kafka import Connection, sentence
from schemas.errors import FraudstreamError


class Replaying:
    """The replay ``name`` of the live ``settings``."""

    def __init__(self, connection: Connection, settings: WorkerSettings, name: str) -> None:
        """Raises ConfigurationError for a name that does not do."""
        self._connection = connection
        self._topic = settings.input_topic
        self._name = name
        self.settings = replay_settings(settings, name)

    def found(self) -> Plan | None:
        """The plan that was begun under this name, if any. Raises as ``Connection.partitions``."""
        partitions = self._connection.partitions(self._topic)
        for group in (self.settings.group, plan_group(self.settings)):
            self._connection.check_group(group)
        with self._consumer(plan_group(self.settings)) as keeper:
            return read_plan(keeper, self._topic, partitions, self._name)

    def begun(self, first: str, last: str, points: tuple[Point, Point], decider: str, by: str) -> Plan:
        """A new plan, with empty topics for what comes of it, as the brokers hold it from now on.

        Raises FraudstreamError where the range is empty or the topics are not, and as ``Connection.partitions``.
        """
        partitions = self._connection.partitions(self._topic)
        with self._consumer(self.settings.group) as progress, self._consumer(plan_group(self.settings)) as keeper:
            found = tuple(spans(progress, self._topic, partitions, *points))
            plan = Plan(self._name, first, last, decider, by, found)
            if plan.size == 0:
                raise FraudstreamError(f"topic {self._topic} holds nothing from {first} to {last}")
            for topic in (self.settings.decisions_topic, self.settings.dead_letters_topic):
                self._connection.create_topic(topic, len(partitions))
                self._check_empty(progress, topic)
            begin(plan, self._topic, progress, keeper)
        return plan

    def _check_empty(self, consumer: Consumer, topic: str) -> None:
        """Decisions without a plan: it has expired with the offsets of its group, and beginning again would double."""
        for partition in self._connection.partitions(topic):
            if ends_of(consumer, topic, partition)[1] > 0:
                raise FraudstreamError(
                    f"topic {topic} holds records, but of a replay {self._name} nothing is known any more; "
                    "delete the topic or choose another name"
                )

    @contextmanager
    def watched(self, plan: Plan) -> Iterator[Callable[[], int]]:
        """A function that says how many offsets of the plan are done."""
        with self._consumer(self.settings.group, "read_uncommitted") as consumer:
            yield lambda: plan.done(committed(consumer, self._topic, plan))

    @contextmanager
    def _consumer(self, group: str, isolation: str = "read_committed") -> Iterator[Consumer]:
        """Reads and commits offsets of ``group`` from outside; it joins nothing."""
        with closing(self._connection.reader(group, isolation=isolation)) as consumer:
            try:
                yield consumer
            except KafkaException as error:
                raise sentence(error.args[0], f"replay {self._name}, group {group}") from None
