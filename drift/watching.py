"""What a batch of samples means to the monitor: records in, reports and the place of a successor out."""

import time
from collections.abc import Callable, Sequence
from functools import partial

import structlog
from confluent_kafka import Consumer, KafkaException, TopicPartition

from consumer.delivery import Messages, Outbox
from consumer.records import RecordBatch
from consumer.settings import WorkerSettings
from consumer.topics import BrokerUnavailableError
from drift.metrics import MonitorMetrics
from drift.monitor import Monitor
from drift.place import Memo, Trail, read_memo
from drift.report import DriftReport
from drift.retrain import Requests, encode, key_of
from drift.windows import Watched
from drift.wire import to_value
from schemas.errors import InvalidRecordError
from schemas.feature_sample import MINUTE_MS, FeatureSample, decode

log = structlog.get_logger()

ANSWER_SECONDS = 10.0
PARTITION = 0
"""The one that workers write to, see ``Scoring``."""


class Watching:
    """The function that the loop calls. It remembers what it has read since it was last told to begin somewhere.

    ``member`` gives the consumer that reads, as of now; ``monitor_since`` makes a monitor that tells no window which
    begins before a time.
    """

    def __init__(
        self,
        member: Callable[[], Consumer],
        settings: WorkerSettings,
        monitor_since: Callable[[int, int], Monitor],
        metrics: MonitorMetrics,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._member = member
        self._place = TopicPartition(settings.samples_topic, PARTITION)
        self._drift_topic = settings.drift_topic
        self._retrain_topic = settings.retrain_topic
        self._monitor_since = monitor_since
        self._metrics = metrics
        self._clock = clock
        self._monitor: Monitor | None = None
        self.last = -1
        """The offset that was read last."""

    def __call__(self, records: RecordBatch) -> Outbox:
        """Take in a batch. Reading that goes back, as after a failed commit, starts anew from what is committed."""
        now, offsets = self._now(), records.offsets.tolist()
        samples = [self._decoded(value) for value in records.values]
        if self._monitor is None or offsets[0] <= self.last:
            self._begin(samples, now)
        self.last = offsets[-1]
        for offset, sample in zip(offsets, samples, strict=True):
            if sample is not None:
                self._take(offset, sample, now)
        return self._outbox(self._due(now), now)

    @property
    def watched(self) -> set[Watched]:
        """What the open windows are about; nothing before there are any."""
        return set() if self._monitor is None else self._monitor.windows.watched

    def caught_up(self) -> None:
        """All that there is to read has been read."""
        if self._monitor is not None:
            self._monitor.caught_up()

    def pass_time(self) -> Outbox | None:
        """What is due now although nothing came; None where nothing is."""
        now = self._now()
        reports = [] if self._monitor is None else list(self._monitor.due(now))
        return self._outbox(reports, now) if reports else None

    def forget(self) -> None:
        """What was read is to be read again, or by another monitor."""
        self._monitor = None

    def _begin(self, samples: Sequence[FeatureSample | None], now: int) -> None:
        member = self._member()
        try:
            (committed,) = member.committed([self._place], timeout=ANSWER_SECONDS)
            low, _ = member.get_watermark_offsets(self._place, timeout=ANSWER_SECONDS)
        except KafkaException as error:
            raise BrokerUnavailableError(f"samples_topic: {error.args[0].str()}") from error
        memo = read_memo(committed.metadata)
        if memo is None or low > committed.offset:
            # What came before was never sampled, or is deleted: windows that begin there would be told in part.
            first = next((sample for sample in samples if sample is not None), None)
            memo = Memo(_newest(first) + MINUTE_MS, {} if memo is None else memo.requested)
        self._monitor = self._monitor_since(memo.since, now)
        self._requests, self._trail, self._looked = Requests(memo.requested), Trail(), -1
        log.info("rebuilding", offset=committed.offset, since=memo.since)

    def _decoded(self, value: bytes | None) -> FeatureSample | None:
        try:
            return decode(value)
        except InvalidRecordError as error:
            self._skip(error)
            return None

    def _take(self, offset: int, sample: FeatureSample, now: int) -> None:
        assert self._monitor is not None
        try:
            self._monitor.take(sample, now)
        except InvalidRecordError as error:
            self._skip(error)
        else:
            self._trail.note(offset, _newest(sample))
            self._metrics.samples.inc()

    def _skip(self, error: InvalidRecordError) -> None:
        self._metrics.unreadable.inc()
        log.warning("unreadable_sample", reason=str(error))

    def _due(self, now: int) -> list[DriftReport]:
        """What is due, if the watermark has come to another minute: a late event changes 24 windows of a day."""
        assert self._monitor is not None
        minute = (self._monitor.windows.watermark.at(now) or 0) // MINUTE_MS
        if minute == self._looked:
            return []
        self._looked = minute
        return list(self._monitor.due(now))

    def _outbox(self, reports: list[DriftReport], now: int) -> Outbox:
        requests = [report for report in reports if self._requests.due(report)]
        messages = []
        if reports:
            told = [{"key": report.key, "value": to_value(report)} for report in reports]
            messages.append(Messages(self._drift_topic, -1, told))
        if requests:
            asked = [{"key": key_of(report), "value": encode(report)} for report in requests]
            messages.append(Messages(self._retrain_topic, -1, asked))
        on_published = partial(self._published, reports, requests)
        return Outbox(messages, on_published=on_published, offsets=[self._successor(now)])

    def _successor(self, now: int) -> TopicPartition:
        assert self._monitor is not None
        since = self._monitor.rebuild_from(now)
        memo = Memo(since, self._requests.made)
        offset = self._trail.begin(since, self.last + 1)
        return TopicPartition(self._place.topic, PARTITION, offset, memo.to_text())

    def _published(self, reports: Sequence[DriftReport], requests: Sequence[DriftReport]) -> None:
        self._metrics.observe(reports)
        self._metrics.requests.inc(len(requests))
        for report in requests:
            log.warning(
                "retraining_requested", report=report.key.decode(), why=[test.subject for test in report.alarms]
            )
        if self._monitor is not None:
            windows = self._monitor.windows
            self._metrics.observe_stream(windows.untimely, windows.watermark.at(self._now()), self._monitor.unjudged)

    def _now(self) -> int:
        return int(self._clock() * 1000)


def _newest(sample: FeatureSample | None) -> int:
    """The latest minute (ms) that a sample tells of, no later than itself; 0 where it tells of none."""
    if sample is None or not len(sample.cells):
        return 0
    return min(int(sample.cells["minute"].max()), sample.sampled_at // MINUTE_MS) * MINUTE_MS
