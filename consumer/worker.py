"""Assemble one worker from its settings, check that it can work, and run it until told to stop."""

import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import structlog
from prometheus_client import CollectorRegistry

from consumer.bad_records import BadRecords, TooManyBadRecordsError
from consumer.clients import make_consumer, producer_maker
from consumer.dead_letters import DeadLetterTopic, letters, size_of
from consumer.decide import Rollout, Source, Verdict, decide
from consumer.delivery import AtLeastOnce, Delivery, ExactlyOnce, Letter, Messages, Outbox
from consumer.duplicates import Duplicates, Window
from consumer.emf import EmbeddedMetrics, Emitter
from consumer.follow import source_of
from consumer.health import HealthServer
from consumer.in_force import InForce
from consumer.in_hand import InHand
from consumer.loop import Loop
from consumer.memory import spare_the_collector
from consumer.metrics import BROKER_TIMES_A_BATCH, WorkerMetrics
from consumer.pinned import Pinned
from consumer.quarantine import Careful, Hand, apart, without
from consumer.recall import DecisionsTopic
from consumer.records import RecordBatch
from consumer.redact import redact
from consumer.replay import Plan
from consumer.sampling import Batch
from consumer.settings import Delivery as DeliveryMode
from consumer.settings import WorkerSettings
from consumer.stopping import Stopping
from consumer.topics import BrokerUnavailableError, Cluster, Topics
from consumer.tracing import Trace, Tracing
from consumer.until import Until
from consumer.wire import bounds_of, decision_encoder, reasons_of, roles_of, sample_encoder
from models.scorer import ScorerUnavailableError
from schemas.columns import Columns, Reason
from schemas.decision import Decisions
from schemas.errors import ConfigurationError, FraudstreamError
from schemas.sources import RegistryUnavailableError

log = structlog.get_logger()

OUTAGE_PAUSE_SECONDS = 1.0
WAIT_SECONDS = 0.05
SMALL_LETTER = 4096
"""Bytes; where even letters of this size are refused, it is not the letters."""


class Scoring:
    """What a batch of transactions means: the function that the loop calls, from records to an outbox."""

    def __init__(
        self,
        in_force: InForce,
        encode: Callable[[Decisions], list[bytes]],
        settings: WorkerSettings,
        ask_topics: Callable[[], Topics],
        on_published: Callable[[RecordBatch, Verdict], None],
        clock: Callable[[], float] = time.time,
        encode_sample: Callable[[Batch], bytes] | None = None,
        replay: str | None = None,
        duplicates: Duplicates | None = None,
        quarantined: Collection[tuple[int, int]] = (),
        trace: Trace | None = None,
    ) -> None:
        self._duplicates = duplicates
        self._quarantined = quarantined
        self._in_force = in_force
        self._trace = trace
        self._replay = replay
        self._encode = encode
        self._roles = roles_of(settings)
        self._bounds = bounds_of(settings)
        self._reasons = reasons_of(settings)
        self._decisions_topic = settings.decisions_topic
        self._samples_topic = settings.samples_topic
        self._encode_sample = encode_sample
        self._ask_topics = ask_topics
        self._topics = topics = ask_topics()
        self._dead_letters = DeadLetterTopic(
            settings.dead_letters_topic, topics.dead_letters, settings.dead_letter_payload, topics.largest
        )
        self._clock = clock
        self._on_published = on_published
        self._bad_records = BadRecords(settings.bad_records_limit, settings.bad_records_share)

    @property
    def largest_record(self) -> int:
        """Bytes of the largest record that the outputs take, as far as is known."""
        return self._topics.largest

    def __call__(self, records: RecordBatch, *, with_shadows: bool = True) -> Outbox:
        """Decode, decide and encode one batch; no shadow scores it unless ``with_shadows``."""
        if records.partitions.max() >= self._topics.input:
            self._ask_again()
        begun_at = time.time_ns()
        started = time.perf_counter()
        serving, shadows = self._in_force.swap(), self._in_force.shadows
        assert serving is not None, "nothing is consumed before there is a model"
        hidden = apart(records, self._quarantined)
        payloads = without(records.values, hidden)
        columns = serving.reader.read(payloads)
        columns.reason[hidden] = Reason.KILLED_THE_PROCESS
        decoded = time.perf_counter()
        begun = shadows.begin(columns, payloads) if with_shadows and columns.columns else {}
        source = Source(records.topic, records.partitions, records.offsets, self._replay, records.keys)
        now = int(self._clock() * 1000)
        verdict = decide(columns, source, self._roles, self._bounds, serving.rollout, self._reasons, now)
        decided = time.perf_counter()
        if scores := shadows.take(begun, verdict.decided):
            verdict = replace(verdict, decisions=replace(verdict.decisions, shadows=scores))
        shadowed = time.perf_counter()
        bad = np.ones(len(records), np.bool_)
        bad[verdict.decided] = False
        self._bad_records.check(records.partitions, records.offsets, bad)
        if self._duplicates is not None:
            verdict = self._duplicates.mark(records, verdict)
        marked = time.perf_counter()
        dead = letters(records, verdict.undecodable, verdict.rejected, self._dead_letters)
        messages = list(self._messages(records, verdict))
        encoded = time.perf_counter()
        messages += self._samples(records, columns, verdict, replace(serving.rollout, arms=verdict.arms))
        seconds = {
            "decode": decoded - started,
            "decide": decided - decoded,
            "shadow": shadowed - decided,
            "encode": encoded - marked,
            "sample": time.perf_counter() - encoded,
        }
        if self._duplicates is not None:
            seconds["duplicates"] = marked - shadowed
        trace = None if self._trace is None else partial(self._trace, records, begun_at, seconds)
        on_published = partial(self._note_published, records, verdict, trace)
        return Outbox(messages, dead, on_published, self._shrink, seconds)

    def _note_published(self, records: RecordBatch, verdict: Verdict, trace: Callable[[int], None] | None) -> None:
        self._on_published(records, verdict)
        if trace is not None:
            trace(len(records) - len(verdict.decided))

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

    def _samples(
        self, records: RecordBatch, columns: Columns, verdict: Verdict, rollout: Rollout
    ) -> Iterator[Messages]:
        if self._encode_sample is not None:
            time_of_first = int(records.broker_times(1)[0])
            batch = Batch(records.values, records.partitions, records.offsets, columns, verdict, rollout, time_of_first)
            # All workers write to one partition: it gives the monitor one order, and so one result.
            yield Messages(self._samples_topic, 0, [{"value": self._encode_sample(batch), "key": None}])

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
    """One process, one slot: everything between the settings and the loop; with a ``plan`` only what that replays.

    With a ``hand`` it tells its parent what it has in hand, and processes with care what that suspects.
    """

    def __init__(
        self, settings: WorkerSettings, stopping: Stopping, plan: Plan | None = None, hand: Hand | None = None
    ) -> None:
        """Check everything that can be checked before anything is consumed. Raises ConfigurationError."""
        self.settings = settings
        self._registry = CollectorRegistry()
        self.metrics = WorkerMetrics(self._registry)
        self._source = source_of(settings, self.metrics) if plan is None else Pinned(settings, plan.decider)
        self._in_force = InForce(lambda: self._source.serving, settings.shadow_budget_seconds, self.metrics)
        self._tracing = (
            None
            if settings.otlp_endpoint is None
            else Tracing(settings.otlp_endpoint, settings.group, settings.slot_id)
        )
        cluster = Cluster(settings)
        cluster.check_rights()
        duplicates = None if plan is not None else _duplicates(settings, cluster)
        scoring = Scoring(
            self._in_force,
            decision_encoder(settings),
            settings,
            cluster.topics,
            self._observe,
            replay=None if plan is None else plan.name,
            encode_sample=sample_encoder(settings),
            duplicates=duplicates,
            quarantined=() if hand is None else hand.suspects.quarantined,
            trace=None if self._tracing is None else self._tracing.trace,
        )
        make_producer = producer_maker(settings, scoring.largest_record)
        delivery: Delivery = (
            ExactlyOnce(make_producer, settings.slot_id)
            if settings.delivery is DeliveryMode.EXACTLY_ONCE
            else AtLeastOnce(make_producer, settings.slot_id)
        )
        self._delivery = delivery
        self._loop = Loop(
            partial(
                make_consumer,
                settings,
                lambda text: self.metrics.observe_statistics(text, settings.input_topic),
                tells_ends=plan is not None,
            ),
            delivery,
            scoring
            if hand is None
            else Careful(scoring, partial(scoring, with_shadows=False), InHand(hand.memory), hand.suspects),
            topic=settings.input_topic,
            batch_size=settings.batch_size,
            poll_seconds=settings.poll_seconds,
            start=settings.start,
            until=None if plan is None else Until(plan.stops),
            moved=lambda partitions: None if duplicates is None else duplicates.forget(partitions),
            observe=self.metrics.observe_times,
        )
        self._beat = time.monotonic()
        self._stopping = stopping
        self._plan = plan
        self._columnar = True
        self._halted = False
        self.metrics.slot.labels(redact(settings.slot_id)).set(1)
        self.metrics.ready.set_function(self._is_ready)
        self.metrics.loop_age.set_function(lambda: time.monotonic() - self._beat)
        self._held: str | None = None

    def run(self) -> None:
        """Score until SIGTERM or SIGINT; the batch in hand is committed or abandoned whole."""
        server = HealthServer(
            self.settings.metrics_host,
            self.settings.metrics_port and self.settings.metrics_port + self.settings.slot,
            self._registry,
            alive=lambda: time.monotonic() - self._beat < 120,
            ready=self._is_ready,
        )
        emitter = self._emitter()
        try:
            log.info("started", slot=self.settings.slot_id, metrics_port=server.port)
            self._source.start()
            self._wait_for_a_model()
            if not self._stopping.requested:
                self._loop.open()
                spare_the_collector()
                self._run_until_stopped()
        finally:
            self._source.close()
            self._loop.close()
            for teller in (self._tracing, emitter):
                if teller is not None:
                    teller.close()
            server.close()
            log.info("stopped", slot=self.settings.slot_id)

    def _emitter(self) -> Emitter | None:
        if not self.settings.emf_seconds:
            return None
        dimensions = {"group": redact(self.settings.installation), "slot": redact(self.settings.slot_id)}
        metrics = EmbeddedMetrics(self._registry, dimensions)
        return Emitter(metrics, self.settings.emf_seconds, _write_line)

    def _is_ready(self) -> bool:
        return bool(self._loop.assigned - self._loop.stopped) and not self._halted and not self._stopping.requested

    def _wait_for_a_model(self) -> None:
        """Join no group before there is something to decide with: the partitions are better off with the others."""
        while self._in_force.swap() is None and not self._stopping.requested:
            if self._source.refusal is not None:
                raise self._source.refusal
            self._beat = time.monotonic()
            time.sleep(WAIT_SECONDS)

    def _run_until_stopped(self) -> None:
        while not self._stopping.requested:
            self._beat = time.monotonic()
            try:
                if self._loop.run_once() or not self._loop.assigned:
                    self._halted, self._held = False, None
                    self.metrics.held.set(0)
            except TooManyBadRecordsError as error:
                self._halt(error)
            except (RegistryUnavailableError, BrokerUnavailableError) as error:
                self._hold(error, OUTAGE_PAUSE_SECONDS)
            except ScorerUnavailableError as error:
                self._hold(error, error.again_in or OUTAGE_PAUSE_SECONDS)
            if self._plan is not None and self._loop.stopped:
                raise ConfigurationError(
                    f"replay {self._plan.name}: records of partition {min(self._loop.stopped)} were deleted before "
                    "they were decided again; begin one of another name"
                )
            self._observe_loop()

    def _hold(self, error: FraudstreamError, seconds: float) -> None:
        """Keep the place and ask again soon: it is not the fault of the records."""
        if str(error) != self._held:  # once: an outage may take hours
            self._held = str(error)
            log.warning("unavailable", reason=self._held)
        self.metrics.held.set(1)
        self._observe_loop()  # while it lasts: afterwards a breaker is ready for its probe
        self._loop.hold(min(seconds, OUTAGE_PAUSE_SECONDS))

    def _halt(self, error: TooManyBadRecordsError) -> None:
        """Keep the place and try again: a schema that is registered late mends it, or a start with other settings."""
        if not self._halted:
            log.error("halted", reason=str(error))
        self._halted = True
        self._loop.rewind()
        time.sleep(OUTAGE_PAUSE_SECONDS)

    def _observe(self, records: RecordBatch, verdict: Verdict) -> None:
        now = time.time() * 1000
        self.metrics.observe_verdict(verdict)
        self.metrics.event_latency.observe((now - verdict.decisions.event_time) / 1000)
        self.metrics.broker_latency.observe((now - records.broker_times(BROKER_TIMES_A_BATCH)) / 1000)
        self.metrics.observe_decided(records.last_times())

    def _observe_loop(self) -> None:
        self.metrics.assigned.set(len(self._loop.assigned))
        self.metrics.halted.set(self._halted)
        self.metrics.stopped.set(len(self._loop.stopped))
        self.metrics.observe_loop(
            rebalances=self._loop.rebalances,
            rewinds=self._loop.rewinds,
            replacements=self._delivery.replacements,
            fences=self._delivery.fences.total,
        )
        serving = self._in_force.swap()
        if self._columnar and serving is not None and not serving.reader.columnar:
            self._columnar = False
            log.warning("nested_schema", reason="nested fields are walked row by row, at the speed of Python")
        self.metrics.columnar.set(self._columnar)
        if serving is not None:
            self.metrics.observe_breakers(serving)


def _write_line(line: str) -> None:
    # In one call: another thread's output must not come between.
    sys.stdout.write(line)
    sys.stdout.flush()


def _duplicates(settings: WorkerSettings, cluster: Cluster) -> Duplicates | None:
    """What remembers the ids; None where the settings ask for no window."""
    if not settings.duplicate_window_seconds:
        return None
    window = Window(int(settings.duplicate_window_seconds * 1000), settings.duplicate_window_records)
    return Duplicates(window, DecisionsTopic(settings, cluster).recall)
