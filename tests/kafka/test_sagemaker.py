"""A variant that a SageMaker endpoint serves: an outage under load holds the stream, or the fallback decides."""

import os
from collections import Counter
from dataclasses import replace
from hashlib import sha256

import pytest
from fake_endpoint import OFFENDING
from served import document, put
from worker_stream import Load, assert_in_order_per_key, ids_of, metric, transactions, wait_until

from models.endpoint import Breaker, Endpoint
from models.folder import FolderStore
from models.manifest import MODEL_FILE
from models.registry import Registry

PROBE_SECONDS = 1.0
OUTAGE_SECONDS = int(os.environ.get("FRAUDSTREAM_TEST_OUTAGE_SECONDS", "10"))
"""`make outage` asks for ten minutes."""
A_SECOND = 500
PATIENCE = "6000"
"""ms: both of a member that is silent and of one that does not poll. An outage takes longer."""


@pytest.fixture
def store(tmp_path, small_models):
    made = FolderStore(tmp_path / "store")
    for files in small_models.values():
        Registry(made).publish(files)
    return made


def endpoint(**settings):
    breaker = Breaker(window=10, least=2, probe_seconds=PROBE_SECONDS)
    given = {"budget_seconds": 3.0, "read_seconds": 2.5, "request_rows": 200} | settings
    return Endpoint("fraud", breaker=breaker, **given)


def served_by(where, version="1"):
    made = document(version)
    return replace(made, variants=(replace(made.control, backend="sagemaker", endpoint=where),))


def start(stream, store, fake, *options):
    where = ("--store", store.root, "--rollout-poll-seconds", "0.5", "--sagemaker-url", fake.url)
    return stream.start(*where, "--batch-size", "1000", *options)


def test_an_outage_under_load_holds_the_stream_loses_nothing_and_ends_with_the_first_probe(
    stream_of, store, sample, endpoint_model, fake
):
    stream = stream_of()
    put(store, served_by(endpoint()))
    settings = [f"{name}={PATIENCE}" for name in ("session.timeout.ms", "max.poll.interval.ms")]
    worker = start(stream, store, fake, "--consumer-kafka", settings[0], "--consumer-kafka", settings[1])
    wait_until(lambda: metric(worker, "assigned_partitions") == 4, 60)
    with Load(stream, transactions(sample, 100_000 + 2 * OUTAGE_SECONDS * A_SECOND), A_SECOND) as load:
        wait_until(lambda: stream.committed() > 500)
        rebalances = metric(worker, "rebalances_total")

        fake.break_with("403")  # a right that is taken while it runs ends nothing
        wait_until(lambda: metric(worker, "held") == 1)
        fake.break_with("down")
        wait_until(lambda: metric(worker, 'endpoint_breaker{name="champion"}') == 2)
        failing = len(fake.requests)
        done = load.count
        wait_until(lambda: load.count > done + 0.9 * OUTAGE_SECONDS * A_SECOND, 60 + 2 * OUTAGE_SECONDS)
        back = len(fake.requests)
        fake.break_with(None)
        wait_until(lambda: metric(worker, 'endpoint_breaker{name="champion"}') == 0)
        wait_until(lambda: stream.committed() > load.count - A_SECOND, 60 + OUTAGE_SECONDS)
        assert metric(worker, "held") == 0

    decisions = stream.read_decisions(load.count, seconds=60 + OUTAGE_SECONDS)
    assert ids_of(decisions) == Counter(f"tx-{number:08d}" for number in range(load.count))
    assert_in_order_per_key(decisions)
    assert stream.read(stream.dead_letters, 4, 0) == []
    assert {(r["model"]["backend"], r["degraded"], r["invoked_variant"]) for _, r in decisions} == {
        ("sagemaker", False, "blue")
    }
    assert all(r["invocation_seconds"] > 0 for _, r in decisions)
    assert metric(worker, "rebalances_total") == rebalances
    golden = len(endpoint_model.manifest.golden_rows)
    asked = [lines for _, lines, _ in fake.requests[failing:back]]
    assert golden in asked, "no probe was sent"
    # What was under way when the breaker opened may arrive a moment later.
    assert set(asked[asked.index(golden) :]) == {golden}, "while it is open nothing but probes is asked"
    assert all(fault is None for *_, fault in fake.requests[back + 1 :]), "it is not back with the first probe"


def test_the_fallback_decides_under_its_own_name_the_endpoint_comes_back_and_a_record_it_refuses_is_a_dead_letter(
    stream_of, store, sample, small_models, fake
):
    stream = stream_of()
    put(store, served_by(endpoint(on_outage="fallback", fallback="m@2", budget_seconds=20.0, read_seconds=10.0)))
    worker = start(stream, store, fake)
    wait_until(lambda: metric(worker, "assigned_partitions") == 4, 60)
    *rows, last = sample[:1500]
    records = list(transactions([*rows, last | {"V1": OFFENDING}], 1500))

    stream.publish(records[:500])
    wait_until(lambda: stream.committed() == 500)
    fake.break_with("throttled")
    stream.publish(records[500:1000])
    wait_until(lambda: stream.committed() == 1000)
    fake.break_with(None)
    wait_until(lambda: metric(worker, 'endpoint_breaker{name="champion"}') != 2)
    stream.publish(records[1000:])

    decided = {r["transaction_id"]: r for _, r in stream.read_decisions(1499)}
    during = [decided[f"tx-{number:08d}"] for number in range(500, 1000)]
    others = [decided[f"tx-{number:08d}"] for number in [*range(500), *range(1000, 1499)]]
    assert {(r["model"]["backend"], r["model"]["sha256"], r["degraded"]) for r in others} == {
        ("sagemaker", sha256(small_models["1"][MODEL_FILE]).digest(), False)
    }
    assert {(r["model"]["backend"], r["model"]["sha256"], r["degraded"]) for r in during} == {
        ("xgboost", sha256(small_models["2"][MODEL_FILE]).digest(), True)
    }
    assert {r["experiment"]["variant"] for r in decided.values()} == {"champion"}
    assert all(r["fallback_reason"].startswith("endpoint fraud is ") for r in during)
    assert all(r["invoked_variant"] is None and r["invocation_seconds"] is None for r in during)
    (letter,) = stream.read(stream.dead_letters, 4, 1)
    assert dict(letter.headers())["__connect.errors.class.name"] == b"REFUSED_BY_ENDPOINT"
    assert letter.value() == records[-1][1]


@pytest.mark.parametrize(("missing", "code"), [(False, 77), (True, 78)])
def test_a_worker_whose_endpoint_has_it_not_says_so_and_ends(stream_of, store, fake, missing, code):
    stream = stream_of()
    fake.break_with("403")
    put(store, served_by(replace(endpoint(), name="none" if missing else "fraud")))

    worker = start(stream, store, fake)

    assert worker.wait(60) == code
    worker.reader.join()
    assert any(f"endpoint {'none does not exist' if missing else 'fraud may not'}" in line for line in worker.log)
