"""A monitor says of itself what is true: that it judges, what it has found last, and nothing once another one reads."""

import threading
from contextlib import closing, contextmanager
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
from models.store import StoreUnavailableError
from schemas.feature_sample import encode

EVENTS = events(2_400, minutes=240, partitions=1)
BASELINES = {version: baseline(version, scales=SCALES) for version in ("7", "8")}
VALUES = [encode(record(EVENTS, rows, rate=1.0)) for rows in batches(EVENTS, 2)]
"""So many that a monitor which begins anew reads several batches before a window is due."""
HALF = len(VALUES) // 2
SAMPLES = "fraud.feature-samples"


def publish(bootstrap_servers, values):
    producer = Producer({"bootstrap.servers": bootstrap_servers})
    for value in values:
        producer.produce(SAMPLES, value, partition=0)
    producer.flush(10)


@pytest.fixture
def settings(tmp_path):
    """Those of a monitor of a cluster that holds samples of a stream."""
    (tmp_path / "baseline.npz").write_bytes(to_bytes(BASELINES["7"]))
    with running_mock_cluster() as cluster:
        for name in ("transactions", SAMPLES, "fraud.drift", "fraud.retrain-requests"):
            cluster.create_topic(name)
        publish(cluster.bootstrap_servers, VALUES[:HALF])
        yield WorkerSettings(
            bootstrap_servers=cluster.bootstrap_servers,
            delivery=Delivery.AT_LEAST_ONCE,
            drift_baselines=[tmp_path / "baseline.npz"],
            drift_metrics_port=0,
        )


class Store:
    """The baselines of a store that may be away; it notes of what they are kept."""

    def __init__(self):
        self.away = False
        self.failed = 0
        self.kept = []

    def __call__(self, watched):
        if self.away:
            self.failed += 1
            raise StoreUnavailableError("injected")
        return BASELINES[watched.version]

    def keep(self, watched):
        self.kept.append({each.version for each in watched})


@pytest.fixture
def store(monkeypatch):
    store = Store()
    monkeypatch.setattr("drift.run.baselines_of", lambda settings: store)
    monkeypatch.setattr("drift.run.OUTAGE_PAUSE_SECONDS", 0.05)
    return store


@contextmanager
def running(settings):
    stopping = SimpleNamespace(requested=False)
    monitor = DriftMonitor(settings, stopping)
    thread = threading.Thread(target=monitor.run)
    thread.start()
    try:
        yield monitor
    finally:
        stopping.requested = True
        thread.join(20)


def gauge(monitor, name):
    return monitor._registry.get_sample_value(f"fraudstream_drift_{name}")


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


def test_baselines_are_kept_of_what_is_watched(settings, store):
    with running(settings):
        wait_until(lambda: store.kept)

    assert all(kept == {"7", "8"} for kept in store.kept)


def test_while_the_store_is_away_a_monitor_that_cannot_judge_is_not_active(settings, store):
    with running(settings) as monitor:
        wait_until(lambda: gauge(monitor, "active") and series(monitor, "window_severity"))
        store.away = True
        publish(settings.bootstrap_servers, VALUES[HALF:])
        wait_until(lambda: store.failed)
        wait_until(lambda: gauge(monitor, "active") == 0)
        seen = set()
        wait_until(lambda: seen.add(gauge(monitor, "active")) or store.failed > 5)
        assert seen == {0}

        store.away = False
        wait_until(lambda: gauge(monitor, "active") == 1)
