"""A monitor says of itself what is true: that it judges, what it has found last, and nothing once another one reads."""

from contextlib import closing
from types import SimpleNamespace

import pytest
from confluent_kafka import Producer
from mock_cluster import running_mock_cluster
from sampled import baseline, batches, events, record
from worker_stream import wait_until

from consumer.settings import Delivery, WorkerSettings
from drift.baseline_file import to_bytes
from drift.run import DriftMonitor
from drift.windows import SCALES
from schemas.feature_sample import encode

EVENTS = events(2_400, minutes=240, partitions=1)
VALUES = [encode(record(EVENTS, rows, rate=1.0)) for rows in batches(EVENTS)]
SAMPLES = "fraud.feature-samples"


@pytest.fixture
def settings(tmp_path):
    """Those of a monitor of a cluster that holds samples of a stream."""
    (tmp_path / "baseline.npz").write_bytes(to_bytes(baseline(scales=SCALES)))
    with running_mock_cluster() as cluster:
        for name in ("transactions", SAMPLES, "fraud.drift", "fraud.retrain-requests"):
            cluster.create_topic(name)
        producer = Producer({"bootstrap.servers": cluster.bootstrap_servers})
        for value in VALUES:
            producer.produce(SAMPLES, value, partition=0)
        producer.flush(10)
        yield WorkerSettings(
            bootstrap_servers=cluster.bootstrap_servers,
            delivery=Delivery.AT_LEAST_ONCE,
            drift_baselines=[tmp_path / "baseline.npz"],
            drift_metrics_port=0,
        )


def gauge(monitor, name, **labels):
    return monitor._registry.get_sample_value(f"fraudstream_drift_{name}", labels)


def series(monitor, name):
    """How many there are of a gauge."""
    name = f"fraudstream_drift_{name}"
    return sum(sample.name == name for metric in monitor._registry.collect() for sample in metric.samples)


def look_until(monitor, condition):
    wait_until(lambda: monitor._look() or condition())


def test_a_monitor_that_lost_its_partition_tells_no_more_of_what_it_found(settings):
    monitor = DriftMonitor(settings, SimpleNamespace(requested=False))
    with closing(monitor._loop):
        monitor._loop.open()
        look_until(monitor, lambda: series(monitor, "window_severity") and series(monitor, "unjudged"))
        assert gauge(monitor, "active") == 1

        monitor._loop._lose({0})
        monitor._look()

    assert gauge(monitor, "active") == 0
    assert series(monitor, "window_severity") == 0
    assert series(monitor, "unjudged") == 0
