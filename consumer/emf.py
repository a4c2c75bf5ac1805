"""Tell CloudWatch the figures that alarms need, as lines of its embedded metric format (EMF) on standard output.

Whatever carries that to CloudWatch Logs (the log driver of ECS, Lambda, the agent) needs nothing more: CloudWatch makes
metrics of the lines. Each metric of each slot is paid for, so they are few, and bear no other labels.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from threading import Event, Thread
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Metric

log = structlog.get_logger()

NAMESPACE = "fraudstream"

COUNTERS = (
    "fraudstream_records",
    "fraudstream_dead_letters",
    "fraudstream_degraded_decisions",
    "fraudstream_producer_replacements",
    "fraudstream_producer_fences",
    "fraudstream_rollout_load_failures",
)
"""Told as what was added since the line before, over all labels."""

GAUGES: dict[str, tuple[Callable[[list[float]], float], str]] = {
    "fraudstream_lag_records": (sum, "Count"),
    "fraudstream_lag_seconds": (max, "Seconds"),
    "fraudstream_ready": (max, "None"),
    "fraudstream_halted": (max, "None"),
    "fraudstream_stopped_partitions": (max, "Count"),
    "fraudstream_degraded_share": (max, "None"),
    "fraudstream_rollout_held_back": (max, "None"),
    "fraudstream_rollout_age_seconds": (max, "Seconds"),
}
"""Told as they are, over all labels."""

LATENCY = "fraudstream_broker_latency_seconds"
"""Told as values (the upper edges of its buckets) with counts, of which CloudWatch makes percentiles."""


class EmbeddedMetrics:
    """The lines, one at a call; ``dimensions`` say whose figures they are."""

    def __init__(self, registry: CollectorRegistry, dimensions: Mapping[str, str]) -> None:
        self._registry = registry
        self._dimensions = dict(dimensions)
        self._told: dict[tuple[str, str], float] = {}

    def line(self, now: float) -> str:
        """The figures since the line before; ``now`` is in seconds since 1970."""
        found = {metric.name: metric for metric in self._registry.collect()}
        figures = {name: (value, unit) for name, value, unit in self._figures(found)}
        directive = {
            "Namespace": NAMESPACE,
            "Dimensions": [list(self._dimensions)[: count + 1] for count in range(len(self._dimensions))],
            "Metrics": [{"Name": name, "Unit": unit} for name, (_, unit) in figures.items()],
        }
        metadata = {"Timestamp": int(now * 1000), "CloudWatchMetrics": [directive]}
        values = {name: value for name, (value, _) in figures.items()}
        return json.dumps({"_aws": metadata, **self._dimensions, **values}, allow_nan=False)

    def _figures(self, found: Mapping[str, Metric]) -> Iterator[tuple[str, Any, str]]:
        for name in COUNTERS:
            total = sum(each.value for each in found[name].samples if each.name == f"{name}_total")
            yield f"{name}_total", self._added(name, "", total), "Count"
        for name, (together, unit) in GAUGES.items():
            if values := [each.value for each in found[name].samples]:
                yield name, together(values), unit
        counts = self._latencies(found[LATENCY])
        if counts:
            yield LATENCY, {"Values": list(counts), "Counts": list(counts.values())}, "Seconds"

    def _latencies(self, histogram: Metric) -> dict[float, float]:
        """How many there were since the line before, by the upper edge of their bucket; the last has none."""
        counts: dict[float, float] = {}
        below = edge = 0.0
        for sample in histogram.samples:
            if sample.name == f"{LATENCY}_bucket":
                added = self._added(LATENCY, sample.labels["le"], sample.value)
                edge = edge if sample.labels["le"] == "+Inf" else float(sample.labels["le"])
                if added > below:
                    counts[edge] = counts.get(edge, 0.0) + added - below
                below = added
        return counts

    def _added(self, name: str, series: str, total: float) -> float:
        added = total - self._told.get((name, series), 0.0)
        self._told[name, series] = total
        return added


class Emitter:
    """Writes a line every so many seconds on a thread of its own, and one at the end."""

    def __init__(self, metrics: EmbeddedMetrics, seconds: float, write: Callable[[str], object]) -> None:
        self._metrics = metrics
        self._seconds = seconds
        self._write = write
        self._ended = Event()
        self._thread = Thread(target=self._run, name="tell CloudWatch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Write what was not told yet."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(self._seconds):
            self._tell()
        self._tell()

    def _tell(self) -> None:
        try:
            self._write(self._metrics.line(time.time()) + "\n")
        except OSError as error:  # nobody reads our output any more
            log.warning("metrics_not_written", reason=error.strerror)
