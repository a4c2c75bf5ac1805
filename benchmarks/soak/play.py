"""Run two workers and a drift monitor for hours at a steady rate, break something now and then, and audit all of it."""

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.chaos.crew import Worker
from benchmarks.chaos.judge import audited
from benchmarks.chaos.loader import Steady
from benchmarks.chaos.scenarios import visit
from benchmarks.chaos.stage import LOGS, PARTITIONS, Setting, Stage
from benchmarks.soak.census import Census
from benchmarks.soak.judge import Life, Verdict, judge
from deploy.jvm import Server
from producer.transactions import SEPTEMBER_2013
from schemas.errors import FraudstreamError

SURVIVOR, VICTIM = 0, 1
"""Slots. The survivor lives through every fault, so that its memory has hours to grow."""
MONITOR = "drift monitor"
NAMES = {SURVIVOR: "worker, slot 0", VICTIM: "worker, slot 1"}
JUDGED_FROM_SECONDS = 1800.0
"""A shorter run audits what it did and judges no slope."""
STEP_SECONDS = 5.0
LEAST_BETWEEN_FAULTS = 15.0
LONGEST_WARM_SECONDS = 900.0
ASLEEP_SECONDS = 15.0
"""Longer than a session of these workers (10 s)."""
CAPACITY_SECONDS = 20.0
EVENT_SPEED = 480
"""Seconds that pass between events for one that passes: a day, the longest window of the monitor, in three minutes.

So its windows have long been full when it is looked at, and it tells of a pane more than once a second.
"""
AUDITED_AT_ONCE = 1_000_000
"""Records of a stretch: they must have been audited before the topics' retention takes them."""
OVERLAP = 10_000
"""Offsets of each partition that the next stretch judges again: more than the batches in hand when the last one ended.

What a rewind decides twice, and whose order it breaks, lies within them.
"""
TOPIC_SETTINGS = {"retention.bytes": "300000000", "segment.bytes": "30000000"}
"""By partition: six of the input, six of the decisions and the rest never hold more than 5 GB."""
BROKER = {"log.retention.check.interval.ms": "5000", "log.segment.delete.delay.ms": "1000"}

Tell = Callable[[str, float], None]
"""Told what happens, and which share of the run is over."""


@dataclass(frozen=True, slots=True)
class Soaked:
    """What came of a run: ``faults`` and the exit codes of workers that ``ended`` by themselves are counted.

    ``rate`` is in records a second, as asked for; ``capacity``, likewise, is what was sent, decided and audited before.
    ``problems`` say why it is not clean beside what the ``verdicts`` complain of.
    """

    seconds: float
    warm_seconds: float
    rate: float
    capacity: float
    records: int
    faults: dict[str, int]
    ended: dict[int, int]
    audits: int
    anomalies: dict[str, int]
    verdicts: tuple[Verdict, ...]
    problems: tuple[str, ...]

    @property
    def clean(self) -> bool:
        """Whether every record has one outcome and nothing grew."""
        return not (self.anomalies or self.problems or any(each.complaints for each in self.verdicts))


class Auditor:
    """Audits the topics stretch after stretch, each from shortly before the end of the last."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._reached = dict.fromkeys(range(PARTITIONS), 0)
        self.stretches = 0
        self.anomalies: Counter[str] = Counter()

    @property
    def reached(self) -> int:
        """Records that have been audited. The loader's topic has no gaps: as many as offsets."""
        return sum(self._reached.values())

    def audit(self, to: str = "committed") -> None:
        """Judge the next stretch. Raises FraudstreamError where it cannot be, or where a record of it is not there."""
        since = ",".join(f"{each}:{max(0, offset - OVERLAP)}" for each, offset in self._reached.items())
        report = audited(self._stage, to, since)
        asked = sum(line["to"] - line["from"] for line in report["partitions"])
        if report["records"] != asked:
            raise FraudstreamError(f"the audit saw {report['records']:,} of {asked:,} records of a stretch")
        self._reached = {line["partition"]: line["to"] for line in report["partitions"]}
        self.anomalies.update(report["anomalies"])
        self.stretches += 1


class Soak:
    """One run."""

    def __init__(self, setting: Setting, stage: Stage, monitor: Server, seconds: float, tell: Tell) -> None:
        self._setting = setting
        self._stage = stage
        self._monitor = monitor
        self._seconds = seconds
        self._tell = tell
        self._began = time.time()
        self._warm_seconds = min(LONGEST_WARM_SECONDS, seconds / 5)
        self._auditor = Auditor(stage)
        self._census = Census(self._living)
        self._rate = 0.0
        self._capacity = 0.0
        self.faults: list[tuple[float, str]] = []
        """When (s), and what."""
        self.lives: list[Life] = []

    def play(self, rate: float | None) -> Soaked:
        """Run to the end, at half of the capacity without a ``rate``; what goes wrong is a part of the result."""
        problems = []
        self._census.start()
        try:
            self._stage.crew.start(*NAMES)
            self._stage.wait_for_owners(len(NAMES))
            self._capacity = self._measured_capacity()
            self._rate = rate or self._capacity / 2
            self._run(self._load(self._rate))
        except FraudstreamError as error:
            # What follows is the end of a log, with the paths of this machine.
            problems.append(str(error).splitlines()[0].partition("; ")[0])
            with suppress(FraudstreamError):
                self._audit()
        self.lives = self._census.close()
        verdicts = tuple(judge(life, self._warm_seconds) for life in self.lives)
        judged = any(verdict.judged for verdict in verdicts if verdict.name == NAMES[SURVIVOR])
        if self._seconds >= JUDGED_FROM_SECONDS and not judged:
            problems.append(f"{NAMES[SURVIVOR]} did not live long enough to be judged")
        return Soaked(
            seconds=self._census.age,
            warm_seconds=self._warm_seconds,
            rate=self._rate,
            capacity=self._capacity,
            records=self._auditor.reached,
            faults=dict(Counter(what for _, what in self.faults)),
            ended=dict(self._stage.crew.ended),
            audits=self._auditor.stretches,
            anomalies=dict(self._auditor.anomalies),
            verdicts=verdicts,
            problems=tuple(problems),
        )

    def _living(self) -> dict[str, int]:
        workers = {NAMES[worker.slot]: worker.process.pid for worker in self._stage.crew.workers}
        return workers | {MONITOR: self._monitor.pid}

    def _load(self, rate: float | None) -> Steady:
        stage, topic = self._stage, self._stage.settings.input_topic
        properties, source = stage.connection.properties, self._setting.source
        loader = Steady(properties, topic, source, rate, first=stage.done(), happening_at=self._hastened)
        loader.start()
        return loader

    def _hastened(self, due: NDArray[np.float64]) -> NDArray[np.int64]:
        return SEPTEMBER_2013 + np.rint((due - self._began) * 1000 * EVENT_SPEED).astype(np.int64)

    def _measured_capacity(self) -> float:
        """Records a second that are sent as fast as can be, decided and then audited: whoever soaks does all of it.

        With that all buffers have been as full as they get: what they take is not mistaken for growth later.
        """
        began = time.monotonic()
        loader = self._load(None)
        self._stage.hold(CAPACITY_SECONDS)
        loader.close()
        self._stage.wait(lambda: self._stage.done() >= loader.sent, "that what was sent at once is decided")
        self._audit()
        return loader.sent / (time.monotonic() - began)

    def _run(self, loader: Steady) -> None:
        stage, faults = self._stage, self._strikes()
        due, strike = next(faults)
        while self._census.age < self._seconds:
            if self._census.age >= due:
                strike()
                due, strike = next(faults)
            elif stage.done() - self._auditor.reached >= AUDITED_AT_ONCE:
                self._audit()
            stage.hold(max(0.0, min(STEP_SECONDS, due - self._census.age)))
            self._check(loader)
        loader.close()
        self._check(loader)
        stage.wait(stage.caught_up, "that every record has an outcome")
        self._audit("end")
        if self._auditor.reached != loader.sent:
            raise FraudstreamError(f"{self._auditor.reached:,} of {loader.sent:,} records were audited")

    def _audit(self, to: str = "committed") -> None:
        self._auditor.audit(to)
        found = f"{self._auditor.anomalies.total():,} anomalies"
        self._say(f"audited {self._auditor.reached:,} records: {found}")

    def _check(self, loader: Steady) -> None:
        if loader.failure is not None:
            raise FraudstreamError(f"the loader stopped: {loader.failure}")
        if not self._monitor.running:
            raise FraudstreamError(f"the {MONITOR} ended by itself, with exit code {self._monitor.exit_code}")
        self._say()

    def _say(self, what: str = "") -> None:
        self._tell(what, min(1.0, self._census.age / self._seconds))

    def _strikes(self) -> Iterator[tuple[float, Callable[[], None]]]:
        """When (s) to do what: each fault once in every round, in any order; the first round warms up."""
        faults = {
            "SIGKILL of slot 1": lambda: self._stage.crew.kill(self._victim()),
            "SIGSTOP of slot 1 beyond its session, SIGCONT": self._zombie,
            "SIGKILL of the broker": self._stage.kill_broker,
            "a guest joins the group and leaves": lambda: visit(self._stage),
        }
        between = max(LEAST_BETWEEN_FAULTS, self._warm_seconds / len(faults))
        number = 0
        while True:
            for what in self._stage.random.sample(list(faults), len(faults)):
                yield (number + self._stage.random.random()) * between, partial(self._strike, what, faults[what])
                number += 1

    def _strike(self, what: str, strike: Callable[[], None]) -> None:
        self.faults.append((self._census.age, what))
        self._say(what)
        strike()

    def _victim(self) -> Worker:
        return next(worker for worker in self._stage.crew.workers if worker.slot == VICTIM)

    def _zombie(self) -> None:
        victim = self._victim().process
        with suppress(ProcessLookupError):
            os.kill(victim.pid, signal.SIGSTOP)
            self._stage.hold(ASLEEP_SECONDS)
            os.kill(victim.pid, signal.SIGCONT)


@contextmanager
def soaking(setting: Setting, seconds: float, seed: int, tell: Tell) -> Iterator[Soak]:
    """A run whose processes are gone after the block."""
    with closing(Stage(setting, "soak", seed, ())) as stage, _monitor(stage, setting) as monitor:
        yield Soak(setting, stage, monitor, seconds, tell)


@contextmanager
def _monitor(stage: Stage, setting: Setting) -> Iterator[Server]:
    settings = stage.settings
    topics = ("--input-topic", settings.input_topic, "--samples-topic", settings.samples_topic)
    own = ("--drift-topic", f"{settings.group}.drift", "--retrain-topic", f"{settings.group}.retrain")
    command = [sys.executable, "-m", "fraudstream", "drift", "run", "--create-topics", "--drift-metrics-port", "0"]
    command += ["--bootstrap-servers", settings.bootstrap_servers, "--group", settings.group, *topics, *own, *LOGS]
    server = Server([*command, "--model", str(setting.model)], setting.home / f"{settings.group}.monitor.log")
    try:
        yield server
    finally:
        server.kill()
