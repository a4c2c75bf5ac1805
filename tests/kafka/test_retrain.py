"""All the way on a real Apache Kafka: what drifts is noticed, trained on, and its model watches beside the champion."""

import json
import subprocess
import sys
from datetime import UTC, datetime

import pytest
from worker_stream import START, metric, said, transactions, wait_until

from drift.retrain import decode
from models.artifact import read_directory
from models.folder import FolderStore
from models.manifest import MANIFEST_FILE, from_json
from models.registry import Registry, Version
from models.rollout import Changed, first
from models.rollout_store import RolloutStore
from producer import sample_path
from producer.labels import encode_label_json
from schemas.dataset import read_dataset

QUICK = ("--rollout-poll-seconds", "0.3", "--batch-size", "500")

DRIFTED = 6_600
"""Five events a second of event time: the second ten minutes of them are the first window that is whole."""


@pytest.fixture
def store(tmp_path, model_dir):
    """A store in which the model decides every card."""
    kept = FolderStore(tmp_path / "store")
    files = read_directory(model_dir)
    Registry(kept).publish(files)
    described = from_json(files[MANIFEST_FILE], "a test")
    champion = Version(described.name, described.version)
    RolloutStore(kept).write(first(champion, Changed("alice", datetime.now(UTC), "", "promote")), None)
    return kept


def drifted(sample):
    """Every third transaction of the sample, five a second, in a world where V14 is another one."""
    rows = sample[::3][:DRIFTED]
    return [row | {"time": number / 5, "V14": 5 - row["V14"]} for number, row in enumerate(rows)]


def labels(frauds):
    """The chargebacks, each an hour after its transaction."""
    for number, is_fraud in enumerate(frauds):
        if is_fraud:
            times = {"event_time": START + 200 * number, "label_time": START + 200 * number + 3_600_000}
            yield encode_label_json({"transaction_id": f"tx-{number:08d}", "is_fraud": True, "unit": "card"} | times)


def retrain(watched, store, labels_topic):
    command = [sys.executable, "-m", "fraudstream", "retrain", "--store", store.root, "--group", watched.name]
    command += ["--bootstrap-servers", watched.bootstrap, "--input-topic", watched.input]
    command += ["--retrain-topic", watched.requests, "--labels-topic", labels_topic]
    command += ["--matured", "1h", "--by", "the scheduler", "--json"]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_a_stream_that_drifts_ends_with_a_successor_that_watches_beside_the_champion(watched, store, sample, kafka):
    frauds = read_dataset(sample_path()).frame["is_fraud"].tolist()[::3][:DRIFTED]
    topic = kafka.create_topic(f"{watched.name}.labels")
    watched.model = None
    worker = watched.start("--store", store.root, "--sample-rate", "1", *QUICK)
    monitor = watched.watch("--store", store.root)
    watched.publish(transactions(drifted(sample), DRIFTED))
    watched.publish(((b"", value) for value in labels(frauds)), topic)
    wait_until(lambda: said(monitor, "retraining_requested"), seconds=60)

    done = retrain(watched, store, topic)

    assert done.returncode == 0, done.stderr
    told, (asked,) = json.loads(done.stdout), map(decode, (m.value() for m in watched.all_of(watched.requests)))
    before, now = RolloutStore(store).history()
    assert told["request"]["key"] == asked.key
    assert "V14" in asked.subjects
    assert told["pr_auc"]["successor"] > told["pr_auc"]["champion"]
    assert (now.variants, now.changed.who) == (before.variants, "the scheduler")
    assert now.changed.why.startswith(f"retraining request {asked.key}: ")
    assert [each.version for each in now.shadows] == [told["successor"]]
    wait_until(lambda: metric(worker, "rollout_epoch") == 2)
    watched.publish(transactions(drifted(sample), 200))
    newest = [record for _, record in watched.read_decisions(DRIFTED + 200) if record["experiment"]["epoch"] == 2]
    assert len(newest) == 200
    assert {record["model"]["version"] for record in newest} == {asked.version.version}
    assert {shadow["variant"] for record in newest for shadow in record["shadow"]} == {"challenger"}
