"""The rollout changes while transactions flow: each is decided once, by the models of one rollout and no other."""

import time
from collections import Counter, defaultdict
from datetime import UTC, datetime
from itertools import islice
from urllib.error import HTTPError
from urllib.request import urlopen

import numpy as np
import pytest
from served import document, m, put
from worker_stream import (
    Load,
    address_of,
    assert_in_order_per_key,
    ids_of,
    metric,
    transactions,
    wait_until,
)

from models import rollout_changes
from models.folder import FolderStore
from models.manifest import MANIFEST_FILE, MODEL_FILE, from_json
from models.model import open_model
from models.registry import Registry
from models.rollout_changes import By
from models.rollout_store import RolloutStore
from models.routing import buckets_of

POLL_SECONDS = 0.5
EFFECTIVE_SECONDS = POLL_SECONDS + 2
BY = By("alice", datetime(2026, 11, 26, tzinfo=UTC), "because")


@pytest.fixture
def store(tmp_path, small_models):
    made = FolderStore(tmp_path / "store")
    for files in small_models.values():
        Registry(made).publish(files)
    return made


@pytest.fixture
def stream(stream_of):
    return stream_of()


def start(stream, store, slot=0):
    options = ("--store", store.root, "--rollout-poll-seconds", str(POLL_SECONDS), "--batch-size", "500")
    return stream.start(*options, slot=slot)


class Rollouts:
    """The rollouts of a store, by epoch, as they were written."""

    def __init__(self, store, beginning):
        self.store, self.documents = RolloutStore(store), {1: put(store, beginning)}

    def change(self, function, *arguments):
        """Make the next rollout; its number, and the moment (s since 1970) before which it was not in force."""
        before, etag = self.store.current()
        made = function(before, *arguments, BY)
        written_at = time.time()
        self.store.write(made, etag)
        self.documents[made.epoch] = made
        return made.epoch, written_at


def in_force(workers, epoch):
    return all(metric(worker, "rollout_epoch") == epoch for worker in workers)


def test_promotions_ramps_and_a_rollback_under_load_lose_double_and_mix_nothing_and_are_in_time(
    stream, store, sample, small_models
):
    rollouts = Rollouts(store, document("few"))
    workers = [start(stream, store, slot) for slot in (0, 1)]
    wait_until(lambda: all(metric(worker, "assigned_partitions") == 2 for worker in workers), 60)
    with Load(stream, sample, most=90_000, a_second=1_500) as load:
        wait_until(lambda: stream.committed() > 1_000)
        for change in (
            (rollout_changes.shadow, m("2")),
            (rollout_changes.ramp, "m@2", 0.3),
            (rollout_changes.promote, m("2")),
        ):
            epoch, _ = rollouts.change(*change)
            wait_until(lambda epoch=epoch: in_force(workers, epoch))
            done = load.count
            wait_until(lambda done=done: load.count > done + 500)
        last, rolled_back_at = rollouts.change(rollout_changes.rollback, rollouts.documents[1])
        wait_until(lambda: time.time() > rolled_back_at + EFFECTIVE_SECONDS + 1)
        assert load.count < 90_000, "the load ended before the rollback was in force"

    decisions = stream.read_decisions(load.count)

    assert ids_of(decisions) == Counter(f"tx-{number:08d}" for number in range(load.count))
    assert_in_order_per_key(decisions)
    assert_no_mixture(decisions, rollouts.documents, Oracle(small_models, sample))
    slowest = max(record["decided_at"] for _, record in decisions if record["experiment"]["epoch"] < last)
    assert slowest.timestamp() - rolled_back_at <= EFFECTIVE_SECONDS
    newest = {record["source"]["partition"] for _, record in decisions if record["experiment"]["epoch"] == last}
    assert newest == {0, 1, 2, 3}


class Oracle:
    """What each model makes of each transaction of the sample, all at once and far from any worker."""

    def __init__(self, small_models, sample):
        self.scores, self.digests, self.policies = {}, {}, {}
        for version, files in small_models.items():
            manifest = from_json(files[MANIFEST_FILE], "manifest")
            model = open_model(manifest, files, 1)
            rows = np.array([[row[name] for name in model.features] for row in sample], np.float32)
            self.scores[f"m@{version}"] = model.score(rows)
            self.digests[f"m@{version}"] = model.sha256
            self.policies[f"m@{version}"] = manifest.policy
        self.size = len(sample)


def assert_no_mixture(decisions, documents, oracle):
    """Each decision is what the rollout of its epoch says of its card, in every part."""
    seen, epochs = defaultdict(int), Counter()
    for epoch, rollout in documents.items():
        split = rollout.split
        mine = [record for _, record in decisions if record["experiment"]["epoch"] == epoch]
        buckets = buckets_of([record["unit"].encode() for record in mine], split.seed)
        for record, bucket, index in zip(mine, buckets, split.variant_of(buckets), strict=True):
            variant = rollout.variants[index]
            assert record["experiment"]["bucket"] == bucket
            assert record["experiment"]["variant"] == variant.name
            assert record["experiment"]["salt_id"] == rollout.salt_id
            assert record["experiment"]["probability"] == variant.share
            assert record["model"]["sha256"] == oracle.digests[variant.version]
            assert record["policy"]["decline_at"] == oracle.policies[variant.version].decline_at
            assert not record["degraded"]
            row = int(record["transaction_id"][3:]) % oracle.size
            assert abs(record["score"] - oracle.scores[variant.version][row]) <= 1e-6
            for shadow in record["shadow"]:
                (version,) = (each.version for each in rollout.shadows if each.name == shadow["variant"])
                assert abs(shadow["score"] - oracle.scores[version][row]) <= 1e-6
        epochs[epoch] = len(mine)
        assert any(record["shadow"] for record in mine) == bool(rollout.shadows)
    assert sum(epochs.values()) == len(decisions)
    assert all(epochs.values()), "a rollout decided nothing"
    for _, record in sorted(decisions, key=lambda each: each[1]["source"]["offset"]):
        partition, epoch = record["source"]["partition"], record["experiment"]["epoch"]
        assert seen[partition] <= epoch, "an older rollout came back"
        seen[partition] = epoch


def status(worker, path):
    try:
        with urlopen(f"{address_of(worker)}{path}", timeout=5) as answer:
            return answer.status
    except HTTPError as error:
        error.close()
        return error.code


def test_without_a_model_a_worker_is_not_ready_takes_nothing_says_why_and_begins_by_itself(
    stream, tmp_path, sample, small_models
):
    store = FolderStore(tmp_path / "empty")
    stream.publish(transactions(sample, 500))
    worker = start(stream, store)

    wait_until(lambda: any("there is no rollout in" in line for line in list(worker.log)))
    assert (status(worker, "/livez"), status(worker, "/readyz")) == (200, 503)
    put(store, document("1"))
    wait_until(lambda: any("m@1 is not published in" in line for line in list(worker.log)))
    assert (status(worker, "/livez"), status(worker, "/readyz")) == (200, 503)
    assert metric(worker, "rollout_held_back") == 1
    assert stream.committed() == 0
    Registry(store).publish(small_models["1"])

    assert ids_of(stream.read_decisions(500)) == Counter(f"tx-{number:08d}" for number in range(500))
    assert (status(worker, "/readyz"), metric(worker, "rollout_held_back")) == (200, 0)


def test_a_broken_model_degrades_its_own_cards_until_it_is_mended_and_a_broken_control_or_no_store_changes_nothing(
    stream, store, sample
):
    rollouts = Rollouts(store, document("1", challenger=("2", 0.5)))
    broken = {version: store.root / "models/m" / version / MODEL_FILE for version in ("2", "3")}
    good = {version: path.read_bytes() for version, path in broken.items()}
    for version, path in broken.items():
        path.write_bytes(b"x" * len(good[version]))
    worker, records = start(stream, store), transactions(sample, 4_000)

    degraded = kinds_of_the_next(stream, records, 0)
    assert metric(worker, "degraded_share") == 0.5
    assert status(worker, "/readyz") == 200
    broken["2"].write_bytes(good["2"])
    wait_until(lambda: metric(worker, "degraded_share") == 0)
    mended = kinds_of_the_next(stream, records, 1)
    rollouts.change(rollout_changes.promote, m("3"))
    wait_until(lambda: metric(worker, "rollout_held_back") == 1)
    held_back = kinds_of_the_next(stream, records, 2)
    assert status(worker, "/readyz") == 200
    broken["3"].write_bytes(good["3"])
    wait_until(lambda: metric(worker, "rollout_epoch") == 2)
    store.root.rename(store.root.with_name("away"))
    wait_until(lambda: any("rollout_not_read" in line for line in list(worker.log)))
    without_store = kinds_of_the_next(stream, records, 3)

    assert degraded == {("champion", "1", None), ("challenger", "1", "m/2/model.ubj")}
    assert mended == held_back == {("champion", "1", None), ("challenger", "2", None)}
    assert without_store == {("champion", "3", None), ("challenger", "2", None)}


def kinds_of_the_next(stream, records, before, size=1_000):
    """Variant, version and the file that the reason for a fallback names, after so many times as many transactions."""
    stream.publish(islice(records, size))
    ids = {f"tx-{number:08d}" for number in range(before * size, (before + 1) * size)}
    mine = [r for _, r in stream.read_decisions((before + 1) * size) if r["transaction_id"] in ids]
    assert len(mine) == size
    found = {(r["experiment"]["variant"], r["model"]["version"], r["fallback_reason"]) for r in mine}
    return {(name, version, why and why.partition("models/")[2].split()[0]) for name, version, why in found}
