"""Take the worker apart: µs an event in each of its functions, one after another in this process, on a real topic."""

import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, cast

import numpy as np
from confluent_kafka import Consumer, TopicPartition
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from benchmarks.bed import Bed
from consumer.clients import make_consumer, producer_maker
from consumer.decide import Arm, Rollout
from consumer.delivery import produce
from consumer.in_force import InForce
from consumer.loading import load_rollout
from consumer.memory import spare_the_collector
from consumer.metrics import WorkerMetrics
from consumer.records import RecordBatch
from consumer.serving import Serving
from consumer.settings import WorkerSettings
from consumer.topics import Cluster
from consumer.wire import decision_encoder, sample_encoder, transaction_reader
from consumer.worker import Scoring
from models.scorer import Scorer
from schemas.columns import Columns
from schemas.framing import RecordReader

BATCH = 5_000
COMMIT_SECONDS = 30.0
WARM_UP_BATCHES = 4


class Stages:
    """Wall and CPU seconds of this thread by stage; a stage inside another is not counted twice."""

    def __init__(self) -> None:
        self.wall: dict[str, float] = defaultdict(float)
        self.cpu: dict[str, float] = defaultdict(float)
        self._inner: list[tuple[float, float]] = []

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """What runs in the block counts for this stage."""
        self._inner.append((0.0, 0.0))
        wall, cpu = time.perf_counter(), time.thread_time()
        yield
        wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
        inner_wall, inner_cpu = self._inner.pop()
        self.wall[name] += wall - inner_wall
        self.cpu[name] += cpu - inner_cpu
        if self._inner:
            outer_wall, outer_cpu = self._inner[-1]
            self._inner[-1] = outer_wall + wall, outer_cpu + cpu

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, each call of which is a stage."""

        @wraps(function)
        def call(*arguments: Any) -> Any:
            with self.stage(name):
                return function(*arguments)

        return call

    def an_event(self, events: int) -> dict[str, dict[str, float]]:
        """µs an event: ``{"decode": {"wall": …, "cpu": …}, …}``."""
        return {
            name: {"wall": wall / events * 1e6, "cpu": self.cpu[name] / events * 1e6}
            for name, wall in self.wall.items()
        }

    def clear(self) -> None:
        """Forget the warm-up."""
        self.wall.clear()
        self.cpu.clear()


@dataclass(frozen=True, slots=True)
class TimedReader:
    """A reader whose time is a stage of its own."""

    inner: RecordReader
    stages: Stages

    def read(self, payloads: Sequence[bytes | None]) -> Columns:
        """As ``inner`` does."""
        with self.stages.stage("decode"):
            return self.inner.read(payloads)


class TimedScorer:
    """A scorer whose calls are stages."""

    def __init__(self, scorer: Scorer, stages: Stages) -> None:
        self.name, self.version, self.features = scorer.name, scorer.version, scorer.features
        self.score: Callable[[NDArray[np.float32]], NDArray[np.float64]] = stages.timed("score", scorer.score)
        self.contributions: Callable[[NDArray[np.float32]], NDArray[np.float64]] = stages.timed(
            "explain", scorer.contributions
        )


def profile(bed: Bed, source: str, events: int) -> dict[str, dict[str, float]]:
    """µs an event by stage. Here nothing overlaps, unlike in the worker."""
    group = f"bench-{uuid.uuid4().hex[:8]}"
    settings = WorkerSettings.model_validate(
        {
            "bootstrap_servers": bed.bootstrap_servers,
            "model": bed.model_dir,
            "group": group,
            "input_topic": source,
            "decisions_topic": bed.create_topic(f"{group}.decisions"),
            "dead_letters_topic": bed.create_topic(f"{group}.dead-letters"),
            "samples_topic": bed.create_topic(f"{group}.samples"),
            "batch_size": BATCH,
        }
    )
    stages = Stages()
    scoring = _scoring(settings, stages)
    producer = producer_maker(settings)({"transactional.id": group})
    producer.init_transactions(COMMIT_SECONDS)
    consumer = make_consumer(settings)
    consumer.subscribe([source], on_assign=_from_the_beginning)
    spare_the_collector()
    seen = counted = batches = 0
    while seen < events:
        with stages.stage("consume"):
            messages = consumer.consume(min(BATCH, events - seen), 1.0)
        if not messages:
            stages.clear()
            continue
        with stages.stage("records"):
            records = RecordBatch.of(source, messages)
        with stages.stage("validate, route, policy, outbox"):
            outbox = scoring(records)
        producer.begin_transaction()
        with stages.stage("produce"):
            produce(producer, outbox)
        with stages.stage("commit"):
            metadata = consumer.consumer_group_metadata()
            producer.send_offsets_to_transaction(records.next_offsets(), metadata, COMMIT_SECONDS)
            producer.commit_transaction(COMMIT_SECONDS)
        with stages.stage("metrics"):
            outbox.on_published()
        seen, counted, batches = seen + len(records), counted + len(records), batches + 1
        if batches == WARM_UP_BATCHES:
            stages.clear()
            counted = 0
    consumer.close()
    bed.delete_topics([settings.decisions_topic, settings.dead_letters_topic, settings.samples_topic])
    return stages.an_event(counted)


def _scoring(settings: WorkerSettings, stages: Stages) -> Scoring:
    rollout = load_rollout(settings)
    arms = tuple(_timed_arm(arm, stages) for arm in rollout.arms)
    encode_sample = sample_encoder(settings)
    assert encode_sample is not None, "the default rate is not 0"
    reader = TimedReader(transaction_reader(settings, rollout.fields), stages)
    serving = Serving(Rollout(rollout.experiment, arms), (), cast("RecordReader", reader))
    cluster, metrics = Cluster(settings), WorkerMetrics(CollectorRegistry())
    return Scoring(
        InForce(lambda: serving, settings.shadow_budget_seconds, metrics),
        stages.timed("encode", decision_encoder(settings)),
        settings,
        cluster.topics,
        lambda _records, verdict: metrics.observe_verdict(verdict),
        encode_sample=stages.timed("sample", encode_sample),
    )


def _timed_arm(arm: Arm, stages: Stages) -> Arm:
    return replace(arm, scorer=TimedScorer(arm.scorer, stages))


def _from_the_beginning(consumer: Consumer, partitions: list[TopicPartition]) -> None:
    for partition in partitions:
        partition.offset = 0
    consumer.incremental_assign(partitions)
