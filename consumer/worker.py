"""Assemble one worker from its settings, check that it can work, and run it until told to stop."""

import gc
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import structlog
from prometheus_client import CollectorRegistry

from consumer.clients import make_consumer, producer_maker
from consumer.dead_letters import DeadLetterTopic, letters, size_of
from consumer.decide import Arm, Bounds, Reasons, Rollout, Source, Thresholds, Verdict, decide
from consumer.delivery import AtLeastOnce, Delivery, ExactlyOnce, Letter, Messages, Outbox
from consumer.health import HealthServer
from consumer.loop import Loop
from consumer.metrics import BROKER_TIMES_A_BATCH, WorkerMetrics
from consumer.records import RecordBatch
from consumer.settings import Delivery as DeliveryMode
from consumer.settings import WorkerSettings
from consumer.stopping import Stopping
from consumer.topics import BrokerUnavailableError, Cluster, Topics
from consumer.wire import decision_encoder, input_fields, roles_of, transaction_reader
from models.artifact import check_features, load
from models.model import Model
from models.routing import Experiment, single, two_way
from models.sandbox import Sandbox
from models.shap import Recursion
from models.signature import public_keys
from schemas.columns import Columns
from schemas.decision import Decisions, Lineage, Outcome
from schemas.errors import ConfigurationError
from schemas.registry import RegistryUnavailableError

log = structlog.get_logger()

OUTAGE_PAUSE_SECONDS = 1.0
SMALL_LETTER = 4096
"""Bytes; where even letters of this size are refused, it is not the letters."""


def load_rollout(settings: WorkerSettings) -> Rollout:
    """The models of the settings, each behind its variant. Raises ConfigurationError if one cannot be loaded."""
    if settings.model is None:
        raise ConfigurationError("model is not set: give the directory of a model, such as `fraudstream train` writes")
    paths = [settings.model] if settings.challenger is None else [settings.model, settings.challenger]
    return rollout_of(_load_models(paths, settings), settings)


def rollout_of(models: Sequence[Model], settings: WorkerSettings) -> Rollout:
    """The champion and, if there are two models, the challenger, each for its share of the cards."""
    variants = single("champion")
    if len(models) > 1:
        variants = two_way("champion", "challenger", settings.challenger_share)
    experiment = Experiment(settings.experiment, 1, settings.salt_id, tuple(variants))
    arms = [_arm(model, experiment, index) for index, model in enumerate(models)]
    return Rollout(experiment, tuple(arms))


def _load_models(paths: Sequence[Path], settings: WorkerSettings) -> list[Model]:
    """The models in the directories, each tried first in a process of its own and matched with the input."""
    with Sandbox() as sandbox:
        keys, fields = public_keys(settings.model_public_keys), input_fields(settings)
        models = [load(path, keys=keys, sandbox=sandbox) for path in paths]
    for path, model in zip(paths, models, strict=True):
        if fields is not None:
            check_features(model.manifest, fields, str(path))
        for explainer in model.ensemble.explainers:
            if isinstance(explainer, Recursion):
                log.warning("slow_reasons", model=model.name, version=model.version, reason=explainer.reason)
    return models


def _arm(model: Model, experiment: Experiment, index: int) -> Arm:
    policy = model.manifest.policy
    variant = experiment.variants[index]
    lineage = Lineage(
        policy_version=policy.version,
        review_at=policy.review_at,
        decline_at=policy.decline_at,
        model_name=model.name,
        model_version=model.version,
        model_sha256=model.sha256,
        backend="xgboost",
        experiment_id=experiment.id,
        epoch=experiment.epoch,
        variant=variant.name,
        salt_id=experiment.salt_id,
        probability=variant.share,
    )
    required = np.array([feature.missing == "reject" for feature in model.manifest.features])
    thresholds = Thresholds(policy.version, policy.review_at, policy.decline_at)
    return Arm(model, thresholds, lineage, required, model.codes)


class Scoring:
    """What a batch of transactions means: the function that the loop calls, from records to an outbox."""

    def __init__(
        self,
        rollout: Rollout,
        read: Callable[[Sequence[bytes | None]], Columns],
        encode: Callable[[Decisions], list[bytes]],
        settings: WorkerSettings,
        ask_topics: Callable[[], Topics],
        on_published: Callable[[RecordBatch, Verdict], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rollout = rollout
        self._read = read
        self._encode = encode
        self._roles = roles_of(settings)
        self._bounds = Bounds(settings.earliest_event_time, int(settings.event_time_lead_seconds * 1000))
        explained = tuple(Outcome[name.upper()] for name in settings.reasons_for)
        self._reasons = Reasons(settings.reason_codes, explained)
        self._decisions_topic = settings.decisions_topic
        self._ask_topics = ask_topics
        self._topics = topics = ask_topics()
        self._dead_letters = DeadLetterTopic(
            settings.dead_letters_topic, topics.dead_letters, settings.dead_letter_payload, topics.largest
        )
        self._clock = clock
        self._on_published = on_published

    @property
    def largest_record(self) -> int:
        """Bytes of the largest record that the outputs take, as far as is known."""
        return self._topics.largest

    def __call__(self, records: RecordBatch) -> Outbox:
        """Decode, decide and encode one batch."""
        if records.partitions.max() >= self._topics.input:
            self._ask_again()
        started = time.perf_counter()
        columns = self._read(records.values)
        decoded = time.perf_counter()
        source = Source(records.topic, records.partitions, records.offsets)
        now = int(self._clock() * 1000)
        verdict = decide(columns, source, self._roles, self._bounds, self._rollout, self._reasons, now)
        decided = time.perf_counter()
        dead = letters(records, verdict.undecodable, verdict.rejected, self._dead_letters)
        messages = list(self._messages(records, verdict))
        seconds = {
            "decode": decoded - started,
            "decide": decided - decoded,
            "encode": time.perf_counter() - decided,
        }
        on_published, on_too_large = partial(self._on_published, records, verdict), partial(self._shrink, dead)
        return Outbox(messages, dead, on_published, on_too_large, seconds)

    def _ask_again(self) -> None:
        """The input has grown: whether the outputs have as many partitions is known no more."""
        self._topics = self._ask_topics()
        self._dead_letters = replace(self._dead_letters, partitions=self._topics.dead_letters)

    def _shrink(self, dead: Sequence[Letter]) -> None:
        """Half the size of the largest letter that may have been refused: brokers need not tell what they take."""
        largest = max(map(size_of, dead), default=0)
        if largest <= SMALL_LETTER:
            raise ConfigurationError(
                f"{self._decisions_topic} does not take records as large as our decisions: raise max.message.bytes of "
                f"the topic, or lower batch.size in producer_kafka; we sent at most {self._topics.largest} bytes"
            )
        self._dead_letters = replace(self._dead_letters, largest=largest // 2)
        log.warning("smaller_dead_letters", largest=largest // 2)

    def _messages(self, records: RecordBatch, verdict: Verdict) -> Iterator[Messages]:
        values = self._encode(verdict.decisions)
        keys = records.keys
        if len(verdict.decided) < len(records):
            keys = [keys[row] for row in verdict.decided.tolist()]
        if self._topics.decisions != self._topics.input:
            yield Messages(self._decisions_topic, -1, _to_dicts(values, keys))
            return
        # `produce_batch` takes one partition a call, so each source partition is a call of its own.
        for partition, rows in _by_partition(verdict.decisions.partition):
            if rows is None:
                yield Messages(self._decisions_topic, partition, _to_dicts(values, keys))
            else:
                some = _to_dicts([values[row] for row in rows], [keys[row] for row in rows])
                yield Messages(self._decisions_topic, partition, some)


def _to_dicts(values: Sequence[bytes], keys: Sequence[bytes | None]) -> list[dict[str, bytes | None]]:
    return [{"value": value, "key": key} for value, key in zip(values, keys, strict=True)]


def _by_partition(partitions: np.ndarray) -> Iterator[tuple[int, list[int] | None]]:
    """Each partition with its row numbers in order; None for all rows."""
    present = np.unique(partitions).tolist()
    for partition in present:
        yield partition, None if len(present) == 1 else np.flatnonzero(partitions == partition).tolist()


class Worker:
    """One process, one slot: everything between the settings and the loop."""

    def __init__(self, settings: WorkerSettings, stopping: Stopping) -> None:
        """Check everything that can be checked before anything is consumed. Raises ConfigurationError."""
        self.settings = settings
        rollout = load_rollout(settings)
        cluster = Cluster(settings)
        self._registry = CollectorRegistry()
        self.metrics = WorkerMetrics(self._registry)
        for arm in rollout.arms:
            line = arm.lineage
            self.metrics.model.labels(line.variant, line.model_name, line.model_version, line.model_sha256.hex()).set(1)
        self._reader = transaction_reader(settings, rollout.fields)
        scoring = Scoring(
            rollout,
            self._reader.read,
            decision_encoder(settings),
            settings,
            cluster.topics,
            self._observe,
        )
        make_producer = producer_maker(settings, scoring.largest_record)
        delivery: Delivery = (
            ExactlyOnce(make_producer, settings.slot_id)
            if settings.delivery is DeliveryMode.EXACTLY_ONCE
            else AtLeastOnce(make_producer)
        )
        self._delivery = delivery
        consumer = make_consumer(settings, lambda text: self.metrics.observe_statistics(text, settings.input_topic))
        self._loop = Loop(
            consumer,
            delivery,
            scoring,
            topic=settings.input_topic,
            member=settings.slot_id,
            batch_size=settings.batch_size,
            poll_seconds=settings.poll_seconds,
            start=settings.start,
            observe=self.metrics.observe_times,
        )
        self._beat = time.monotonic()
        self._stopping = stopping
        self._columnar = True

    def run(self) -> None:
        """Score until SIGTERM or SIGINT; the batch in hand is committed or abandoned whole."""
        server = HealthServer(
            self.settings.metrics_host,
            self.settings.metrics_port and self.settings.metrics_port + self.settings.slot,
            self._registry,
            alive=lambda: time.monotonic() - self._beat < 120,
            ready=lambda: bool(self._loop.assigned) and not self._stopping.requested,
        )
        try:
            self._loop.open()
            log.info("started", slot=self.settings.slot_id, metrics_port=server.port)
            _spare_the_collector()
            self._run_until_stopped()
        finally:
            self._loop.close()
            server.close()
            log.info("stopped", slot=self.settings.slot_id)

    def _run_until_stopped(self) -> None:
        while not self._stopping.requested:
            self._beat = time.monotonic()
            try:
                self._loop.run_once()
            except (RegistryUnavailableError, BrokerUnavailableError) as error:
                # Not the records' fault: keep the place and ask again.
                log.warning("unavailable", reason=str(error))
                self._loop.rewind()
                time.sleep(OUTAGE_PAUSE_SECONDS)
            self._observe_loop()

    def _observe(self, records: RecordBatch, verdict: Verdict) -> None:
        now = time.time() * 1000
        self.metrics.observe_verdict(verdict)
        self.metrics.event_latency.observe((now - verdict.decisions.event_time) / 1000)
        self.metrics.broker_latency.observe((now - records.broker_times(BROKER_TIMES_A_BATCH)) / 1000)

    def _observe_loop(self) -> None:
        self.metrics.assigned.set(len(self._loop.assigned))
        self.metrics.rebalances.set(self._loop.rebalances)
        self.metrics.rewinds.set(self._loop.rewinds)
        self.metrics.replacements.set(self._delivery.replacements)
        if self._columnar and not self._reader.columnar:
            self._columnar = False
            log.warning("nested_schema", reason="nested fields are walked row by row, at the speed of Python")
        self.metrics.columnar.set(self._columnar)


def _spare_the_collector() -> None:
    """Keep what exists now out of every collection, and the objects of a batch from causing one.

    A batch makes two tracked objects a record and drops them all without a cycle: at the default of 700 allocations
    the collector ran 20 times a batch of 5,000 and found nothing, for a tenth of the time of the batch.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(100_000, 10, 10)
