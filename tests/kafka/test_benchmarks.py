"""The benchmarks measure what they say, and give no figure to a contender whose output is wrong."""

import contextlib
import io
import json
import os
import shutil
import sys
import uuid
from dataclasses import replace
from functools import partial
from pathlib import Path

import fastavro
import numpy as np
import pytest
from confluent_kafka import Producer
from rich.console import Console

from benchmarks import report
from benchmarks.bed import bed_on, train
from benchmarks.bench import Bench, Scale
from benchmarks.check import WrongOutputError, check_decisions, check_output, read_committed
from benchmarks.contenders import Contender, assignment, fraudstream, kafka_streams, naive, pass_through, replay
from benchmarks.results import REPLAY, bars
from benchmarks.throughput import Run, run
from benchmarks.watch import Watch
from deploy.jvm import Server
from schemas.framing import confluent_prefix
from schemas.load import load

EVENTS = 20_000
FEW = 2_000
PREFIX = confluent_prefix(2)
DECISION = fastavro.parse_schema(load("decision"))
TINY = Scale(
    events=EVENTS,
    rounds=1,
    latency_seconds=1,
    latency_rounds=1,
    soak_events=EVENTS,
    batch_rounds=1,
    sampling_rounds=1,
    reasons_rounds=1,
    batches={},
)


@pytest.fixture(scope="module")
def bed(kafka, tmp_path_factory):
    home = tmp_path_factory.mktemp("bench")
    train(home / "model")
    return bed_on(kafka.bootstrap_servers, None, home)


@pytest.fixture(scope="module")
def few(bed):
    return bed.preload("bench-few", FEW)


@pytest.fixture(scope="module")
def decided(bed, few):
    """What a worker wrote about few transactions, as (partition, key, value)."""
    work = assignment(few, "bench-decided")
    for topic in work.outputs:
        bed.create_topic(topic)
    server = Server(fraudstream("exactly_once").command(bed, work), bed.home / "decided.log")
    Watch().until_done(bed, server, work.group, few, FEW)
    server.stop()
    batches = read_committed(bed, work.decisions, FEW)
    return [(message.partition(), message.key(), message.value()) for batch in batches for message in batch]


def written(bed, name, records):
    """A topic with these records."""
    producer = Producer({"bootstrap.servers": bed.bootstrap_servers})
    bed.create_topic(name)
    for partition, key, value in records:
        producer.produce(name, value, key, partition=partition)
    assert producer.flush(30) == 0
    return name


def test_a_tiny_run_measures_each_contender_and_writes_the_figures_as_json(bed, tmp_path):
    bench = Bench(bed, TINY, Console(quiet=True))
    field = [naive(), pass_through(), fraudstream("exactly_once")]

    bench.throughput(field)
    report.write_json(tmp_path / "results" / "latest.json", bench.results, "make bench")

    document = json.loads((tmp_path / "results" / "latest.json").read_bytes())
    runs = {found["contender"]: found for found in document["results"]["throughput"]}
    assert {name: found["events"] for name, found in runs.items()} == {
        "naive": EVENTS // 100,
        "pass-through": EVENTS,
        "fraudstream exactly-once": EVENTS,
    }
    assert all(found["rate"] > 0 and found["memory"] > 0 for found in runs.values())
    assert set(runs["fraudstream exactly-once"]["stages"]) == {
        "consume",
        "decode",
        "decide",
        "shadow",
        "encode",
        "sample",
        "produce",
        "commit",
    }
    assert [bar["claim"] for bar in document["bars"]] == ["exactly-once ÷ pass-through", "exactly-once ÷ naive"]
    assert str(tmp_path.parent) not in json.dumps(document)


def test_reasons_are_measured_where_one_event_in_a_hundred_has_them(bed, few, monkeypatch):
    def timed(laid_out, contender, source, events, number):
        assert source == few
        assert np.mean(laid_out.scores >= laid_out.model.policy.review_at) == pytest.approx(0.01, rel=0.05)
        command = contender.command(laid_out, assignment(source, "bench-reasons"))
        manifest = json.loads((Path(command[command.index("--model") + 1]) / "manifest.json").read_bytes())
        assert manifest["policy"]["review_at"] == laid_out.model.policy.review_at
        cost = {"0": 10, "3": 11}[command[command.index("--reason-codes") + 1]]
        return Run(contender.name, number, events, 1 / cost, 1 / cost, cost, 0, 0, 0)

    monkeypatch.setattr("benchmarks.bench.run", timed)
    bench = Bench(bed, replace(TINY, events=FEW, reasons_rounds=3), Console(quiet=True))
    bench._filled[FEW] = few

    bench.reasons()

    (bar,) = bars(bench.results)
    assert (bar.claim, bar.reached) == ("with reasons ÷ without, 1 % flagged", False)
    assert bar.measured.median == pytest.approx(10 / 11)
    assert [run.round for run in bench.results.reasons] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(("explained", "complaint"), [(True, None), (False, "has no reasons where it should")])
def test_decisions_have_reasons_or_none_as_the_contender_says(bed, few, decided, explained, complaint):
    topic = written(bed, f"bench-explained-{uuid.uuid4().hex[:8]}", decided)
    check = partial(check_decisions, explained=explained)

    with pytest.raises(WrongOutputError, match=complaint) if complaint else contextlib.nullcontext():
        check_output(bed, check, few, topic, FEW)


def test_decisions_that_are_right_pass_the_check(bed, few, decided):
    topic = written(bed, "bench-right", decided)

    found = check_output(bed, check_decisions, few, topic, FEW)

    assert sorted(found.number.tolist()) == list(range(FEW))


def retold(record, **changes):
    """The same decision with other values in some fields."""
    partition, key, value = record
    told = fastavro.schemaless_reader(io.BytesIO(value[5:]), DECISION, None) | changes
    out = io.BytesIO()
    fastavro.schemaless_writer(out, DECISION, told)
    return partition, key, PREFIX + out.getvalue()


SPOILT = {
    "missing": (lambda first, *rest: rest, "1,999 of 2,000 records came"),
    "doubled": (lambda first, *rest: (first, first, *rest), "2,001 records for 2,000"),
    "one for another": (lambda first, *rest: (rest[0], *rest), "missing and others doubled"),
    "another score": (lambda first, *rest: (retold(first, score=0.000123), *rest), "differs from XGBoost's"),
    "another outcome": (lambda first, *rest: (retold(first, decision="review"), *rest), "does not follow"),
    "another card": (lambda first, *rest: (retold(first, unit="card-000000"), *rest), "not the card's"),
    "another key": (lambda first, *rest: ((first[0], b"card-000000", first[2]), *rest), "not the card's"),
    "another partition": (lambda first, *rest: (((first[0] + 1) % 4, *first[1:]), *rest), "not in the partition"),
    "garbage": (lambda first, *rest: ((*first[:2], PREFIX + bytes(40)), *rest), "cannot be decoded"),
}


@pytest.mark.parametrize(("spoil", "complaint"), SPOILT.values(), ids=SPOILT)
def test_decisions_that_are_wrong_in_one_record_are_refused(bed, few, decided, spoil, complaint, monkeypatch):
    monkeypatch.setattr("benchmarks.check.DEADLINE_SECONDS", 3.0)
    topic = written(bed, f"bench-spoilt-{uuid.uuid4().hex[:8]}", spoil(*decided))

    with pytest.raises(WrongOutputError, match=complaint):
        check_output(bed, check_decisions, few, topic, FEW)


def test_a_replay_is_measured_and_its_decisions_are_checked(bed, few):
    found = run(bed, replay(), few, FEW, 0)

    assert (found.contender, found.events) == (REPLAY, FEW)
    assert found.rate > 0


def test_a_contender_that_writes_something_else_fails_the_run(bed, few):
    liar = Contender("liar", pass_through().command, check_decisions)

    with pytest.raises(WrongOutputError, match="cannot be decoded"):
        run(bed, liar, few, FEW, 0)


def test_a_contender_that_dies_fails_the_run_with_the_end_of_its_log(bed, few):
    dying = Contender("dying", lambda bed, work: [sys.executable, "-c", "raise SystemExit('out of luck')"])

    with pytest.raises(WrongOutputError, match="out of luck"):
        run(bed, dying, few, FEW, 0)


@pytest.mark.skipif(
    not (shutil.which("mvn") and shutil.which("javac")) and os.environ.get("REQUIRE_KAFKA") != "1",
    reason="Kafka Streams needs Maven and a JDK",
)
def test_kafka_streams_decides_as_the_worker_does(bed, few):
    found = run(bed, kafka_streams(), few, FEW, 0)

    assert found.events == FEW
