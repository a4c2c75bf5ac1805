"""Measure how long readers get no decisions after a worker is killed, replaced, fenced or aborted: a figure a fault.

``python -m benchmarks.recovery`` runs real workers on a real Kafka under a steady load, and rewrites its table in
docs/reliability.md.
"""

import contextlib
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Annotated, Self

import numpy as np
import typer
from confluent_kafka import TopicPartition
from rich.console import Console
from rich.table import Table

from benchmarks.bed import in_real_mix, train
from benchmarks.chaos.loader import Steady
from benchmarks.chaos.scenarios import fence
from benchmarks.chaos.stage import PARTITIONS, SESSION_SECONDS, Setting, Stage
from benchmarks.report import markdown_row, origin, put_into
from deploy.kafka.broker import running_broker
from schemas.errors import FraudstreamError

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"
RATE = 300
"""Transactions a second: each partition has one every 20 ms."""
FRESH_SECONDS = 1.0
PATIENCE_SECONDS = 60.0
HEADER = ("what happens", "silence at most", "median", "longest", "times")


@dataclass(frozen=True, slots=True)
class Recovery:
    """The silences after one kind of fault (s), and how long one may be; None where nothing is promised."""

    what: str
    bar: float | None
    silences: tuple[float, ...]

    @property
    def cells(self) -> tuple[str, ...]:
        """The row of a table."""
        allowed = "" if self.bar is None else f"{self.bar:.0f} s"
        longest = max(self.silences)
        return self.what, allowed, f"{median(self.silences):.2f} s", f"{longest:.2f} s", str(len(self.silences))


class Load:
    """Transactions at a steady rate, and a reader that notes when it gets which partition's decisions."""

    def __init__(self, stage: Stage, setting: Setting) -> None:
        self._stage = stage
        self._stopped = threading.Event()
        self._heard: dict[int, list[float]] = defaultdict(list)
        properties, topic = stage.connection.properties, stage.settings.input_topic
        self._loader = Steady(properties, topic, setting.source, RATE, spoilt_every=None)
        self._ear = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._loader.start()
        self._ear.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stopped.set()
        self._loader.close()
        self._ear.join()

    def silence(self, since: float, at_least: float) -> float:
        """The longest that any partition had no decision since then, when all have them again (s).

        Looks for ``at_least`` so many seconds. Raises FraudstreamError where they do not come back.
        """
        while time.monotonic() < since + at_least or not self.flowing():
            if time.monotonic() > since + at_least + PATIENCE_SECONDS:
                raise FraudstreamError(f"a partition has had no decision for {PATIENCE_SECONDS:.0f} s")
            self._stage.crew.tend()
            time.sleep(0.01)
        return max(float(np.diff([since, *self._since(each, since)]).max()) for each in range(PARTITIONS))

    def flowing(self) -> bool:
        """Whether every partition has had a decision just now."""
        now = time.monotonic()
        return all(self._since(each, now - FRESH_SECONDS) for each in range(PARTITIONS))

    def _since(self, partition: int, since: float) -> list[float]:
        return [at for at in self._heard[partition] if at > since]

    def _listen(self) -> None:
        topic = self._stage.settings.decisions_topic
        with closing(self._stage.connection.reader(f"{topic}.ear")) as consumer:
            consumer.assign([TopicPartition(topic, each, 0) for each in range(PARTITIONS)])
            while not self._stopped.is_set():
                messages = consumer.consume(1_000, 0.005)
                now = time.monotonic()
                for partition in {each.partition() for each in messages if each.error() is None}:
                    self._heard[partition or 0].append(now)


def _nothing(_stage: Stage, load: Load) -> float:
    return load.silence(time.monotonic(), 4)


def _restart(stage: Stage, load: Load) -> float:
    began = time.monotonic()
    stage.crew.kill(stage.crew.workers[0])
    return load.silence(began, 8)


def _take_over(stage: Stage, load: Load) -> float:
    began = time.monotonic()
    stage.crew.lose(stage.crew.workers[0])
    return load.silence(began, SESSION_SECONDS + 8)


def _fence(stage: Stage, load: Load) -> float:
    began = time.monotonic()
    fence(stage.settings, f"{stage.settings.slot_id}.a")
    return load.silence(began, 4)


@dataclass(frozen=True, slots=True)
class _Fault:
    what: str
    bar: float | None
    strike: Callable[[Stage, Load], float]
    workers: int = 1
    sabotage: tuple[str, ...] = ()


_FAULTS = (
    _Fault("nothing", None, _nothing),
    _Fault("SIGKILL of the only worker, started again at once on its slot", 5, _restart),
    _Fault(
        f"SIGKILL of one of two workers, the other takes over (session timeout {SESSION_SECONDS} s)",
        SESSION_SECONDS + 5,
        _take_over,
        workers=2,
    ),
    _Fault("a fence, in the process", 1, _fence),
    _Fault("every third transaction aborted, in the process", 1, _nothing, sabotage=("abort_one_in_three",)),
)


def main(times: Annotated[int, typer.Option(min=1, help="How often each fault is caused.")] = 3) -> None:
    """Cause each fault so often, and tell how long a reader of committed decisions got none of some partition."""
    console = Console(width=None if sys.stdout.isatty() else 150)
    found = []
    with _laid_out() as setting:
        for fault in _FAULTS:
            with console.status(fault.what):
                found.append(Recovery(fault.what, fault.bar, tuple(_silences(setting, fault, times))))
    shown = Table(*HEADER)
    for each in found:
        shown.add_row(*each.cells)
    console.print(shown)
    command = "python -m benchmarks.recovery" + ("" if times == 3 else f" --times {times}")
    rule = ["---", "--:", "--:", "--:", "--:"]
    rows = [markdown_row(each) for each in (HEADER, rule, *(recovery.cells for recovery in found))]
    put_into(PAGE, [origin(command), *rows, ""], "recovery")


def _silences(setting: Setting, fault: _Fault, times: int) -> Iterator[float]:
    for _ in range(times):
        with closing(Stage(setting, "recovery", 1, fault.sabotage)) as stage:
            stage.crew.start(*range(fault.workers))
            stage.wait_for_owners(fault.workers)
            with Load(stage, setting) as load:
                stage.wait(load.flowing, "decisions of every partition")
                yield fault.strike(stage, load)


@contextlib.contextmanager
def _laid_out() -> Iterator[Setting]:
    with tempfile.TemporaryDirectory(prefix="fraudstream-recovery-") as scratch, running_broker() as broker:
        home = Path(scratch)
        train(home / "model")
        yield Setting(broker, home / "model", in_real_mix(), home)


if __name__ == "__main__":
    typer.run(main)
