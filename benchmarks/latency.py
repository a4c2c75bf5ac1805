"""Measure from when a transaction should have been sent until its decision can be read, at a steady rate."""

import sys
import time
import uuid
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.bed import Bed
from benchmarks.check import WrongOutputError, check_output
from benchmarks.contenders import Contender, assignment
from benchmarks.watch import Watch, worker_metrics
from deploy.jvm import Server

RATE = 10_000
WARM_UP_SECONDS = 5
PRIMERS = 2_000
"""Transactions before the clock runs: when they are decided, the contender is ready."""
PERCENTILES = (50, 90, 99, 99.9)
FIGURES = ("p50", "p90", "p99", "p999", "loader_late", "cpu", "batch")


@dataclass(frozen=True, slots=True)
class Latency:
    """Latencies of one contender in ms, at ``rate`` events a second. ``loader_late`` is how late p99 was sent.

    ``batch`` is the worker's mean batch, 0 where it does not tell.
    """

    contender: str
    round: int
    rate: int
    seconds: int
    p50: float
    p90: float
    p99: float
    p999: float
    loader_late: float
    cpu: float
    batch: float


def measure(bed: Bed, contender: Contender, seconds: int, number: int, rate: int = RATE) -> Latency:
    """Run it under the open-loop load for so long after the warm-up; every output is checked."""
    group = f"bench-{uuid.uuid4().hex[:8]}"
    count = rate * (WARM_UP_SECONDS + seconds)
    work = assignment(bed.preload(f"{group}.in", PRIMERS), group)
    for topic in work.outputs:
        bed.create_topic(topic)
    sent, received, watch = bed.home / f"{group}.sent.json", bed.home / f"{group}.received.npz", Watch()
    with ExitStack() as stack:
        server = Server(contender.command(bed, work), bed.home / f"{group}.log")
        stack.callback(server.stop)
        watch.until_done(bed, server, group, work.source, PRIMERS)
        reader = _start(stack, bed, "read", ("--topic", work.decisions), count + PRIMERS, received)
        load = ("--topic", work.source, "--first", str(PRIMERS), "--rate", str(rate))
        _start(stack, bed, "load", load, count, sent)
        watch.until_done(bed, server, group, work.source, PRIMERS + count)
        batches = worker_metrics(work.metrics_port)["batches"] if contender.has_metrics else None
        _wait_for(reader)
    check_output(bed, contender.check, work.source, work.decisions, count + PRIMERS)
    bed.delete_topics([work.source, *work.outputs])
    load_report = msgspec.json.decode(sent.read_bytes())
    first, last = watch.busy
    found = latencies_of(received, load_report["start"], rate)
    p50, p90, p99, p999 = np.percentile(found, PERCENTILES).tolist()
    return Latency(
        contender.name,
        number,
        rate,
        seconds,
        p50,
        p90,
        p99,
        p999,
        loader_late=load_report["late_p99"],
        cpu=(last.cpu - first.cpu) / max(1, last.done - first.done) * 1e6,
        batch=batches["records_sum"] / batches["records_count"] if batches else 0.0,
    )


def typical(runs: Sequence[Latency]) -> list[Latency]:
    """One for each contender: of every figure the median over its rounds."""
    own = {run.contender: [each for each in runs if each.contender == run.contender] for run in runs}
    return [
        replace(each[0], **{field: median(getattr(run, field) for run in each) for field in FIGURES})
        for each in own.values()
    ]


def latencies_of(received: Path, start: float, rate: int) -> NDArray[np.float64]:
    """(n,) ms from due to readable, of the events after the warm-up."""
    found = np.load(received)
    number = found["number"] - PRIMERS
    measured = number >= rate * WARM_UP_SECONDS
    latencies: NDArray[np.float64] = (found["received"] - start - number / rate)[measured] * 1000
    return latencies


def _start(stack: ExitStack, bed: Bed, module: str, options: Sequence[str], count: int, out: Path) -> Server:
    command = [sys.executable, "-m", f"benchmarks.{module}", "--bootstrap-servers", bed.bootstrap_servers]
    process = Server([*command, *options, "--count", str(count), "--out", str(out)], out.with_suffix(".log"))
    stack.callback(process.stop)
    return process


def _wait_for(reader: Server) -> None:
    deadline = time.monotonic() + 60
    while reader.running:
        if time.monotonic() > deadline:
            raise WrongOutputError("the reader of the decisions did not end")
        time.sleep(0.05)
