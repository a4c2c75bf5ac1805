"""Set the stage of one scenario: topics of its own, a loader, a crew of workers and somebody who looks on."""

import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import KafkaException, TopicPartition

from benchmarks.chaos.crew import Crew, Worker
from benchmarks.chaos.loader import Loader
from benchmarks.chaos.onlooker import Onlooker
from consumer.ranges import Span
from consumer.settings import WorkerSettings
from deploy.kafka.broker import Broker
from deploy.toxiproxy.server import Link
from fraudstream.audit import spans_of
from fraudstream.kafka import Connection
from fraudstream.reading import read
from producer.transactions import TransactionSource
from schemas.errors import FraudstreamError

PARTITIONS = 6
BATCH_SIZE = 200
SESSION_SECONDS = 6
PATIENCE_SECONDS = 120.0
TICK_SECONDS = 0.005
LOGS = ("--log-format", "json", "--log-level", "warning")
_HASTY = (
    *("--batch-size", str(BATCH_SIZE), "--poll-seconds", "0.1"),
    *("--consumer-kafka", f"session.timeout.ms={SESSION_SECONDS}000"),
)


class StalledError(FraudstreamError):
    """Catch this around a scenario: what it waited for did not come."""


@dataclass(frozen=True, slots=True)
class Setting:
    """What all scenarios share: the broker, a model, the transactions, and a folder for logs.

    With a ``link`` the workers, and they alone, reach the broker through it. ``worker`` holds what they are told
    beside the topics, ``topic_settings`` are those of all topics.
    """

    broker: Broker
    model: Path
    source: TransactionSource
    home: Path
    link: Link | None = None
    worker: tuple[str, ...] = _HASTY
    topic_settings: Mapping[str, str] = field(default_factory=dict)


class Stage:
    """One scenario while it is played."""

    def __init__(
        self, setting: Setting, name: str, seed: int, sabotage: Sequence[str] = (), options: Sequence[str] = ()
    ) -> None:
        unique = f"{name}-{uuid.uuid4().hex[:6]}"
        self.broker = setting.broker
        self.link = setting.link
        self.brokers_killed = 0
        self.recoveries: list[float] = []
        """Seconds from when something was mended to the first record that was done after it."""
        self.random = random.Random(seed)
        names = {"input": "in", "decisions": "decisions", "dead_letters": "dead", "samples": "samples"}
        topics = {f"{setting}_topic": f"{unique}.{name}" for setting, name in names.items()}
        address = {"bootstrap_servers": setting.broker.bootstrap_servers, "group": unique}
        self.settings = WorkerSettings.model_validate(address | topics)
        self.connection = Connection(self.settings.bootstrap_servers, {})
        for topic in self.topics:
            self.connection.create_topic(topic, PARTITIONS, setting.topic_settings)
        self.connection.create_topic(self.settings.samples_topic, 1, setting.topic_settings)
        home = setting.home / unique
        home.mkdir()
        way = ["--bootstrap-servers", f"127.0.0.1:{self.link.port}"] if self.link else []
        own = [*way, "--model", str(setting.model), *LOGS, *setting.worker, *options]
        self.crew = Crew([*self.options, *own], home, sabotage)
        self.loader = Loader(self.connection.properties, self.settings.input_topic, setting.source)
        self.onlooker = Onlooker(self.connection, self.settings, PARTITIONS)
        self._observer = self.connection.reader(self.settings.group, isolation="read_uncommitted")
        self._done = 0

    @property
    def topics(self) -> tuple[str, str, str]:
        """The source, the decisions and the dead letters."""
        return self.settings.input_topic, self.settings.decisions_topic, self.settings.dead_letters_topic

    @property
    def options(self) -> list[str]:
        """What tells a command of these topics."""
        source, decisions, dead_letters = self.topics
        return [
            *("--bootstrap-servers", self.settings.bootstrap_servers, "--group", self.settings.group),
            *("--input-topic", source, "--decisions-topic", decisions, "--dead-letters-topic", dead_letters),
            *("--samples-topic", self.settings.samples_topic),
        ]

    def open(self) -> None:
        """Begin to look on and to wait for the gate."""
        self.onlooker.start()
        self.loader.start()

    def close(self) -> None:
        """Leave no process behind."""
        self.crew.close()
        self._observer.close()

    def done(self) -> int:
        """Offsets of the source that the group has committed; what was known before while no broker answers."""
        with suppress(KafkaException):
            self._done = sum(self._committed().values())
        return self._done

    def _committed(self) -> dict[int, int]:
        asked = [TopicPartition(self.settings.input_topic, each) for each in range(PARTITIONS)]
        found = self._observer.committed(asked, timeout=5)
        return {each.partition: max(0, each.offset) for each in found}

    def ends(self, topic: str) -> list[Span]:
        """Each partition from its first record to its last, committed or not."""
        return spans_of(self._observer, topic, range(PARTITIONS))

    def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait for it, and start again whoever falls meanwhile. Raises StalledError after two minutes."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not condition():
            if self.loader.failure is not None:
                raise StalledError(f"the loader stopped: {self.loader.failure}")
            if time.monotonic() > deadline:
                raise StalledError(f"{what} did not happen within {PATIENCE_SECONDS:.0f} s")
            self.crew.tend()
            time.sleep(TICK_SECONDS)

    def owners(self) -> list[Worker]:
        """The workers that own partitions."""
        return [worker for worker in self.crew.workers if worker.ready]

    def wait_for_owners(self, count: int = 1) -> None:
        """Wait until so many workers own partitions."""
        self.wait(lambda: len(self.owners()) >= count, f"that {count} workers own partitions")

    def hold(self, seconds: float) -> None:
        """Leave things as they are for so long; whoever falls meanwhile is started again."""
        until = time.monotonic() + seconds
        self.wait(lambda: time.monotonic() > until, "the end of a pause")

    def kill_broker(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        """SIGKILL, and start it again after ``meanwhile``."""
        self.brokers_killed += 1
        self.broker.kill()
        meanwhile()
        self.broker.restart()

    def busy_worker(self) -> Worker:
        """Some worker that has published since it was started, drawn by lot."""
        busy: list[Worker] = []

        def find() -> bool:
            busy[:] = [worker for worker in self.crew.workers if worker.scored]
            return bool(busy)

        self.wait(find, "that some worker publishes")
        return self.random.choice(busy)

    def drain(self) -> None:
        """Publish the rest, wait until every record has an outcome, and let the workers end."""
        self.loader.close()
        self.wait(self.caught_up, "that every record has an outcome")
        self.crew.stop(*(worker.slot for worker in self.crew.workers))

    def caught_up(self) -> bool:
        """Whether every record has an outcome.

        By position: behind what is committed there may be markers, but no record.
        """
        with suppress(KafkaException):
            committed = self._committed()
            rest = [Span(span.partition, committed[span.partition], span.stop) for span in self.ends(self.topics[0])]
            if sum(map(len, rest)) > BATCH_SIZE:
                return False
            with closing(self.connection.reader(self.settings.group)) as consumer:
                return next(read(consumer, self.topics[0], rest, lambda _steps: None), None) is None
        return False


@contextmanager
def on_stage(
    setting: Setting, name: str, seed: int, sabotage: Sequence[str] = (), options: Sequence[str] = ()
) -> Iterator[Stage]:
    """A stage for as long as the block lasts; ``options`` of the workers beside those that all have."""
    stage = Stage(setting, name, seed, sabotage, options)
    try:
        stage.open()
        yield stage
    finally:
        stage.close()
