"""Run a monitor: read the samples of all workers, tell what has drifted, and let another go on where this one ends."""

import time

import structlog
from confluent_kafka import Consumer, KafkaError, Message
from prometheus_client import CollectorRegistry

from consumer.clients import consumer_properties, make_client, producer_maker
from consumer.delivery import AtLeastOnce, Delivery, ExactlyOnce
from consumer.health import HealthServer
from consumer.loop import Loop
from consumer.settings import Delivery as DeliveryMode
from consumer.settings import Start, WorkerSettings
from consumer.stopping import Stopping
from consumer.topics import BrokerUnavailableError, Cluster
from drift.baselines import baselines_of
from drift.metrics import MonitorMetrics
from drift.monitor import Monitor
from drift.rule import rule_of
from drift.watching import Watching
from drift.windows import Timing
from models.store import StoreUnavailableError

log = structlog.get_logger()

BATCH = 50
"""Records of the sample topic at a time: each is a batch of a worker."""

FETCHED_AHEAD_KB = 4_096
"""A monitor that begins anew reads days of samples, and need not hold them all at once."""

PACE_SECONDS = 0.5
"""Between two looks at a topic of which all is read: no alarm is that urgent, and each look is a transaction."""

OUTAGE_PAUSE_SECONDS = 1.0


class EndNoting(Consumer):
    """A consumer that notes the end of what there is to read; to others the client tells it as an error."""

    at_end = False

    def poll(self, timeout: float = -1) -> Message | None:
        """As the client's, but for the end of a partition."""
        message = super().poll(timeout)
        return message if message is not None and self._is_record(message) else None

    def consume(self, num_messages: int = 1, timeout: float = -1) -> list[Message]:
        """As the client's, but for the end of a partition."""
        return [message for message in super().consume(num_messages, timeout) if self._is_record(message)]

    def _is_record(self, message: Message) -> bool:
        error = message.error()
        self.at_end = error is not None and error.code() == KafkaError._PARTITION_EOF  # noqa: SLF001 - its only name
        return not self.at_end


class DriftMonitor:
    """One process, one slot of a group of its own; of several monitors one reads, and the others wait for it to end."""

    def __init__(self, settings: WorkerSettings, stopping: Stopping) -> None:
        """Check everything that can be checked before anything is consumed. Raises ConfigurationError."""
        self._settings = settings = own_settings(settings)
        partitions = Cluster(settings).partitions("input_topic", "samples_topic", "drift_topic", "retrain_topic")
        self._baselines = baselines_of(settings)
        rule, timing = rule_of(settings), Timing()
        self._registry = CollectorRegistry()
        self._metrics = MonitorMetrics(self._registry)
        self._watching = Watching(
            lambda: self._consumer,
            settings,
            lambda since, now: Monitor(
                settings.input_topic, range(partitions["input_topic"]), self._baselines, rule, timing, since, now
            ),
            self._metrics,
        )
        make_producer = producer_maker(settings)
        delivery: Delivery = (
            ExactlyOnce(make_producer, settings.slot_id)
            if settings.delivery is DeliveryMode.EXACTLY_ONCE
            else AtLeastOnce(make_producer, settings.slot_id)
        )
        self._loop = Loop(
            self._member,
            delivery,
            self._watching,
            topic=settings.samples_topic,
            batch_size=BATCH,
            poll_seconds=settings.poll_seconds,
            start=Start.EARLIEST,
        )
        self._behind = -1
        self._beat = time.monotonic()
        self._stopping = stopping

    def _member(self) -> Consumer:
        # Of samples that are deleted already, what is left must do; the windows that they touch are not told.
        own = {"enable.partition.eof": True, "auto.offset.reset": "earliest"}
        self._consumer = make_client(EndNoting, consumer_properties(self._settings, FETCHED_AHEAD_KB) | own)
        return self._consumer

    def run(self) -> None:
        """Watch until it is to stop."""
        server = HealthServer(
            self._settings.metrics_host,
            self._settings.drift_metrics_port and self._settings.drift_metrics_port + self._settings.slot,
            self._registry,
            alive=lambda: time.monotonic() - self._beat < 120,
            ready=lambda: not self._stopping.requested,
        )
        try:
            self._loop.open()
            log.info("started", slot=self._settings.slot_id, metrics_port=server.port)
            self._run_until_stopped()
        finally:
            self._loop.close()
            server.close()
            log.info("stopped", slot=self._settings.slot_id)

    def _run_until_stopped(self) -> None:
        while not self._stopping.requested:
            self._beat = time.monotonic()
            try:
                self._look()
            except (BrokerUnavailableError, StoreUnavailableError) as error:
                log.warning("unavailable", reason=str(error))
                self._metrics.active.set(0)
                self._loop.rewind()
                self._forget()
                time.sleep(OUTAGE_PAUSE_SECONDS)

    def _look(self) -> None:
        rewinds = self._loop.rewinds
        published = self._loop.run_once()
        if not self._loop.assigned:
            self._metrics.forget()
        if not self._loop.assigned or self._loop.rewinds > rewinds:
            self._forget()
        if self._consumer.at_end:
            self._watching.caught_up()
            time.sleep(PACE_SECONDS)
        if not published and (outbox := self._watching.pass_time()) is not None:
            self._loop.tell(outbox)
        self._metrics.active.set(self._gets_on)
        if self._gets_on:
            self._baselines.keep(self._watching.watched)

    def _forget(self) -> None:
        """What was read is to be read again."""
        self._watching.forget()
        self._behind, self._consumer.at_end = self._watching.last, False

    @property
    def _gets_on(self) -> bool:
        """Whether it has come farther than when it last had to begin anew. In an outage it comes there in vain."""
        return bool(self._loop.assigned) and (self._consumer.at_end or self._watching.last > self._behind)


def own_settings(settings: WorkerSettings) -> WorkerSettings:
    """The settings of a worker as those of the monitor: a group, and so transactional ids, of its own."""
    return settings.model_copy(update={"group": f"{settings.group}.drift"})
