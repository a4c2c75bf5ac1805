"""The demo on the broker inside its own process, and what it makes of what it has seen."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from fraudstream.demo.stream import held_out
from fraudstream.demo.tally import Tally, Truth, summarise
from models.train import TrainingSettings, train
from producer import sample_path
from producer.publish import Pace
from schemas.dataset import read_dataset

SHARES = TrainingSettings().shares


@pytest.fixture(scope="module")
def dataset():
    return read_dataset(sample_path())


def run_demo(*options):
    command = [sys.executable, "-m", "fraudstream", "demo", "--rate", "1000", *options]
    # A setting that lies around, and that no demo could work with.
    environment = os.environ | {"FRAUDSTREAM_INPUT_FORMAT": "json"}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment, check=False)


def tally_of(*, is_fraud, legitimate_kept=1.0):
    count = len(is_fraud)
    row = {f"tx-{number}": number for number in range(count)}
    due = 100 + np.arange(count) / 10
    return Tally(Truth(row, np.array(is_fraud), np.full(count, 9.5), due, legitimate_kept))


def decision(number, outcome="approve"):
    reasons = [{"feature": "V14", "contribution": 3.5}]
    return {"transaction_id": f"tx-{number}", "decision": outcome, "score": 0.5, "reason_codes": reasons}


def test_the_demo_decides_each_held_out_transaction_once(dataset):
    rows = held_out(dataset, SHARES)

    done = run_demo("--json")

    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    summary = json.loads(line)
    assert summary["delivery"] == "at_least_once"
    assert summary["transactions_in"] == summary["decisions_out"] == rows.count
    assert (summary["missing"], summary["doubled"], summary["dead_letters"]) == (0, 0, 0)
    assert summary["approved"] + summary["reviewed"] + summary["declined"] == rows.count
    caught, flagged = summary["frauds_declined"] + summary["frauds_reviewed"], rows.count - summary["approved"]
    assert summary["recall"] == caught / summary["frauds"]
    assert summary["precision"] == caught / flagged
    report = train(dataset, TrainingSettings()).manifest.metrics.model.review
    assert summary["recall"] == pytest.approx(report.recall)
    assert summary["precision_at_real_prior"] == pytest.approx(report.precision)
    assert 0 < summary["p50_ms"] <= summary["p99_ms"]
    assert summary["drift"] == {"windows": rows.count // 600, "alarmed": 0, "subjects": [], "since": None}


def test_without_a_terminal_the_demo_prints_its_steps_and_the_summary_and_no_frames_and_a_drift_is_noticed():
    done = run_demo("--drift")

    assert done.returncode == 0, done.stderr
    assert "decisions out    4,077: 0 missing, 0 doubled" in done.stdout
    assert "at least once" in done.stdout
    assert "recall" in done.stdout
    assert re.search(r"drift +amount in 3 of 6 windows of ten minutes, .* a retraining is due", done.stdout)
    assert "demo --bootstrap-servers" in done.stdout
    assert len(done.stdout.splitlines()) < 40
    assert re.search(r" of 4,077 decided, .* p50 \d+ ms", done.stdout)
    assert not set("\x1b╭│") & set(done.stdout)


def test_the_demo_sends_only_what_came_later_than_all_that_the_model_learned_from(dataset):
    rows = held_out(dataset, SHARES)

    times = dataset.frame["time"].to_numpy()
    assert rows.first + rows.count == len(dataset.frame)
    assert times[rows.first] > times[rows.first - 1]
    # A fifth of the traffic, which is not a fifth of the rows of a thinned sample.
    traffic = np.where(dataset.frame["is_fraud"], 1, 284_315 / 20_000)
    assert traffic[rows.first :].sum() / traffic.sum() == pytest.approx(0.2, abs=0.001)


def test_what_drifts_is_the_amount_of_the_second_half_and_no_event_is_of_a_time_to_come(dataset):
    pace = Pace(start=1_700_000_000, rate=500)
    usual, other = (held_out(dataset, SHARES, drifts=drifts).sent(0, 4_077, pace) for drifts in (False, True))

    assert np.array_equal(other.amount[:2_038], usual.amount[:2_038])
    assert np.array_equal(other.amount[2_038:], 100 * usual.amount[2_038:])
    assert usual.event_time[-1] < pace.start * 1000
    assert set(np.diff(usual.event_time)) == {1_000}
    assert usual.event_time[0] % 600_000 == 0


def test_latency_counts_from_when_a_transaction_was_due(dataset):
    truth = held_out(dataset, SHARES).truth(Pace(start=1_000.0, rate=10))

    assert truth.due[0] == 1_000
    assert truth.due[15] == pytest.approx(1_001.5)


def test_the_summary_finds_the_missing_and_the_doubled():
    tally = tally_of(is_fraud=[True, False, False, False])
    tally.dead_letters = 1
    for number in (0, 1, 1, 1):
        tally.note(decision(number), now=101)

    summary = summarise(tally, "exactly_once")

    assert summary.transactions_in == 4
    assert summary.decisions_out == 4
    assert summary.missing == 1
    assert summary.doubled == 2
    assert not summary.kept_its_promise


@pytest.mark.parametrize(("delivery", "kept"), [("exactly_once", False), ("at_least_once", True)])
def test_a_doubled_decision_breaks_only_the_promise_of_exactly_once(delivery, kept):
    tally = tally_of(is_fraud=[True])
    for _ in range(2):
        tally.note(decision(0), now=101)

    summary = summarise(tally, delivery)

    assert summary.kept_its_promise is kept


def test_a_false_alarm_weighs_as_much_as_the_honest_transactions_that_were_left_out():
    tally = tally_of(is_fraud=[True, True, False, False], legitimate_kept=0.1)
    for number, outcome in enumerate(["decline", "approve", "review", "approve"]):
        tally.note(decision(number, outcome), now=102)

    summary = summarise(tally, "exactly_once")

    assert summary.recall == 0.5
    assert summary.precision == 0.5
    assert summary.precision_at_real_prior == pytest.approx(1 / 11)
    assert [(each.transaction_id, each.is_fraud) for each in tally.last_declined] == [("tx-0", True)]


def test_the_percentiles_are_those_of_all_latencies():
    tally = tally_of(is_fraud=[True] + [False] * 100)
    for number in range(101):
        tally.note(decision(number), now=100 + number / 10 + number / 1000)

    summary = summarise(tally, "exactly_once")

    assert summary.p50_ms == pytest.approx(50)
    assert summary.p99_ms == pytest.approx(99)
    assert summary.throughput == pytest.approx(101 / 10.1, abs=0.1)


def test_where_nothing_is_flagged_there_is_no_precision():
    tally = tally_of(is_fraud=[True])
    tally.note(decision(0), now=101)

    summary = summarise(tally, "exactly_once")

    assert summary.precision is None
    assert summary.precision_at_real_prior is None


@pytest.mark.parametrize(
    ("options", "code", "names"),
    [
        (("--bootstrap-servers", "127.0.0.1:1"), 78, "127.0.0.1:1"),
        (("--bootstrap-servers", "127.0.0.1:1", "--kafka", "no.such=1"), 78, "no.such"),
        (("--kafka", "client.id=x"), 78, "--kafka"),
        (("--rate", "0"), 2, "--rate"),
    ],
)
def test_what_is_wrong_is_said_in_one_sentence(options, code, names):
    done = run_demo(*options)

    assert done.returncode == code
    assert names in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
