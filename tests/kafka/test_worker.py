"""The worker on a real Apache Kafka: every transaction has exactly one outcome, whatever happens to the worker."""

import io
import json
import time
from collections import Counter
from itertools import islice
from urllib.request import urlopen

import fastavro
import numpy as np
import pytest
import xgboost as xgb
from worker_stream import (
    DECISION,
    PREFIX,
    TRANSACTION,
    address_of,
    assert_in_order_per_key,
    ids_of,
    metric,
    said,
    transactions,
    wait_until,
)
from xxhash import xxh64_intdigest

from models.routing import buckets_of
from schemas.load import load as load_schema


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


def score_row_by_row(model_dir, values):
    """Each record through fastavro and plain XGBoost alone, in the slowest and surest way, the prior added by hand."""
    manifest = json.loads((model_dir / "manifest.json").read_text())
    names = [feature["name"] for feature in manifest["features"]]
    booster = xgb.Booster({"nthread": 1}, model_file=str(model_dir / "model.ubj"))
    margins = []
    for value in values:
        row = fastavro.schemaless_reader(io.BytesIO(value[len(PREFIX) :]), TRANSACTION, None)
        matrix = xgb.DMatrix(np.array([[row[name] for name in names]], np.float32), feature_names=names, nthread=1)
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
    stream.read_decisions(count)

    wait_until(lambda: metric(worker, "records_total") == count)
    with urlopen(f"{address_of(worker)}/readyz", timeout=5) as answer:
        assert answer.status == 200
    wait_until(lambda: metric(worker, 'lag_records{partition="3"}') == 0)
    assert metric(worker, "score_count") == count
    assert metric(worker, "assigned_partitions") == 4
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
    assert "cannot_continue" not in log
    assert stream.committed() == 0
