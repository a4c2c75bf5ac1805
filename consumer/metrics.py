"""Every number a worker tells about itself, named and explained in one place."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from consumer.decide import Verdict
from consumer.serving import Serving
from consumer.waiting import Waiting
from schemas.columns import Reason
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

    def __init__(self, registry: CollectorRegistry, clock: Callable[[], float] = time.time) -> None:
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
        self.lag_seconds = gauge(
            "lag_seconds", "The most that a record which is not decided yet can have waited.", "partition"
        )
        self._waiting = Waiting()
        self._clock = clock
        self._lagging: set[str] = set()
        self.slot = gauge("slot_info", "1; the name of the slot, which no two processes may have at once.", "slot")
        self.ready = gauge("ready", "1 while /readyz says so: the worker decides, or would if something came.")
        self.loop_age = gauge("loop_age_seconds", "Time since the loop last came round; a batch is a round.")
        gauge("clock_timestamp_seconds", "The time that this machine believes it is.").set_function(clock)
        ProcessCollector(registry=registry)
        self.assigned = gauge("assigned_partitions", "Partitions that this worker owns.")
        self.input_partitions = gauge("input_partitions", "Partitions of the input topic, whoever owns them.")
        self.stopped = gauge(
            "stopped_partitions", "Partitions that stand still: the offset to go on from is not in the topic."
        )
        self.halted = gauge("halted", "1 while nearly all records are bad: the worker keeps its place and tries again.")
        self.held = gauge("held", "1 while the worker waits: brokers, registry or endpoint are away.")
        self._since_the_start = {
            "rebalances": counter("rebalances", "Assignments and revocations of partitions."),
            "rewinds": counter("rewinds", "Returns to the committed offsets."),
            "replacements": counter(
                "producer_replacements", "Producers replaced after a failure; what it had is aborted."
            ),
            "fences": counter(
                "producer_fences",
                "Producers, or memberships of the group, that another process with this slot had fenced.",
            ),
        }
        self._counted = dict.fromkeys(self._since_the_start, 0)
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
        self.dead_letters.labels("decode", Reason.KILLED_THE_PROCESS.name)
        for name in (*(outcome.name.lower() for outcome in Outcome), "dead_letter", "duplicate"):
            self.outcomes.labels(name)

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
        counting = slice(None) if decisions.duplicate_of is None else decisions.duplicate_of < 0
        variant, outcomes = decisions.variant[counting], decisions.outcome[counting]
        scores = decisions.score[counting]
        self.outcomes.labels("duplicate").inc(len(decisions) - len(scores))
        table = np.bincount(
            variant.astype(np.int64) * len(Outcome) + outcomes,
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
        if len(scores):
            self.scores.observe(scores)
        for index, invocation in enumerate(decisions.invocations):
            rows = np.flatnonzero(decisions.invoked == index)
            if len(rows):
                name = decisions.lineages[int(decisions.variant[rows[0]])].variant
                self.invoked_decisions.labels(name, invocation.variant or "unknown").inc(len(rows))

    def observe_times(self, seconds: Mapping[str, float], records: int) -> None:
        """Note the size of a batch and its time by stage."""
        self.batch_records.observe(records)
        for stage, value in seconds.items():
            self.stage_seconds.labels(stage).observe(value)

    def observe_loop(self, **totals: int) -> None:
        """Take in how often each of these has happened since the start: rebalances, rewinds, replacements, fences."""
        for name, total in totals.items():
            self._since_the_start[name].inc(total - self._counted[name])
            self._counted[name] = total

    def observe_decided(self, broker_times: Mapping[int, float]) -> None:
        """Note by partition the broker's time (s since 1970) of the newest record that was decided."""
        for partition, broker_time in broker_times.items():
            self._waiting.decided(partition, broker_time)

    def observe_statistics(self, text: str, topic: str) -> None:
        """Take partitions and their lag against the last stable offset from librdkafka's statistics (STATISTICS.md)."""
        partitions: dict[str, Any] = json.loads(text).get("topics", {}).get(topic, {}).get("partitions", {})
        self.input_partitions.set(sum(int(name) >= 0 for name in partitions))  # -1 is librdkafka's own
        for name, partition in partitions.items():
            if partition.get("fetch_state") == "active" and partition["ls_offset"] >= 0:
                position = max(partition["app_offset"], partition["committed_offset"], partition["lo_offset"])
                self._observe_lag(name, max(0, partition["ls_offset"] - position))
        gone = {name for name in self._lagging if partitions.get(name, {}).get("fetch_state") != "active"}
        for name in gone:
            self.lag.remove(name)
            self.lag_seconds.remove(name)
            self._waiting.forget(int(name))
        self._lagging -= gone

    def _observe_lag(self, partition: str, records: int) -> None:
        self.lag.labels(partition).set(records)
        self._waiting.behind(int(partition), records, self._clock())
        if partition not in self._lagging:
            # Asked at each scrape: a loop that stands still takes in no statistics.
            age = partial(self._seconds_waited, int(partition))
            self.lag_seconds.labels(partition).set_function(age)
            self._lagging.add(partition)

    def _seconds_waited(self, partition: int) -> float:
        return self._waiting.seconds(partition, self._clock())
