"""What CloudWatch is told adds up to what Prometheus is told, and keeps to the format's limits."""

import json

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from consumer.emf import EmbeddedMetrics, Emitter
from consumer.metrics import WorkerMetrics

OWN = {"group": "a.dev.g", "slot": "a.dev.g.0"}


@pytest.fixture
def registry():
    return CollectorRegistry()


@pytest.fixture
def metrics(registry):
    return WorkerMetrics(registry)


def test_a_line_names_its_metrics_with_units_for_the_group_and_for_the_slot(registry, metrics):
    told = json.loads(EmbeddedMetrics(registry, OWN).line(now=1_700_000_000.5))

    assert told["_aws"]["Timestamp"] == 1_700_000_000_500
    (directive,) = told["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "fraudstream"
    assert directive["Dimensions"] == [["group"], ["group", "slot"]]
    assert {name: told[name] for name in OWN} == OWN
    named = {metric["Name"] for metric in directive["Metrics"]}
    assert named == set(told) - {"_aws", *OWN}
    assert len(named) <= 100, "the most that a directive may have"
    assert {metric["Unit"] for metric in directive["Metrics"]} <= {"Count", "Seconds", "None"}


def test_a_counter_is_told_as_what_was_added_since_the_line_before(registry, metrics):
    lines = EmbeddedMetrics(registry, OWN)
    metrics.records.inc(5)
    metrics.dead_letters.labels("decode", "UNKNOWN_SCHEMA").inc(1)
    metrics.dead_letters.labels("validate", "OUT_OF_RANGE").inc(2)
    first = json.loads(lines.line(0))
    metrics.records.inc(2)

    second = json.loads(lines.line(60))

    assert (first["fraudstream_records_total"], first["fraudstream_dead_letters_total"]) == (5, 3)
    assert (second["fraudstream_records_total"], second["fraudstream_dead_letters_total"]) == (2, 0)


def test_the_worst_partition_speaks_for_the_age_and_all_for_the_number(registry, metrics):
    for partition, records in (("0", 3), ("1", 4)):
        metrics.lag.labels(partition).set(records)
        metrics.lag_seconds.labels(partition).set(10 * records)

    told = json.loads(EmbeddedMetrics(registry, OWN).line(0))

    assert (told["fraudstream_lag_records"], told["fraudstream_lag_seconds"]) == (7, 40)


def test_latencies_are_values_with_counts_since_the_line_before(registry, metrics):
    lines = EmbeddedMetrics(registry, OWN)
    metrics.broker_latency.observe(np.array([0.004, 0.004, 0.3, 1000.0]))
    first = json.loads(lines.line(0))["fraudstream_broker_latency_seconds"]
    metrics.broker_latency.observe(np.array([0.3]))

    second = json.loads(lines.line(60))["fraudstream_broker_latency_seconds"]

    assert first == {"Values": [0.005, 0.5, 60.0], "Counts": [2, 1, 1]}
    assert second == {"Values": [0.5], "Counts": [1]}
    assert "fraudstream_broker_latency_seconds" not in json.loads(lines.line(120))


def test_what_was_not_told_yet_is_told_at_the_end(registry, metrics):
    written = []
    emitter = Emitter(EmbeddedMetrics(registry, OWN), 3600, written.append)
    metrics.records.inc(5)

    emitter.close()

    (line,) = written
    assert line.endswith("}\n")
    assert json.loads(line)["fraudstream_records_total"] == 5


def test_an_output_that_nobody_reads_ends_nothing(registry, metrics, capsys):
    def broken(_line):
        raise BrokenPipeError(32, "Broken pipe")

    Emitter(EmbeddedMetrics(registry, OWN), 3600, broken).close()

    assert "metrics_not_written" in capsys.readouterr().out
