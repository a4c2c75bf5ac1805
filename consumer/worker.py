"""Assemble one worker from its settings, check that it can work, and run it until told to stop."""

import gc
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

import numpy as np
import structlog
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from prometheus_client import CollectorRegistry

from consumer.clients import admin_client, make_consumer, producer_maker
from consumer.dead_letters import letters
from consumer.decide import Arm, Bounds, Reasons, Roles, Rollout, Source, Thresholds, Verdict, decide
from consumer.delivery import AtLeastOnce, Delivery, ExactlyOnce, Messages, Outbox
from consumer.health import HealthServer
from consumer.loop import Loop
from consumer.metrics import BROKER_TIMES_A_BATCH, WorkerMetrics
from consumer.records import RecordBatch
from consumer.settings import Delivery as DeliveryMode
from consumer.settings import WorkerSettings
from consumer.wire import decision_encoder, input_fields, transaction_reader
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

BROKER_SECONDS = 10.0
REGISTRY_PAUSE_SECONDS = 1.0


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


@dataclass(frozen=True, slots=True)
class Topics:
    """The partitions of the topics that the worker writes and reads."""

    input: int
    decisions: int
    dead_letters: int


def check_topics(settings: WorkerSettings, admin: AdminClient) -> Topics:
    """Ask the broker for the three topics. Raises ConfigurationError naming what is missing."""
    try:
        known = admin.list_topics(timeout=BROKER_SECONDS).topics
    except KafkaException as error:
        raise ConfigurationError(
            f"bootstrap_servers: no broker answers at {settings.bootstrap_servers} ({error.args[0].str()})"
        ) from error
    names = {
        "input_topic": settings.input_topic,
        "decisions_topic": settings.decisions_topic,
        "dead_letters_topic": settings.dead_letters_topic,
    }
    for setting, name in names.items():
        if name not in known:
            raise ConfigurationError(f"{setting}: topic {name} does not exist on {settings.bootstrap_servers}")
    return Topics(*(len(known[name].partitions) for name in names.values()))


class Scoring:
    """What a batch of transactions means: the function that the loop calls, from records to an outbox."""

    def __init__(
        self,
        rollout: Rollout,
        read: Callable[[Sequence[bytes | None]], Columns],
        encode: Callable[[Decisions], list[bytes]],
        settings: WorkerSettings,
        topics: Topics,
        on_published: Callable[[RecordBatch, Verdict], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rollout = rollout
        self._read = read
        self._encode = encode
        self._roles = Roles(settings.id_field, settings.unit_field, settings.event_time_field, settings.amount_field)
        self._bounds = Bounds(settings.earliest_event_time, int(settings.event_time_lead_seconds * 1000))
        explained = tuple(Outcome[name.upper()] for name in settings.reasons_for)
        self._reasons = Reasons(settings.reason_codes, explained)
        self._decisions_topic = settings.decisions_topic
        self._dead_letters_topic = settings.dead_letters_topic
        self._topics = topics
        self._clock = clock
        self._on_published = on_published

    def __call__(self, records: RecordBatch) -> Outbox:
        """Decode, decide and encode one batch."""
        started = time.perf_counter()
        columns = self._read(records.values)
        decoded = time.perf_counter()
        source = Source(records.topic, records.partitions, records.offsets)
        now = int(self._clock() * 1000)
        verdict = decide(columns, source, self._roles, self._bounds, self._rollout, self._reasons, now)
        decided = time.perf_counter()
        dead = letters(
            records, verdict.undecodable, verdict.rejected, self._dead_letters_topic, self._topics.dead_letters
        )
        messages = list(self._messages(records, verdict))
        seconds = {
            "decode": decoded - started,
            "decide": decided - decoded,
            "encode": time.perf_counter() - decided,
        }
        return Outbox(messages, dead, partial(self._on_published, records, verdict), seconds)

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

    def __init__(self, settings: WorkerSettings) -> None:
        """Check everything that can be checked before anything is consumed. Raises ConfigurationError."""
        self.settings = settings
        rollout = load_rollout(settings)
        self._admin = admin_client(settings)
        topics = check_topics(settings, self._admin)
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
            topics,
            self._observe,
        )
        make_producer = producer_maker(settings)
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
            batch_size=settings.batch_size,
            poll_seconds=settings.poll_seconds,
            start=settings.start,
            observe=self.metrics.observe_times,
        )
        self._beat = time.monotonic()
        self._stopping = False
        self._columnar = True

    def run(self) -> None:
        """Score until SIGTERM or SIGINT; the batch in hand is committed or abandoned whole."""
        server = HealthServer(
            self.settings.metrics_host,
            self.settings.metrics_port and self.settings.metrics_port + self.settings.slot,
            self._registry,
            alive=lambda: time.monotonic() - self._beat < 120,
            ready=lambda: bool(self._loop.assigned) and not self._stopping,
        )
        try:
            with _stop_signals(self._stop):
                self._loop.open()
                log.info("started", slot=self.settings.slot_id, metrics_port=server.port)
                _spare_the_collector()
                self._run_until_stopped()
        finally:
            self._loop.close()
            server.close()
            log.info("stopped", slot=self.settings.slot_id)

    def _run_until_stopped(self) -> None:
        while not self._stopping:
            self._beat = time.monotonic()
            try:
                self._loop.run_once()
            except RegistryUnavailableError as error:
                # Not the records' fault: keep the place and ask again.
                log.warning("registry_unavailable", reason=str(error))
                self._loop.rewind()
                time.sleep(REGISTRY_PAUSE_SECONDS)
            self._observe_loop()

    def _stop(self) -> None:
        self._stopping = True

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


@contextmanager
def _stop_signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` on SIGTERM and SIGINT; a second one ends the process at once."""

    def on_signal(number: int, _frame: FrameType | None) -> None:
        stop()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
