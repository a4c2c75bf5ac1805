"""What a worker tells about itself adds up, and the probes tell the truth."""

import json
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, Histogram

from consumer.health import HealthServer
from consumer.metrics import BatchHistogram, WorkerMetrics
from schemas.errors import ConfigurationError


@pytest.fixture
def registry():
    return CollectorRegistry()


def test_a_batch_histogram_counts_as_prometheus_does(registry):
    edges = (0.1, 0.5, 1.0)
    values = np.array([0.05, 0.1, 0.100001, 0.5, 0.9, 1.0, 7.0])
    ours = BatchHistogram("ours", "Ours.", edges, registry)
    theirs = Histogram("theirs", "Theirs.", buckets=edges, registry=registry)

    ours.observe(values[:3])
    ours.observe(values[3:])
    for value in values:
        theirs.observe(value)

    for edge in ("0.1", "0.5", "1.0", "+Inf"):
        ours_there = registry.get_sample_value("ours_bucket", {"le": edge})
        assert ours_there == registry.get_sample_value("theirs_bucket", {"le": edge})
    assert registry.get_sample_value("ours_sum") == pytest.approx(registry.get_sample_value("theirs_sum"))
    assert registry.get_sample_value("ours_count") == len(values)


def test_lag_is_counted_against_the_last_stable_offset(registry):
    partition = {"fetch_state": "active", "ls_offset": 90, "hi_offset": 100, "lo_offset": 0}
    statistics = {
        "topics": {
            "in": {
                "partitions": {
                    "0": partition | {"app_offset": 40, "committed_offset": 30},
                    "1": partition | {"app_offset": -1001, "committed_offset": -1001},
                    "-1": partition | {"fetch_state": "none", "app_offset": 0, "committed_offset": 0},
                }
            }
        }
    }

    WorkerMetrics(registry).observe_statistics(json.dumps(statistics), "in")

    assert registry.get_sample_value("fraudstream_lag_records", {"partition": "0"}) == 50
    assert registry.get_sample_value("fraudstream_lag_records", {"partition": "1"}) == 90
    assert registry.get_sample_value("fraudstream_lag_records", {"partition": "-1"}) is None


def test_partitions_of_the_input_are_counted_whoever_owns_them(registry):
    mine = {"fetch_state": "active", "ls_offset": -1}
    others = {"fetch_state": "none"}
    partitions = {"0": mine, "1": others, "2": others, "-1": others}

    WorkerMetrics(registry).observe_statistics(json.dumps({"topics": {"in": {"partitions": partitions}}}), "in")

    assert registry.get_sample_value("fraudstream_input_partitions") == 3


def test_a_partition_that_went_away_has_no_lag_any_more(registry):
    metrics = WorkerMetrics(registry)
    partition = {"ls_offset": 90, "hi_offset": 100, "lo_offset": 0, "app_offset": 40, "committed_offset": 30}

    def tell(*states):
        partitions = {str(number): partition | {"fetch_state": state} for number, state in enumerate(states)}
        metrics.observe_statistics(json.dumps({"topics": {"in": {"partitions": partitions}}}), "in")

    tell("active", "active")
    tell("none", "active")

    assert registry.get_sample_value("fraudstream_lag_records", {"partition": "0"}) is None
    assert registry.get_sample_value("fraudstream_lag_records", {"partition": "1"}) == 50
    tell("none", "none")
    assert registry.get_sample_value("fraudstream_lag_records", {"partition": "1"}) is None


def get(port, path):
    with urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
        return answer.status, answer.read().decode()


def test_the_probes_answer_for_the_worker(registry):
    state = {"ready": False}
    server = HealthServer("127.0.0.1", 0, registry, alive=lambda: True, ready=lambda: state["ready"])
    try:
        assert get(server.port, "/livez") == (200, "ok\n")
        with pytest.raises(HTTPError, match="503") as refused:
            get(server.port, "/readyz")
        refused.value.close()
        state["ready"] = True
        assert get(server.port, "/readyz") == (200, "ok\n")
    finally:
        server.close()


def test_metrics_are_served_for_prometheus(registry):
    WorkerMetrics(registry)
    server = HealthServer("127.0.0.1", 0, registry, alive=lambda: True, ready=lambda: True)
    try:
        _, text = get(server.port, "/metrics")
    finally:
        server.close()

    assert 'fraudstream_outcomes_total{outcome="decline"} 0.0' in text
    assert 'fraudstream_event_latency_seconds_bucket{le="+Inf"} 0' in text


def test_a_port_that_is_none_is_named(registry):
    with pytest.raises(ConfigurationError, match=r"metrics_port: cannot listen on 127\.0\.0\.1:70000"):
        HealthServer("127.0.0.1", 70_000, registry, alive=lambda: True, ready=lambda: True)


def test_a_port_that_is_taken_is_named(registry):
    server = HealthServer("127.0.0.1", 0, registry, alive=lambda: True, ready=lambda: True)
    try:
        with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1:{server.port}"):
            HealthServer("127.0.0.1", server.port, registry, alive=lambda: True, ready=lambda: True)
    finally:
        server.close()


def statistics(**partition):
    known = {"fetch_state": "active", "lo_offset": 0, "committed_offset": 0} | partition
    return json.dumps({"topics": {"in": {"partitions": {"0": known}}}})


def test_lag_in_seconds_grows_while_nothing_is_decided(registry):
    now = [1000.0]
    metrics = WorkerMetrics(registry, clock=lambda: now[0])
    metrics.observe_decided({0: 980.0})
    metrics.observe_statistics(statistics(ls_offset=90, app_offset=40), "in")

    now[0] = 1010.0

    assert registry.get_sample_value("fraudstream_lag_seconds", {"partition": "0"}) == 30
    metrics.observe_statistics(statistics(ls_offset=90, app_offset=90), "in")
    assert registry.get_sample_value("fraudstream_lag_seconds", {"partition": "0"}) == 0
    metrics.observe_statistics(statistics(ls_offset=90, app_offset=90, fetch_state="none"), "in")
    assert registry.get_sample_value("fraudstream_lag_seconds", {"partition": "0"}) is None


def test_what_happened_since_the_start_is_counted_once(registry):
    metrics = WorkerMetrics(registry)

    for replacements in (0, 2, 2, 3):
        metrics.observe_loop(rebalances=1, rewinds=replacements, replacements=replacements, fences=1)

    assert registry.get_sample_value("fraudstream_producer_replacements_total") == 3
    assert registry.get_sample_value("fraudstream_rewinds_total") == 3
    assert registry.get_sample_value("fraudstream_rebalances_total") == 1
    assert registry.get_sample_value("fraudstream_producer_fences_total") == 1
