"""Watch a contender while it runs: how far it is, and what it and the broker use of the machine."""

import time
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.request import urlopen

import psutil
from confluent_kafka import Consumer, KafkaException, TopicPartition
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.bed import PARTITIONS, QUIET, Bed
from benchmarks.check import WrongOutputError
from deploy.jvm import Server

TICK_SECONDS = 0.25
STALLED_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. CPU in seconds since the start, memory in bytes: of all processes, and of the largest."""

    at: float
    done: int
    cpu: float
    broker_cpu: float
    memory: int
    largest: int


@dataclass(slots=True)
class Watch:
    """The looks at one run, in order of time."""

    samples: list[Sample] = field(default_factory=list)

    def until_done(self, bed: Bed, server: Server, group: str, topic: str, events: int) -> None:
        """Look until the group has committed so many events. WrongOutputError if it dies or stands still."""
        process = psutil.Process(server.pid)
        broker = psutil.Process(bed.broker_pid) if bed.broker_pid else None
        progress, moved = Progress(bed, group, topic), time.monotonic()
        while True:
            self._look(process, broker, progress())
            if self.samples[-1].done >= events:
                return
            if len(self.samples) > 1 and self.samples[-1].done > self.samples[-2].done:
                moved = time.monotonic()
            if not server.running or time.monotonic() - moved > STALLED_SECONDS:
                tail = server.log_path.read_text(errors="replace")[-2000:]
                raise WrongOutputError(f"{group} stopped after {self.samples[-1].done:,} events; its log ends: {tail}")
            time.sleep(TICK_SECONDS)

    def _look(self, process: psutil.Process, broker: psutil.Process | None, done: int) -> None:
        family = [process, *process.children(recursive=True)]
        memory = [each.memory_info().rss for each in family]
        cpu = sum(sum(each.cpu_times()[:2]) for each in family)
        broker_cpu = sum(broker.cpu_times()[:2]) if broker else 0.0
        self.samples.append(Sample(time.time(), done, cpu, broker_cpu, sum(memory), max(memory)))

    @property
    def busy(self) -> tuple[Sample, Sample]:
        """The first and the last look between which events were done all the time."""
        first = next(at for at, sample in enumerate(self.samples) if sample.done > 0)
        last = next(at for at, sample in enumerate(self.samples) if sample.done == self.samples[-1].done)
        return self.samples[min(first, last - 1)], self.samples[last]

    def memory_after(self, events: int) -> dict[int, float]:
        """MB of the largest process when each tenth of the events was done."""
        looks = [(share * events // 10, sample) for share in range(1, 11) for sample in self.samples]
        found: dict[int, float] = {}
        for done, sample in looks:
            if sample.done >= done:
                found.setdefault(done, sample.largest / 1e6)
        return found


class Progress:
    """How many events of a topic lie behind the offsets that a group has committed."""

    def __init__(self, bed: Bed, group: str, topic: str) -> None:
        # Reads the offsets of the group and never joins it. Uncommitted: the answer must not wait for transactions.
        self._consumer = Consumer(
            {"bootstrap.servers": bed.bootstrap_servers, "group.id": group, "isolation.level": "read_uncommitted"}
            | QUIET
        )
        self._wanted = [TopicPartition(topic, partition) for partition in range(PARTITIONS)]
        self._done = 0

    def __call__(self) -> int:
        """Ask the broker."""
        with suppress(KafkaException):  # a new group has no coordinator for a moment
            offsets = self._consumer.committed(self._wanted, timeout=10)
            self._done = sum(max(0, partition.offset) for partition in offsets)
        return self._done


def worker_metrics(port: int) -> dict[str, dict[str, float]]:
    """Seconds by stage, and batches and their records, from the worker's /metrics."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        text = answer.read().decode()
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == "fraudstream_stage_seconds_sum":
                found["stage_seconds"][sample.labels["stage"]] = sample.value
            elif sample.name in {"fraudstream_batch_records_sum", "fraudstream_batch_records_count"}:
                found["batches"][sample.name.removeprefix("fraudstream_batch_")] = sample.value
    return dict(found)
