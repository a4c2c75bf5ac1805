"""Every number a worker tells about itself, named and explained in one place."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from consumer.decide import Verdict
from consumer.serving import Serving
from schemas.decision import Outcome

LATENCY_SECONDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.015,
    0.02,
    0.03,
    0.05,
    0.075,
    0.1,
    0.25,
    0.5,
    1,
    2.5,
    5,
    10,
    60,
)
SCORES = (
    0.0001,
    0.001,
    0.005,
    0.01,
    0.02,
    0.05,
    0.1,
    0.2,
    0.3,
    0.4,
    0.5,
    0.6,
    0.7,
    0.8,
    0.9,
    0.95,
    0.99,
    1.0,
)
STAGE_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5)
BATCH_RECORDS = (1, 10, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 100_000)
BROKER_TIMES_A_BATCH = 64
SHADOW_RESULTS = ("scored", "late", "failed")


class BatchHistogram(Collector):
    """A histogram that takes an array at a time: one pass of NumPy instead of a call for each value."""

    def __init__(self, name: str, documentation: str, edges: Sequence[float], registry: CollectorRegistry) -> None:
        self._name = name
        self._documentation = documentation
        self._edges = np.array(edges)
        self._counts = np.zeros(len(edges) + 1, np.int64)
        self._sum = 0.0
        registry.register(self)

    def observe(self, values: NDArray[np.float64]) -> None:
        """Count the values, shape (n,)."""
        bins = np.searchsorted(self._edges, values, side="left")
        self._counts += np.bincount(bins, minlength=len(self._counts))
        self._sum += float(values.sum())

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """The cumulative buckets, as Prometheus wants them."""
        cumulative = np.cumsum(self._counts).tolist()
        names = [*(str(edge) for edge in self._edges.tolist()), "+Inf"]
        yield HistogramMetricFamily(
            self._name,
            self._documentation,
            buckets=list(zip(names, cumulative, strict=True)),
            sum_value=self._sum,
        )


class WorkerMetrics:
    """The metrics of one worker, on the registry that is passed in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"fraudstream_{name}", text, labels, registry=registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"fraudstream_{name}", text, labels, registry=registry)

        self.records = counter("records", "Records consumed.")
        self.outcomes = counter("outcomes", "Records by what became of them.", "outcome")
        self.dead_letters = counter("dead_letters", "Dead letters by stage and reason.", "stage", "reason")
        self.decisions = counter("decisions", "Decisions by variant and outcome.", "variant", "decision")
        self.batch_records = Histogram(
            "fraudstream_batch_records", "Records in a batch.", buckets=BATCH_RECORDS, registry=registry
        )
        self.stage_seconds = Histogram(
            "fraudstream_stage_seconds",
            "Time of a batch in a stage.",
            ("stage",),
            buckets=STAGE_SECONDS,
            registry=registry,
        )
        self.event_latency = BatchHistogram(
            "fraudstream_event_latency_seconds",
            "From the event time in the record to its published decision.",
            LATENCY_SECONDS,
            registry,
        )
        self.broker_latency = BatchHistogram(
            "fraudstream_broker_latency_seconds",
            "From the broker's timestamp of a record to its published decision; a sample of each batch.",
            LATENCY_SECONDS,
            registry,
        )
        self.scores = BatchHistogram("fraudstream_score", "Distribution of the scores.", SCORES, registry)
        self.lag = gauge("lag_records", "Records between the position and the last stable offset.", "partition")
        self._lagging: set[str] = set()
        self.assigned = gauge("assigned_partitions", "Partitions that this worker owns.")
        self.stopped = gauge(
            "stopped_partitions", "Partitions that stand still: the offset to go on from is not in the topic."
        )
        self.halted = gauge("halted", "1 while nearly all records are bad: the worker keeps its place and tries again.")
        self.held = gauge("held", "1 while the worker keeps its place and waits: an endpoint or a registry is away.")
        self.rebalances = gauge("rebalances", "Assignments and revocations since the start.")
        self.rewinds = gauge("rewinds", "Returns to the committed offsets since the start.")
        self.replacements = gauge("producer_replacements", "Producers replaced after a failure since the start.")
        self.columnar = gauge("columnar", "1 while all schemas met are flat; 0: nested ones slow the worker down.")
        self.model = gauge("model_info", "1 for each model that serves.", "variant", "name", "version", "sha256")
        self.rollout_epoch = gauge("rollout_epoch", "Number of the rollout that serves.")
        self.rollout_age = gauge("rollout_age_seconds", "Time since the store last told which rollout is in force.")
        self.rollout_held_back = gauge(
            "rollout_held_back", "1 while the rollout in the store cannot serve, so that the one before it still does."
        )
        self.load_failures = counter(
            "rollout_load_failures", "Failures to load, by what: rollout (not any of it), variant or shadow.", "part"
        )
        self.degraded_share = gauge(
            "degraded_share", "Share of the cards whose variant has no model, so that the control decides."
        )
        self.degraded = counter(
            "degraded_decisions",
            "Decisions of another model for want of the variant's own or its endpoint, or of a unit.",
            "variant",
        )
        self.shadow_batches = counter(
            "shadow_batches", "Batches by what became of a shadow: scored, late or failed.", "shadow", "result"
        )
        self.endpoint_requests = counter(
            "endpoint_requests",
            "Requests to SageMaker by how they ended: answered, or what was wrong.",
            "name",
            "result",
        )
        self.endpoint_seconds = Histogram(
            "fraudstream_endpoint_request_seconds",
            "Time of a request to SageMaker, however it ended.",
            ("name",),
            buckets=LATENCY_SECONDS,
            registry=registry,
        )
        self.endpoint_breaker = gauge(
            "endpoint_breaker", "Circuit breaker of an endpoint: 0 closed, 1 half open, 2 open.", "name"
        )
        self.endpoint_openings = gauge(
            "endpoint_breaker_openings", "Times that the circuit breaker of an endpoint has opened.", "name"
        )
        self.invoked_decisions = counter(
            "invoked_decisions", "Decisions by variant and the production variant that scored.", "variant", "invoked"
        )
        self._breakers: set[str] = set()
        self._models: set[tuple[str, str, str, str]] = set()
        self._shadows: set[str] = set()
        for part in ("rollout", "variant", "shadow"):
            self.load_failures.labels(part)
        for outcome in Outcome:
            self.outcomes.labels(outcome.name.lower())
        self.outcomes.labels("dead_letter")

    def observe_serving(self, serving: Serving) -> None:
        """Tell what serves from now on, and no longer what served before."""
        self.rollout_epoch.set(serving.epoch)
        self.degraded_share.set(serving.degraded_share)
        models = {(x.variant, x.model_name, x.model_version, x.model_sha256.hex()) for x in serving.lineages}
        for labels in models:
            self.model.labels(*labels).set(1)
        for labels in self._models - models:
            self.model.remove(*labels)
        shadows = {shadow.name for shadow in serving.shadows}
        for name, result in product(shadows, SHADOW_RESULTS):
            self.shadow_batches.labels(name, result)
        for name, result in product(self._shadows - shadows, SHADOW_RESULTS):
            self.shadow_batches.remove(name, result)
        self._models, self._shadows = models, shadows

    def observe_request(self, name: str, result: str, seconds: float) -> None:
        """Count a request of a variant or shadow to its endpoint."""
        self.endpoint_requests.labels(name, result).inc()
        self.endpoint_seconds.labels(name).observe(seconds)

    def observe_breakers(self, serving: Serving) -> None:
        """Tell how the endpoints stand that serve, and of no others."""
        for name, scorer in serving.endpoints.items():
            self.endpoint_breaker.labels(name).set(scorer.state)
            self.endpoint_openings.labels(name).set(scorer.openings)
        for name in self._breakers - serving.endpoints.keys():
            self.endpoint_breaker.remove(name)
            self.endpoint_openings.remove(name)
        self._breakers = set(serving.endpoints)

    def observe_shadow(self, name: str, result: str) -> None:
        """Count what became of a shadow in a batch: one of SHADOW_RESULTS."""
        self.shadow_batches.labels(name, result).inc()

    def observe_verdict(self, verdict: Verdict) -> None:
        """Count what became of a published batch."""
        decisions = verdict.decisions
        self.records.inc(len(decisions) + len(verdict.undecodable) + len(verdict.rejected))
        table = np.bincount(
            decisions.variant.astype(np.int64) * len(Outcome) + decisions.outcome,
            minlength=len(decisions.lineages) * len(Outcome),
        ).reshape(len(decisions.lineages), len(Outcome))
        for lineage, row in zip(decisions.lineages, table.tolist(), strict=True):
            if lineage.fallback_reason is not None:
                self.degraded.labels(lineage.variant).inc(sum(row))
            for outcome, count in zip(Outcome, row, strict=True):
                self.decisions.labels(lineage.variant, outcome.name.lower()).inc(count)
                self.outcomes.labels(outcome.name.lower()).inc(count)
        for stage, reasons in (("decode", verdict.undecodable), ("validate", verdict.rejected)):
            for reason in reasons.values():
                self.dead_letters.labels(stage, reason.name).inc()
            self.outcomes.labels("dead_letter").inc(len(reasons))
        if len(decisions):
            self.scores.observe(decisions.score)
        for index, invocation in enumerate(decisions.invocations):
            rows = np.flatnonzero(decisions.invoked == index)
            if len(rows):
                variant = decisions.lineages[int(decisions.variant[rows[0]])].variant
                self.invoked_decisions.labels(variant, invocation.variant or "unknown").inc(len(rows))

    def observe_times(self, seconds: Mapping[str, float], records: int) -> None:
        """Note the size of a batch and its time by stage."""
        self.batch_records.observe(records)
        for stage, value in seconds.items():
            self.stage_seconds.labels(stage).observe(value)

    def observe_statistics(self, text: str, topic: str) -> None:
        """Take the lag against the last stable offset from librdkafka's statistics (STATISTICS.md)."""
        partitions: dict[str, Any] = json.loads(text).get("topics", {}).get(topic, {}).get("partitions", {})
        for name, partition in partitions.items():
            if partition.get("fetch_state") == "active" and partition["ls_offset"] >= 0:
                position = max(partition["app_offset"], partition["committed_offset"], partition["lo_offset"])
                self.lag.labels(name).set(max(0, partition["ls_offset"] - position))
                self._lagging.add(name)
        gone = {name for name in self._lagging if partitions.get(name, {}).get("fetch_state") != "active"}
        for name in gone:
            self.lag.remove(name)
        self._lagging -= gone
