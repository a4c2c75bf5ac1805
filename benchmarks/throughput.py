"""Run one contender over a topic full of transactions, and say how fast it was once it ran."""

import uuid
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.bed import Bed
from benchmarks.check import check_output
from benchmarks.contenders import Contender, assignment
from benchmarks.watch import Watch, worker_metrics
from deploy.jvm import Server

WARM_UP = 0.2
"""Share of the events that is left out of the warm rate: a JVM compiles, caches fill, workers share partitions."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run. Rates are events a second, by the broker's append times: ``warm_rate`` after the first fifth.

    CPU is in µs an event, memory in MB: ``memory`` of the largest process at its largest.
    """

    contender: str
    round: int
    events: int
    rate: float
    warm_rate: float
    cpu: float
    broker_cpu: float
    memory: float
    memory_all: float
    memory_after: dict[int, float] = field(default_factory=dict)
    """MB of the largest process, by events done: ten looks."""
    batch: float | None = None
    stages: dict[str, float] = field(default_factory=dict)
    """The worker's own metrics: µs an event in each stage. Publishing overlaps the others."""


def run(bed: Bed, contender: Contender, source: str, events: int, number: int) -> Run:
    """Start it, wait until it has committed everything, stop it, read its output back. Or WrongOutputError."""
    work = assignment(source, f"bench-{uuid.uuid4().hex[:8]}", contender.suffix)
    for topic in work.outputs:
        bed.create_topic(topic)
    watch, metrics = Watch(), {}
    server = Server(contender.command(bed, work), bed.home / f"{work.group}.log")
    try:
        watch.until_done(bed, server, work.group, source, events)
        if contender.has_metrics:
            metrics = worker_metrics(work.metrics_port)
    finally:
        server.stop()
    written = check_output(bed, contender.check, source, work.decisions, events)
    bed.delete_topics(work.outputs)
    first, last = watch.busy
    busy = max(1, last.done - first.done)
    batches = metrics.get("batches")
    return Run(
        contender=contender.name,
        round=number,
        events=events,
        rate=rate(written.appended, 0.0),
        warm_rate=rate(written.appended, WARM_UP),
        cpu=(last.cpu - first.cpu) / busy * 1e6,
        broker_cpu=(last.broker_cpu - first.broker_cpu) / busy * 1e6,
        memory=max(sample.largest for sample in watch.samples) / 1e6,
        memory_all=max(sample.memory for sample in watch.samples) / 1e6,
        memory_after=watch.memory_after(events),
        batch=batches["records_sum"] / batches["records_count"] if batches else None,
        stages={name: value / events * 1e6 for name, value in metrics.get("stage_seconds", {}).items()},
    )


def rate(appended: NDArray[np.int64], skip: float) -> float:
    """Records a second from the one at ``skip`` of all to the last: those later than its time, by that time."""
    times = np.sort(appended)
    begin = times[int(len(times) * skip)]
    return float(np.count_nonzero(times > begin) / max(1, times[-1] - begin) * 1000)
