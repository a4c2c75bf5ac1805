"""The worker on a real Apache Kafka: every transaction has exactly one outcome, whatever happens to the worker."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import islice
from urllib.request import urlopen

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import xgboost as xgb
from confluent_kafka import Consumer, Producer, TopicPartition
from xxhash import xxh64_intdigest

from models.routing import buckets_of
from producer import sample_path
from schemas.dataset import read_dataset
from schemas.load import load as load_schema

PREFIX = b"\0\0\0\0\1"
START = 1_380_000_000_000
TRANSACTION = fastavro.parse_schema(load_schema("transaction"))
DECISION = fastavro.parse_schema(load_schema("decision"))
FEATURES = [f"V{number}" for number in range(1, 29)]


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory):
    """A model trained on the bundled sample, as a user would."""
    out = tmp_path_factory.mktemp("trained") / "model"
    subprocess.run([sys.executable, "-m", "fraudstream", "train", "--out", out], check=True, capture_output=True)
    return out


@pytest.fixture(scope="session")
def sample():
    frame = read_dataset(sample_path()).frame
    return frame[["time", "amount", *FEATURES]].to_dict("records")


def transactions(sample, count):
    """``count`` real transactions as (key, value): the sample, again and again, with ids of their own."""
    for number in range(count):
        row = sample[number % len(sample)]
        card = f"card-{number * 7919 % 5003:05d}"
        record = row | {
            "transaction_id": f"tx-{number:08d}",
            "card_id": card,
            "event_time": START + int(row["time"] * 1000),
        }
        stream = io.BytesIO(PREFIX)
        stream.seek(len(PREFIX))
        fastavro.schemaless_writer(stream, TRANSACTION, record)
        yield card.encode(), stream.getvalue()


@dataclass
class Stream:
    """An input topic with its outputs, and the workers that serve it."""

    bootstrap: str
    name: str
    model: os.PathLike
    partitions: int
    processes: list = field(default_factory=list)
    observer: Consumer = field(init=False)

    def __post_init__(self):
        self.observer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.name})

    @property
    def input(self):
        return f"{self.name}.in"

    @property
    def decisions(self):
        return f"{self.name}.decisions"

    @property
    def dead_letters(self):
        return f"{self.name}.dead"

    def publish(self, records):
        producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "linger.ms": 20,
                "partitioner": "murmur2_random",
                "queue.buffering.max.messages": 1_000_000,
            }
        )
        count = 0
        for key, value in records:
            producer.produce(self.input, value, key)
            count += 1
            if count % 10_000 == 0:
                producer.poll(0)
        assert producer.flush(60) == 0
        return count

    def start(self, *options, slot=0):
        command = [
            *(sys.executable, "-m", "fraudstream", "score", "--log-format", "json"),
            *("--bootstrap-servers", self.bootstrap, "--group", self.name, "--model", self.model),
            *("--input-topic", self.input, "--decisions-topic", self.decisions),
            *("--dead-letters-topic", self.dead_letters, "--metrics-port", "0", "--slot", str(slot)),
            *options,
        ]
        process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
        process.log = []
        # A pipe that nobody reads fills up, and the worker would stand still.
        process.reader = threading.Thread(target=lambda: process.log.extend(process.stderr), daemon=True)
        process.reader.start()
        self.processes.append(process)
        return process

    def committed(self):
        """How many records the group has committed over all partitions."""
        partitions = [TopicPartition(self.input, number) for number in range(self.partitions)]
        return sum(max(0, partition.offset) for partition in self.observer.committed(partitions, timeout=30))

    def read(self, topic, partitions, wanted, seconds=60):
        """All records of a topic as a plain read_committed consumer sees them, until ``wanted`` have come."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": f"reader-{uuid.uuid4().hex}",
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        consumer.subscribe([topic])
        messages, ended, deadline = [], set(), time.monotonic() + seconds
        while time.monotonic() < deadline and not (len(messages) >= wanted and len(ended) == partitions):
            for message in consumer.consume(10_000, 0.2):
                if message.error():
                    ended.add(message.partition())
                else:
                    ended.discard(message.partition())
                    messages.append(message)
        consumer.close()
        return messages

    def read_decisions(self, wanted, seconds=60):
        return [(m, decode(m.value())) for m in self.read(self.decisions, self.partitions, wanted, seconds)]

    def stop(self):
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.reader.join()
            process.stderr.close()
        self.observer.close()


def decode(value):
    assert value[:5] == b"\0\0\0\0\2"
    stream = io.BytesIO(value[5:])
    record = fastavro.schemaless_reader(stream, DECISION, None)
    assert stream.read() == b""
    return record


@pytest.fixture
def stream(kafka, model_dir):
    made = Stream(kafka.bootstrap_servers, f"w-{uuid.uuid4().hex[:8]}", model_dir, partitions=4)
    for topic in (made.input, made.decisions, made.dead_letters):
        kafka.create_topic(topic, partitions=4)
    yield made
    made.stop()


def ids_of(decisions):
    return Counter(record["transaction_id"] for _, record in decisions)


def wait_until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def assert_in_order_per_key(decisions):
    seen = defaultdict(lambda: -1)
    for message, record in decisions:
        offset = record["source"]["offset"]
        assert seen[message.key()] < offset, "a card's decisions came out of order"
        seen[message.key()] = offset


def test_each_of_100_000_real_transactions_is_decided_once_as_a_row_by_row_oracle_would(stream, sample):
    count = 100_000
    records = list(transactions(sample, count))
    stream.publish(records)
    stream.start("--challenger", stream.model, "--challenger-share", "0.3")

    decisions = stream.read_decisions(count)

    assert ids_of(decisions) == Counter(f"tx-{number:08d}" for number in range(count))
    assert_in_order_per_key(decisions)
    oracle = score_row_by_row(stream.model, [value for _, value in records[: len(sample)]])
    worst = max(
        abs(record["score"] - oracle[int(record["transaction_id"][3:]) % len(sample)]) for _, record in decisions
    )
    assert worst <= 1e-6
    for message, record in decisions:
        assert message.partition() == record["source"]["partition"]
        assert message.key().decode() == record["unit"]
        policy = record["policy"]
        expected = (record["score"] >= policy["review_at"]) + (record["score"] >= policy["decline_at"])
        assert record["decision"] == ("approve", "review", "decline")[expected]
        assert bool(record["reason_codes"]) == (expected > 0)
    cards = sorted({record["unit"] for _, record in decisions})
    bucket = dict(zip(cards, buckets_of([c.encode() for c in cards], xxh64_intdigest(b"default-1")), strict=True))
    for _, record in decisions:
        assert record["experiment"]["bucket"] == bucket[record["unit"]]
        assert record["experiment"]["variant"] == ("challenger" if bucket[record["unit"]] >= 700_000 else "champion")


def test_a_batch_over_the_same_rows_decides_each_as_the_worker_did(stream, sample, tmp_path):
    count = len(sample)
    records = list(transactions(sample, count))
    stream.publish(records)
    split = ("--challenger", stream.model, "--challenger-share", "0.3")
    stream.start(*split)
    rows = [fastavro.schemaless_reader(io.BytesIO(value[len(PREFIX) :]), TRANSACTION, None) for _, value in records]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "day.parquet")

    live = {record["transaction_id"]: record for _, record in stream.read_decisions(count)}
    command = [sys.executable, "-m", "fraudstream", "batch", "--in", tmp_path / "day.parquet", "--out", tmp_path / "out"]
    subprocess.run([*command, "--model", stream.model, *split], check=True, capture_output=True)

    batch = pq.read_table(tmp_path / "out" / "day.parquet").to_pylist()
    same = ("unit", "event_time", "score", "decision", "policy", "experiment", "reason_codes")
    assert len(batch) == len(live) == count
    for record in batch:
        assert [record[name] for name in same] == [live[record["transaction_id"]][name] for name in same]


def score_row_by_row(model_dir, values):
    """Each record through fastavro and plain XGBoost alone, in the slowest and surest way, the prior added by hand."""
    manifest = json.loads((model_dir / "manifest.json").read_text())
    names = [feature["name"] for feature in manifest["features"]]
    booster = xgb.Booster(model_file=str(model_dir / "model.ubj"))
    margins = []
    for value in values:
        row = fastavro.schemaless_reader(io.BytesIO(value[len(PREFIX) :]), TRANSACTION, None)
        matrix = xgb.DMatrix(np.array([[row[name] for name in names]], np.float32), feature_names=names)
        margins.append(float(booster.predict(matrix, output_margin=True)[0]))
    return 1 / (1 + np.exp(-(np.array(margins) + manifest["prior_shift"])))


def test_a_restart_in_the_middle_loses_and_doubles_nothing(stream, sample):
    count = 60_000
    records = transactions(sample, count)
    stream.publish(islice(records, count // 3))
    first = stream.start("--batch-size", "200")
    wait_until(lambda: stream.committed() > 2_000)
    stream.publish(islice(records, count // 3))
    first.kill()
    first.wait()

    stream.publish(records)
    stream.start("--batch-size", "200")
    decisions = stream.read_decisions(count)

    assert ids_of(decisions) == Counter(f"tx-{number:08d}" for number in range(count))
    assert_in_order_per_key(decisions)


def test_sigterm_ends_cleanly_within_ten_seconds_and_leaves_nothing_open(stream, sample):
    stream.publish(transactions(sample, 20_000))
    worker = stream.start("--batch-size", "200")
    wait_until(lambda: stream.committed() > 400)
    asked = time.monotonic()
    worker.terminate()

    assert worker.wait(10) == 0
    assert time.monotonic() - asked < 10
    done = stream.committed()
    assert len(stream.read_decisions(done, seconds=30)) == done


def test_two_workers_share_the_partitions_and_rebalance_without_loss(stream, sample):
    records = transactions(sample, 1_000_000)
    count = stream.publish(islice(records, 20_000))
    first = stream.start("--batch-size", "500", slot=0)
    wait_until(lambda: stream.committed() > 1_000)
    second = stream.start("--batch-size", "500", slot=1)
    while not said(second, "assigned", partitions=2) or not said(first, "revoked"):
        count += stream.publish(islice(records, 500))
    count += stream.publish(islice(records, 10_000))
    first.kill()
    count += stream.publish(islice(records, 10_000))

    decisions = stream.read_decisions(count)

    assert said(second, "assigned", partitions=4), "the survivor took over nothing"
    assert ids_of(decisions) == Counter(f"tx-{number:08d}" for number in range(count))
    assert_in_order_per_key(decisions)


def said(process, event, partitions=1):
    """Whether a worker logged this event for at least so many partitions."""
    lines = [json.loads(line) for line in list(process.log) if line.startswith("{")]
    return any(line["event"] == event and len(line["partitions"]) >= partitions for line in lines)


def test_two_slots_of_one_command_share_the_work(stream, sample):
    count = 20_000
    stream.start("--workers", "2")
    stream.publish(transactions(sample, count))

    assert ids_of(stream.read_decisions(count)) == Counter(f"tx-{number:08d}" for number in range(count))


def test_one_bad_record_in_a_hundred_goes_to_the_dead_letters_and_no_other(stream, sample):
    count, reasons = 20_000, ["TRUNCATED", "TRAILING_BYTES", "WRONG_MAGIC", "UNKNOWN_SCHEMA", "MISSING_VALUE"]

    def spoil(number, value):
        spoilt = (value[:-3], value + b"\0", b"\x07" + value[1:], b"\0\0\0\0\x63" + value[5:], None)
        return spoilt[number // 100 % len(spoilt)]

    records = [
        (key, spoil(number, value) if number % 100 == 0 else value)
        for number, (key, value) in enumerate(transactions(sample, count))
    ]
    stream.publish(records)
    stream.start()

    decisions = stream.read_decisions(count - count // 100)
    dead = stream.read(stream.dead_letters, stream.partitions, count // 100)

    assert ids_of(decisions) == Counter(f"tx-{number:08d}" for number in range(count) if number % 100)
    headers = [dict(message.headers()) for message in dead]
    found = Counter(header["__connect.errors.class.name"].decode() for header in headers)
    assert found == dict.fromkeys(reasons, count // 100 // len(reasons))
    assert Counter(message.value() for message in dead) == Counter(
        v for n, (_, v) in enumerate(records) if n % 100 == 0
    )
    assert {message.partition() for message in dead} <= set(range(stream.partitions))
    for message, header in zip(dead, headers, strict=True):
        assert int(header["__connect.errors.partition"]) == message.partition()


def test_at_least_once_decides_every_transaction(stream, sample):
    count = 20_000
    stream.publish(transactions(sample, count))
    stream.start("--delivery", "at_least_once")

    assert ids_of(stream.read_decisions(count)) == Counter(f"tx-{number:08d}" for number in range(count))


def test_the_metrics_and_probes_of_a_running_worker_tell_what_happened(stream, sample):
    count = 5_000
    stream.publish(transactions(sample, count))
    worker = stream.start("--log-level", "info")
    wait_until(lambda: any('"started"' in line for line in list(worker.log)))
    port = next(json.loads(line)["metrics_port"] for line in worker.log if '"started"' in line)
    stream.read_decisions(count)

    def metrics():
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            return answer.read().decode()

    wait_until(lambda: f"fraudstream_records_total {count}.0" in metrics())
    with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5) as answer:
        assert answer.status == 200
    wait_until(lambda: 'fraudstream_lag_records{partition="3"} 0.0' in metrics())
    assert f"fraudstream_score_count {count}.0" in metrics()
    assert "fraudstream_assigned_partitions 4.0" in metrics()
    worker.terminate()
    assert worker.wait(10) == 0


def test_a_schema_with_nested_fields_is_scored_too_and_said_once(stream, sample, tmp_path):
    schema = load_schema("transaction")
    tags = {"name": "tags", "type": {"type": "array", "items": "string"}, "default": []}
    nested = fastavro.parse_schema({**schema, "fields": [tags, *schema["fields"]]})
    (tmp_path / "nested.avsc").write_text(json.dumps({**schema, "fields": [tags, *schema["fields"]]}))

    def with_tags(value):
        out = io.BytesIO()
        record = fastavro.schemaless_reader(io.BytesIO(value[len(PREFIX) :]), TRANSACTION, None)
        fastavro.schemaless_writer(out, nested, record | {"tags": ["abroad", "night"]})
        return PREFIX + out.getvalue()

    stream.publish((key, with_tags(value)) for key, value in transactions(sample, 2_000))
    worker = stream.start("--input-schema", tmp_path / "nested.avsc", "--batch-size", "500")
    decisions = stream.read_decisions(2_000)

    wait_until(lambda: any("nested_schema" in line for line in list(worker.log)))
    assert ids_of(decisions) == Counter(f"tx-{number:08d}" for number in range(2_000))
    worker.terminate()
    assert worker.wait(10) == 0
    worker.reader.join()
    assert sum("nested_schema" in line for line in worker.log) == 1


@pytest.mark.parametrize("output", ["single_object", "json"])
def test_decisions_go_out_in_the_format_that_was_asked_for(stream, sample, output):
    stream.publish(transactions(sample, 100))
    stream.start("--output-format", output)

    values = [message.value() for message in stream.read(stream.decisions, stream.partitions, 100)]

    if output == "json":
        assert {json.loads(value)["transaction_id"] for value in values} == {f"tx-{n:08d}" for n in range(100)}
    else:
        assert {value[:2] for value in values} == {b"\xc3\x01"}
        assert {
            fastavro.schemaless_reader(io.BytesIO(value[10:]), DECISION, None)["transaction_id"] for value in values
        } == {f"tx-{n:08d}" for n in range(100)}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--input-topic", "nowhere"), "input_topic: topic nowhere does not exist"),
        (("--model", "nowhere"), "nowhere"),
        (("--batch-size", "0"), "batch_size"),
        (("--bootstrap-servers", "127.0.0.1:1"), "bootstrap_servers: no broker answers at 127.0.0.1:1"),
        (("--unit-field", "nonsense"), "nonsense"),
    ],
    ids=["topic", "model", "setting", "broker", "field"],
)
def test_what_is_wrong_is_said_in_one_sentence_before_anything_is_consumed(stream, options, sentence):
    worker = stream.start(*options)

    assert worker.wait(30) == 78
    worker.reader.join()
    log = "".join(worker.log)
    assert sentence in log
    assert "Traceback" not in log
    assert stream.committed() == 0
