"""The monitor on a real Apache Kafka: however it is killed, its reports are those of one that never was."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest
from sampled import baseline, batches, events, record
from worker_stream import START, said, transactions, wait_until

from drift.baseline_file import from_bytes, to_bytes
from drift.detect import Rule
from drift.monitor import Monitor
from drift.reference import build
from drift.report import from_record
from drift.training_set import period_of
from drift.windows import MINUTE, PANE, SCALES, Timing
from drift.wire import from_value, to_value
from models.manifest import MANIFEST_FILE, from_json
from producer import sample_path
from schemas.dataset import read_dataset

HOURS = 30
EVENTS = events(HOURS * 200, minutes=HOURS * 60, shift=lambda minute: 3.0 if minute > 12 * 60 else 0.0)
RECORDS = [record(EVENTS, rows, rate=1.0) for rows in batches(EVENTS)]


@pytest.fixture(scope="module")
def baselines(tmp_path_factory):
    """A directory with a file for each of the two models, and the baselines in them by version."""
    home, made = tmp_path_factory.mktemp("baselines"), {}
    for version in ("7", "8"):
        data = to_bytes(baseline(version, scales=SCALES))
        (home / f"{version}.npz").write_bytes(data)
        made[version] = from_bytes(data, "a test")
    return home, made


def undisturbed(baselines, topic):
    """What a monitor reports that reads everything in one go: the last value of each key."""
    since = int(RECORDS[0].cells["minute"].max() + 1) * MINUTE
    over = Monitor(topic, (0, 1), lambda watched: baselines[watched.version], Rule(), Timing(), since, 0)
    kept = {}
    for each in RECORDS:
        over.take(replace(each, topic=topic), 0)
        kept |= {report.key: to_value(report) for report in over.due(0)}
    return kept


def kill_the_active(monitors):
    """Its slot. A monitor rebuilds what it knows when it becomes the active one."""
    (slot,) = (slot for slot, each in enumerate(monitors) if said(each, "rebuilding"))
    monitors[slot].kill()
    monitors[slot].wait()
    return slot


def report(watched, *options):
    command = [sys.executable, "-m", "fraudstream", "drift", "report", "--bootstrap-servers", watched.bootstrap]
    command += ["--drift-topic", watched.drift, *options]
    return json.loads(subprocess.run(command, check=True, capture_output=True, timeout=60).stdout)


def by_time(value):
    of = from_value(value)
    return of.window_end, of.key


def test_monitors_that_are_killed_again_and_again_leave_the_reports_of_one_that_was_not(watched, baselines, tmp_path):
    home, known = baselines
    options = ["--drift-baselines", home / "7.npz", "--drift-baselines", home / "8.npz"]
    expected, third = undisturbed(known, watched.input), len(RECORDS) // 3
    monitors = [watched.watch(*options, slot=slot) for slot in (0, 1)]
    wait_until(lambda: any(said(each, "assigned") for each in monitors), seconds=60)

    for part in (RECORDS[:third], RECORDS[third : 2 * third]):
        before = len(watched.reports())
        watched.publish_samples(part)
        wait_until(lambda before=before: len(watched.reports()) > before + 20, seconds=60)
        slot = kill_the_active(monitors)
        monitors[slot] = watched.watch(*options, slot=slot)
    wait_until(lambda: any(said(each, "rebuilding") for each in monitors), seconds=60)
    kill_the_active(monitors)  # for good: the other one goes on
    watched.publish_samples(RECORDS[2 * third :])

    wait_until(lambda: watched.reports() == expected, seconds=90)
    told = Counter(message.key() for message in watched.all_of(watched.drift))
    assert max(told.values()) > 1, "nothing was told again: nobody took over anything"
    assert len(watched.all_of(watched.requests)) == 2, "one request for each model, however often it is found to drift"
    page = tmp_path / "drift.html"
    told = report(watched, "--window", "60h", "--html", page, "--drift-baselines", home / "7.npz", "--json")
    assert [to_value(from_record(each)) for each in told] == sorted(expected.values(), key=by_time)
    assert "V1, cumulated" in page.read_text()


def test_transactions_that_are_decided_twice_in_other_batches_are_counted_once(watched, sample, tmp_path):
    count = 6_000
    rows = [row | {"time": 4.0 * number} for number, row in enumerate(sample[:count])]  # 150 in each pane
    watched.publish(transactions(rows, count))
    own = write_baseline(watched.model, tmp_path / "baseline.npz")
    watched.start("--batch-size", "150")
    watched.start("--batch-size", "97", "--delivery", "at_least_once", "--group", f"{watched.name}-again")
    messages = watched.read_decisions(2 * count)

    monitor = watched.watch("--drift-baselines", own)

    decided = Counter()
    for each in {decision["transaction_id"]: decision for _, decision in messages}.values():
        pane = int(each["event_time"].timestamp() * 1000) // PANE.length * PANE.length
        decided[pane, each["decision"]] += 1
    assert sum(decided.values()) == count
    wait_until(lambda: START + 38 * PANE.length in panes_of(watched), seconds=60)
    panes = panes_of(watched)
    assert len(panes) > 30
    for start, counts in panes.items():
        assert counts.scored == sum(decided[start, name] for name in ("approve", "review", "decline"))
        assert (counts.reviewed, counts.declined) == (decided[start, "review"], decided[start, "decline"])
    monitor.terminate()
    assert monitor.wait(20) == 0


def write_baseline(model_dir, path):
    manifest = from_json((model_dir / MANIFEST_FILE).read_bytes(), "a test")
    features = tuple(feature.name for feature in manifest.features)
    period = period_of(read_dataset(sample_path()), "the sample", features, None)
    path.write_bytes(to_bytes(build(period, manifest.name, manifest.version, {})))
    return path


def panes_of(watched):
    reports = map(from_value, watched.reports().values())
    return {report.window_start: report.counts for report in reports if report.scale == PANE.name}
