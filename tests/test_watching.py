"""A monitor tells only windows of which it has read everything, and after any doubt reads them again."""

from dataclasses import replace

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from prometheus_client import CollectorRegistry
from sampled import SCALES, baseline, batches, events, record

from consumer.records import RecordBatch
from consumer.settings import WorkerSettings
from consumer.topics import BrokerUnavailableError
from drift.detect import Rule
from drift.metrics import MonitorMetrics
from drift.monitor import Monitor
from drift.place import Memo, read_memo
from drift.watching import Watching
from drift.windows import DAY, HOUR, MINUTE, Timing
from drift.wire import from_value
from schemas import feature_sample

SETTINGS = WorkerSettings()
EVENTS = events(4_800, minutes=240, shift=lambda minute: 4.0 if minute > 180 else 0.0)
RECORDS = [record(EVENTS, rows, rate=1.0) for rows in batches(EVENTS)]
VALUES = [feature_sample.encode(each) for each in RECORDS]
PROMPT = Timing(lateness=0)
BASELINES = {version: baseline(version) for version in ("7", "8")}


class Group:
    """The consumer of a group that has committed ``offset`` with ``memo``; before ``low`` all is deleted."""

    def __init__(self, offset=0, memo="", low=0):
        self.place = TopicPartition(SETTINGS.samples_topic, 0, offset, memo)
        self.low = low
        self.outage = False

    def committed(self, partitions, timeout):
        if self.outage:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, "injected"))
        return [self.place]

    def get_watermark_offsets(self, partition, timeout):
        return self.low, len(VALUES)


def watching(group, timing=PROMPT):
    def monitor_since(since, now):
        rule = Rule(scales=SCALES)
        return Monitor("transactions", (0, 1), lambda watched: BASELINES[watched.version], rule, timing, since, now)

    return Watching(lambda: group, SETTINGS, monitor_since, MonitorMetrics(CollectorRegistry()), clock=lambda: 0.0)


def batch(first, end, values=VALUES):
    topic = SETTINGS.samples_topic
    return RecordBatch.of(
        topic, [Message(topic=topic, partition=0, offset=at, value=values[at]) for at in range(first, end)]
    )


def reports(outbox, topic=SETTINGS.drift_topic):
    values = [message["value"] for sent in outbox.messages if sent.topic == topic for message in sent.messages]
    return [from_value(value) for value in values] if topic == SETTINGS.drift_topic else values


def newest(sample):
    return int(sample.cells["minute"].max()) * MINUTE


def test_no_window_is_told_that_begins_before_the_first_sample():
    told = reports(watching(Group())(batch(0, len(VALUES))))

    assert told
    assert min(report.window_start for report in told) > newest(RECORDS[0])


def test_a_successor_is_told_where_to_begin_and_tells_nothing_twice_that_cannot_change():
    first = watching(Group())
    outbox = first(batch(0, len(VALUES) - 3))
    (place,) = outbox.offsets
    memo = read_memo(place.metadata)

    second = watching(Group(place.offset, place.metadata))
    told = reports(second(batch(place.offset, len(VALUES))))

    assert 0 < place.offset < len(VALUES) - 3
    assert all(newest(each) < memo.since for each in RECORDS[: place.offset])
    assert {report.key for report in told} - {report.key for report in reports(outbox)}, "and it goes on"
    assert all(report.window_start >= memo.since for report in told)


def test_reading_that_goes_back_starts_anew():
    process = watching(Group())
    told = reports(process(batch(0, len(VALUES))))

    assert reports(process(batch(0, len(VALUES)))) == told


def test_of_samples_that_were_deleted_no_window_is_told_in_part():
    since = newest(RECORDS[0])
    low = len(VALUES) // 2

    told = reports(watching(Group(3, Memo(since).to_text(), low))(batch(low, len(VALUES))))

    assert told
    assert min(report.window_start for report in told) > newest(RECORDS[low])


def test_what_is_no_sample_is_skipped_and_counted():
    process = watching(Group())
    spoilt = [b"?", None, feature_sample.encode(replace(RECORDS[0], topic="payments")), *VALUES]

    told = reports(process(batch(0, len(spoilt), spoilt)))

    assert told == reports(watching(Group())(batch(0, len(VALUES))))
    assert process._metrics.unreadable._value.get() == 3


def test_a_retraining_is_asked_for_once_also_by_a_successor():
    outbox = watching(Group())(batch(0, len(VALUES)))
    (place,) = outbox.offsets
    assert reports(outbox, SETTINGS.retrain_topic)

    again = watching(Group(0, place.metadata))(batch(0, len(VALUES)))

    assert reports(again, SETTINGS.retrain_topic) == []
    assert read_memo(place.metadata).requested


def test_late_events_change_what_was_told_when_time_passes():
    process = watching(Group(), Timing(lateness=DAY))
    late = len(VALUES) // 2
    order = [at for at in range(len(VALUES)) if at != late] + [late]
    values = [VALUES[at] for at in order]
    process(batch(0, len(values) - 1, values))
    assert process.pass_time() is None

    assert reports(process(batch(len(values) - 1, len(values), values))) == [], "the watermark stands still"
    revised = reports(process.pass_time())

    assert revised
    oldest = int(RECORDS[late].cells["minute"].min()) * MINUTE
    for report in revised:
        assert report.window_start <= newest(RECORDS[late])
        assert report.window_end > oldest


def test_a_monitor_that_gave_its_place_away_tells_nothing():
    process = watching(Group())
    process(batch(0, len(VALUES)))
    process.forget()
    process.caught_up()

    assert process.pass_time() is None


def test_brokers_that_do_not_answer_are_waited_for():
    group = Group()
    group.outage = True

    with pytest.raises(BrokerUnavailableError, match="samples_topic"):
        watching(group)(batch(0, 3))


def test_the_metrics_tell_of_the_newest_window_of_what_is_still_scored():
    process = watching(Group())
    metrics, registry = process._metrics, CollectorRegistry()
    metrics = MonitorMetrics(registry)
    told = reports(process(batch(0, len(VALUES))))

    metrics.observe(told)

    last = [report for report in told if report.watched.variant == "champion" and report.scale == "10m"][-1]
    labels = {"model": "card-fraud", "version": "7", "variant": "champion", "scale": "10m"}
    assert registry.get_sample_value("fraudstream_drift_window_end_timestamp_seconds", labels) == last.window_end / 1000
    for test in last.tests:
        of_test = labels | {"subject": test.subject, "kind": test.kind.value}
        assert registry.get_sample_value("fraudstream_drift_statistic", of_test) == test.statistic
        assert registry.get_sample_value("fraudstream_drift_threshold", of_test) == test.threshold
    severity = registry.get_sample_value("fraudstream_drift_severity", labels | {"subject": "V1"})
    assert severity == 2
    later = replace(last, watched=replace(last.watched, version="9"), window_end=last.window_end + 2 * DAY + HOUR)
    metrics.observe([later])
    assert registry.get_sample_value("fraudstream_drift_severity", labels | {"subject": "V1"}) is None
    assert registry.get_sample_value("fraudstream_drift_severity", labels | {"version": "9", "subject": "V1"}) == 2
