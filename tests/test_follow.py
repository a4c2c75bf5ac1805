"""What serves goes on whatever happens to the store or to the next rollout, and changes as soon as that can serve."""

import threading
import time

import pytest
from prometheus_client import CollectorRegistry
from served import document, put
from structlog.testing import capture_logs

from consumer.follow import Directories, Follower, source_of
from consumer.metrics import WorkerMetrics
from consumer.serving import Missing
from consumer.settings import WorkerSettings
from models.artifact import save
from models.folder import FolderStore
from models.manifest import MANIFEST_FILE, from_json
from models.registry import Registry
from models.rollout_store import CURRENT_KEY, RolloutStore
from models.store import StoreUnavailableError, open_store
from schemas.errors import ConfigurationError, FraudstreamError, NotPermittedError


class Served:
    """What a loader made of a rollout."""

    def __init__(self, epoch, missing=()):
        self.epoch, self.missing = epoch, missing


class FakeLoader:
    """Loads at once; it may be told what goes wrong, and notes for which epoch it was asked and when."""

    def __init__(self, clock):
        self.clock, self.asked, self.held, self.error, self.missing = clock, [], [], None, ()

    def load(self, made):
        self.asked.append((made.epoch, self.clock()))
        if self.error:
            raise self.error
        return Served(made.epoch, self.missing)

    def hold(self, version):
        self.held.append(str(version))


class Leaving:
    """A store that goes away with an error, and comes back."""

    def __init__(self, store):
        self.store, self.error = store, None

    def __getattr__(self, name):
        if self.error and name != "url":
            raise self.error
        return getattr(self.store, name)


class Clock:
    """A clock that a test sets."""

    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def loader(clock):
    return FakeLoader(clock)


@pytest.fixture
def folder(tmp_path):
    return FolderStore(tmp_path / "store")


@pytest.fixture
def store(folder):
    return Leaving(folder)


@pytest.fixture
def told():
    """The metrics of the worker, by name."""
    return CollectorRegistry()


@pytest.fixture
def follower(store, loader, told, clock):
    return Follower(RolloutStore(store), loader, 5.0, WorkerMetrics(told), clock)


def value(told, name, **labels):
    return told.get_sample_value(f"fraudstream_{name}", labels)


def test_each_new_rollout_is_loaded_once_and_offered(folder, follower, loader):
    served = []
    for control in ("1", "2"):
        put(folder, document(control))
        for _ in range(3):
            follower.poll()
            served.append(follower.serving.epoch)

    assert served == [1, 1, 1, 2, 2, 2]
    assert [epoch for epoch, _ in loader.asked] == [1, 2]


@pytest.mark.parametrize("error", [StoreUnavailableError("S3 does not answer"), NotPermittedError("no s3:GetObject")])
def test_what_serves_goes_on_for_hours_without_the_store_and_the_age_of_its_rollout_is_told(
    folder, store, follower, told, clock, error
):
    put(folder, document("1"))
    follower.poll()
    store.error = error

    with capture_logs() as logs:
        for _ in range(100):
            clock.now += 60
            follower.poll()

    assert follower.serving.epoch == 1
    assert value(told, "rollout_age_seconds") == 6000
    assert value(told, "rollout_held_back") == 0
    assert [(entry["event"], entry["reason"], entry["epoch_serving"]) for entry in logs] == [
        ("rollout_not_read", str(error), 1)
    ]
    store.error = None
    put(folder, document("2"))
    follower.poll()
    assert follower.serving.epoch == 2
    assert value(told, "rollout_age_seconds") == 0


def test_an_outage_is_said_again_when_it_comes_again(folder, store, follower):
    put(folder, document("1"))
    with capture_logs() as logs:
        for error in (StoreUnavailableError("away"), None, StoreUnavailableError("away")):
            store.error = error
            follower.poll()

    assert [entry["event"] for entry in logs] == ["rollout_not_read", "rollout_not_read"]


def test_a_rollout_that_was_removed_serves_on(folder, follower, told):
    put(folder, document("1"))
    follower.poll()
    (folder.root / CURRENT_KEY).unlink()

    follower.poll()

    assert follower.serving.epoch == 1
    assert value(told, "rollout_held_back") == 0


def test_a_rollout_that_makes_no_sense_is_held_back_until_it_is_put_right(folder, follower, told):
    put(folder, document("1"))
    follower.poll()
    path = folder.root / CURRENT_KEY
    good = path.read_bytes()
    path.write_bytes(b"{}")

    with capture_logs() as logs:
        for _ in range(3):
            follower.poll()

    assert follower.serving.epoch == 1
    assert [entry["event"] for entry in logs] == ["rollout_held_back"]
    assert value(told, "rollout_held_back") == 1
    assert value(told, "rollout_load_failures_total", part="rollout") == 3
    path.write_bytes(good)
    follower.poll()
    assert value(told, "rollout_held_back") == 0


@pytest.mark.parametrize("error", [FraudstreamError("the control cannot serve: m@2 was refused"), RuntimeError("42")])
def test_the_old_rollout_serves_whole_while_the_new_one_cannot_and_that_is_tried_ever_more_seldom(
    folder, follower, loader, told, clock, error
):
    put(folder, document("1"))
    follower.poll()
    put(folder, document("2"))
    loader.error = error
    begun = clock.now
    with capture_logs() as logs:
        for _ in range(60):
            follower.poll()
            clock.now += 5

    assert follower.serving.epoch == 1
    assert value(told, "rollout_held_back") == 1
    assert value(told, "rollout_age_seconds") == 5
    assert [at - begun for epoch, at in loader.asked if epoch == 2] == [0, 5, 15, 35, 75, 135, 195, 255]
    assert {(entry["event"], entry["epoch_serving"]) for entry in logs} == {("rollout_held_back", 1)}
    assert not any("42" in entry["reason"] for entry in logs), "only our own errors are known to hold no values"
    loader.error = None
    clock.now += 60
    follower.poll()
    assert follower.serving.epoch == 2
    assert value(told, "rollout_held_back") == 0


def test_a_rollout_that_replaces_one_held_back_does_not_wait_for_its_turn(folder, follower, loader, clock):
    put(folder, document("1"))
    loader.error = FraudstreamError("no")
    for _ in range(10):
        follower.poll()
        clock.now += 30
    loader.error = None
    put(folder, document("2"))

    follower.poll()

    assert follower.serving.epoch == 2


def test_a_missing_variant_is_tried_again_and_what_comes_to_the_same_changes_nothing(
    folder, follower, loader, told, clock
):
    put(folder, document("1", challenger=("2", 0.5)))
    loader.missing = (Missing("variant", "challenger", "m@2", "m@2 is not published"),)
    with capture_logs() as logs:
        follower.poll()
        degraded = follower.serving
        for _ in range(4):
            clock.now += 60
            follower.poll()

    assert follower.serving is degraded
    assert [(entry["event"], entry["name"], entry["reason"]) for entry in logs] == [
        ("model_missing", "challenger", "m@2 is not published")
    ]
    assert value(told, "rollout_load_failures_total", part="variant") == len(loader.asked) == 5
    assert value(told, "rollout_held_back") == 0
    loader.missing = ()
    clock.now += 60
    follower.poll()
    assert follower.serving.missing == ()
    clock.now += 600
    follower.poll()
    assert len(loader.asked) == 6


def test_what_was_missing_for_days_is_loaded_once_it_is_there(folder, follower, loader, clock):
    put(folder, document("1", challenger=("2", 0.5)))
    loader.missing = (Missing("variant", "challenger", "m@2", "m@2 is not published"),)
    for _ in range(1_100):
        follower.poll()
        clock.now += 60

    loader.missing = ()
    follower.poll()

    assert follower.serving.missing == ()


@pytest.mark.parametrize(("controls", "held"), [("1", []), ("12", ["m@1"]), ("123", ["m@2"])])
def test_after_a_start_the_control_of_the_rollout_before_is_held_for_a_rollback(
    folder, follower, loader, controls, held
):
    for control in controls:
        put(folder, document(control))
    follower.poll()
    put(folder, document("few"))

    follower.poll()

    assert loader.held == held


def test_a_history_that_cannot_be_read_holds_nothing_back(folder, follower, told):
    for control in "12":
        put(folder, document(control))
    (folder.root / "rollout/history/000001.json").write_bytes(b"{}")

    follower.poll()

    assert follower.serving.epoch == 2
    assert value(told, "rollout_held_back") == 0


def test_without_a_rollout_there_is_nothing_to_serve_and_it_is_said_why(folder, follower):
    with capture_logs() as logs:
        follower.poll()

    assert follower.serving is None
    assert [(entry["event"], entry["epoch_serving"]) for entry in logs] == [("rollout_not_read", None)]
    assert "there is no rollout in" in logs[0]["reason"]
    put(folder, document("1"))
    follower.poll()
    assert follower.serving.epoch == 1


def test_the_thread_polls_until_it_is_closed(folder, loader, told):
    follower = Follower(RolloutStore(folder), loader, 0.01, WorkerMetrics(told))
    follower.start()
    deadline = time.monotonic() + 10
    for control, epoch in (("1", 1), ("2", 2)):
        put(folder, document(control))
        while (follower.serving is None or follower.serving.epoch < epoch) and time.monotonic() < deadline:
            time.sleep(0.005)

    follower.close()

    assert follower.serving.epoch == 2
    assert not any(thread.name == "follow the rollout" for thread in threading.enumerate())


@pytest.fixture
def directory(tmp_path, small_models):
    files = dict(small_models["1"])
    manifest = from_json(files.pop(MANIFEST_FILE), "manifest")
    save(tmp_path / "model", manifest, files)
    return tmp_path / "model"


def test_a_model_that_is_given_serves_whatever_the_store_says(directory, tmp_path, told):
    settings = WorkerSettings(model=directory, store=str(tmp_path / "store"), input_format="json")

    source = source_of(settings, WorkerMetrics(told))

    assert isinstance(source, Directories)
    assert source.serving.epoch == 1
    assert value(told, "rollout_age_seconds") == 0


@pytest.mark.parametrize("kind", ["folder", "s3"])
def test_a_store_alone_is_followed_wherever_it_is(kind, tmp_path, small_models, told, request):
    where = {"store": str(tmp_path / "store")}
    if kind == "s3":
        s3 = request.getfixturevalue("s3")
        where = {"store": f"s3://{s3.bucket}/fraud", "store_endpoint": s3.direct}
    store = open_store(*where.values())
    Registry(store).publish(small_models["1"])
    put(store, document("1"))
    source = source_of(WorkerSettings(**where, input_format="json"), WorkerMetrics(told))

    source.poll()

    assert source.serving.lineages[0].model_version == "1"


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, "model is not set"),
        ({"store": "s3://"}, "names no bucket"),
        ({"store": "somewhere", "challenger": "other"}, "challenger: the rollout says what serves"),
        ({"store": "somewhere", "model_public_keys": ["nowhere.pem"]}, "nowhere.pem cannot be read"),
    ],
)
def test_a_setting_that_is_wrong_ends_the_worker_before_it_waits_for_anything(settings, sentence, told):
    with pytest.raises(ConfigurationError, match=sentence):
        source_of(WorkerSettings.model_validate(settings), WorkerMetrics(told))
