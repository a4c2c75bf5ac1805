"""A decision on a real Kafka is found by its id alone, and explained by the model that decided."""

import io
import json
import os
import subprocess
import sys
import uuid

import fastavro
import pytest
from confluent_kafka import Consumer, Producer

from models.artifact import read_directory
from models.folder import FolderStore
from models.registry import Registry
from models.train import TrainingSettings, train_to
from producer import sample_path
from schemas.dataset import read_dataset
from schemas.decision import decision_id
from schemas.load import load as load_schema

PREFIX = b"\0\0\0\0\1"
COUNT = 400
TRANSACTION = fastavro.parse_schema(load_schema("transaction"))
DECISION = fastavro.parse_schema(load_schema("decision"))


@pytest.fixture(scope="module")
def sample():
    return read_dataset(sample_path())


@pytest.fixture(scope="module")
def models(sample, tmp_path_factory):
    """Two models that differ in their seed."""
    out = tmp_path_factory.mktemp("models")
    for seed in (7, 8):
        train_to(out / str(seed), sample, TrainingSettings(seed=seed, rounds=20))
    return out / "7", out / "8"


def transactions(sample):
    """The last transactions of the sample and some frauds among them, as (key, value)."""
    frauds = sample.frame[sample.frame["is_fraud"]].tail(20)
    for number, row in enumerate([*frauds.to_dict("records"), *sample.frame.tail(COUNT - 20).to_dict("records")]):
        record = row | {
            "transaction_id": f"tx-{number}",
            "card_id": f"card-{number % 50}",
            "event_time": 1_700_000_000_000 + number,
        }
        stream = io.BytesIO(PREFIX)
        stream.seek(len(PREFIX))
        fastavro.schemaless_writer(stream, TRANSACTION, record)
        yield record["card_id"].encode(), stream.getvalue()


@pytest.fixture(scope="module")
def decided(kafka, sample, models):
    """Topics with transactions and the decisions that a worker made of them: the options to find them, the records."""
    topics = [kafka.create_topic(f"explain-{uuid.uuid4().hex[:8]}", partitions=3) for _ in range(3)]
    options = [
        *("--bootstrap-servers", kafka.bootstrap_servers, "--input-topic", topics[0]),
        *("--decisions-topic", topics[1], "--dead-letters-topic", topics[2]),
    ]
    publisher = Producer({"bootstrap.servers": kafka.bootstrap_servers, "partitioner": "murmur2_random"})
    for key, value in transactions(sample):
        publisher.produce(topics[0], value, key)
    assert publisher.flush(30) == 0
    command = [sys.executable, "-m", "fraudstream", "score", "--model", models[0], *options, "--metrics-port", "0"]
    command += ["--sample-rate", "0"]
    worker = subprocess.Popen([*command, "--group", topics[0], "--batch-size", "50"], stderr=subprocess.DEVNULL)
    try:
        records = read(kafka.bootstrap_servers, topics[1])
    finally:
        worker.terminate()
        worker.wait(20)
    return options, topics, records


def read(bootstrap_servers, topic):
    group = {"group.id": uuid.uuid4().hex, "auto.offset.reset": "earliest", "isolation.level": "read_committed"}
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "enable.auto.commit": False} | group)
    consumer.subscribe([topic])
    records = []
    for _ in range(120):
        for message in consumer.consume(COUNT, 0.5):
            assert message.error() is None
            records.append(fastavro.schemaless_reader(io.BytesIO(message.value()[5:]), DECISION, None))
        if len(records) >= COUNT:
            break
    consumer.close()
    assert len(records) == COUNT
    return records


def explain(options, *words):
    command = [sys.executable, "-m", "fraudstream", "explain", *options, *map(str, words)]
    environment = os.environ | {"COLUMNS": "140"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)


def test_a_decision_is_found_by_its_id_and_its_reasons_are_the_largest_shares(decided, models, tmp_path):
    options, _, records = decided
    record = next(r for r in reversed(records) if r["decision"] != "approve")
    identity = uuid.UUID(bytes=record["decision_id"])

    done = explain(options, "--model", models[0], "--decision", identity, "--json", "--html", tmp_path / "why.html")

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["score"] == pytest.approx(record["score"], abs=1e-9)
    assert told["decision"] == record["decision"]
    assert told["sha256"] == record["model"]["sha256"].hex()
    toward = sorted((s for s in told["shares"] if s["contribution"] > 0), key=lambda s: -s["contribution"])
    assert [(r["feature"], pytest.approx(r["contribution"], abs=1e-9)) for r in record["reason_codes"]] == [
        (s["code"], s["contribution"]) for s in toward[:3]
    ]
    assert record["transaction_id"] in told["facts"]["transaction"]
    assert str(identity) in (tmp_path / "why.html").read_text()


def test_without_a_model_the_one_that_decided_is_taken_from_the_store(decided, models, tmp_path):
    options, _, records = decided
    Registry(FolderStore(tmp_path / "store")).publish(read_directory(models[0]))
    identity = uuid.UUID(bytes=records[-1]["decision_id"])

    done = explain(options, "--store", tmp_path / "store", "--decision", identity, "--json")

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["sha256"] == records[-1]["model"]["sha256"].hex()


def test_another_model_than_that_of_the_decision_is_said(decided, models):
    options, _, records = decided
    identity = uuid.UUID(bytes=records[-1]["decision_id"])

    done = explain(options, "--model", models[1], "--decision", identity)

    assert done.returncode == 1
    assert "it was decided by card-fraud" in done.stderr
    assert records[-1]["model"]["sha256"].hex()[:12] in done.stderr
    assert "score" in done.stdout


def test_an_id_that_points_at_nothing_is_told_in_one_sentence(decided, models):
    options, topics, _ = decided
    never_written, elsewhere = decision_id(topics[0], 0, 10_000_000), decision_id("another topic", 0, 0)

    ended = explain(options, "--model", models[0], "--decision", never_written)
    unknown = explain(options, "--model", models[0], "--decision", elsewhere)

    assert (ended.returncode, unknown.returncode) == (1, 1)
    assert "was never written" in ended.stderr
    assert f"holds no decision {elsewhere}" in unknown.stderr
    assert "Traceback" not in ended.stderr + unknown.stderr
