"""`fraudstream retrain`: a request becomes a successor that watches, once, whatever happens meanwhile."""

import json
import shutil
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import pandas as pd
import pytest
from confluent_kafka import Producer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from mock_cluster import running_mock_cluster
from typer.testing import CliRunner

from drift.alarm import Severity
from drift.report import DriftReport, DriftTest, Kind
from drift.retrain import decode, encode, key_of
from drift.tally import Counts
from drift.windows import DAY, Watched
from fraudstream.__main__ import app
from fraudstream.commands.retrain_sources import Sources, period_of
from fraudstream.retraining import Requests
from models import rollout_changes
from models.artifact import read_directory
from models.folder import FolderStore
from models.manifest import MANIFEST_FILE, from_json, to_json
from models.registry import Registry, Version
from models.rollout import Changed, first
from models.rollout_changes import By
from models.rollout_store import RolloutStore
from models.sandbox import Sandbox
from models.signature import sign_directory
from models.train import TrainingSettings, train_to
from producer import sample_path
from schemas.dataset import read_dataset
from schemas.errors import BadModelError, ConfigurationError, InvalidRecordError

CHAMPION = Version("card-fraud", "1")
END = 1_380_000_600_000
KEY = f"card-fraud@1/{END}"
WHEN = datetime(2026, 11, 26, tzinfo=UTC)


def report(model=CHAMPION, end=END):
    """A window in which two features drifted."""
    tests = [
        DriftTest(subject, Kind.DISTRIBUTION, 0.5, 0.05, 1e-30, 1e-28, Severity.CRITICAL) for subject in ("V14", "V4")
    ]
    watched = Watched(model.name, model.version, "champion")
    tested = tuple(tests), Severity.CRITICAL
    return DriftReport(
        watched, "ab" * 32, "10m", end - 600_000, end, 5_000, 5_000.0, Counts(5_000), ("1",), 1e-6, tested[1], tested[0]
    )


@pytest.fixture(scope="module")
def cluster():
    with running_mock_cluster() as running:
        yield running


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The files of a champion in a directory, and what it has become bad at: the sign of V14 has turned."""
    made = tmp_path_factory.mktemp("retrain")
    frame = pd.read_parquet(sample_path(), columns=["Time", "V4", "V14", "Amount", "Class"])
    frame = frame[(frame["Class"] == 1) | (frame.index % 8 == 0)]
    frame.to_parquet(made / "usual.parquet")
    frame.assign(V14=-frame["V14"]).to_parquet(made / "drifted.parquet")
    dataset = read_dataset(made / "usual.parquet", features=("V4", "V14", "Amount"))
    train_to(made / "model", dataset, TrainingSettings(version="1", rounds=12, seed=3))
    return made


@pytest.fixture
def store(home, tmp_path):
    """A store with the champion, which has all cards."""
    kept = FolderStore(tmp_path / "store")
    Registry(kept).publish(read_directory(home / "model"))
    RolloutStore(kept).write(first(CHAMPION, Changed("alice", WHEN, "the first one", "promote")), None)
    return kept


@pytest.fixture
def rollouts(store):
    return RolloutStore(store)


@pytest.fixture
def ask(cluster):
    """Writes values to a topic of requests; without any it is empty."""
    topic = f"requests-{uuid.uuid4().hex[:8]}"
    cluster.create_topic(topic)
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers, "log_level": 0})

    def write(*values):
        for value in values:
            producer.produce(topic, value)
        assert producer.flush(30) == 0

    write.topic = topic
    return write


@pytest.fixture
def run(ask, cluster, store, home, sandbox, tmp_path, monkeypatch):
    """Runs `fraudstream retrain …` as alice, with the drifted data; models are tried in the sandbox of all tests."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRAUDSTREAM_STORE", "store")
    monkeypatch.setenv("FRAUDSTREAM_BOOTSTRAP_SERVERS", cluster.bootstrap_servers)
    monkeypatch.setenv("FRAUDSTREAM_RETRAIN_TOPIC", ask.topic)
    monkeypatch.setenv("FRAUDSTREAM_GROUP", ask.topic)
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("LOGNAME", "alice")
    monkeypatch.setattr("models.sandbox.Sandbox", lambda: Shared(sandbox))

    def call(*words, data="drifted"):
        given = ("--data", str(home / f"{data}.parquet")) if data else ()
        return CliRunner().invoke(app, ["retrain", *given, *words], catch_exceptions=False)

    return call


@dataclass
class Shared:
    """The sandbox of all tests, which nobody closes before their end."""

    sandbox: Sandbox

    def check(self, files, source):
        self.sandbox.check(files, source)

    def close(self):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


class Killed(BaseException):
    pass


def die(*_):
    raise Killed


def versions(store):
    return {str(version) for version in Registry(store).versions()}


def test_where_nothing_waits_that_is_said_and_nothing_is_done(run, rollouts):
    said = run()

    assert (said.exit_code, said.stdout.split()[:4]) == (0, ["No", "request", "waits", "on"])
    assert json.loads(run("--json").stdout) == {"request": None, "outcome": "nothing"}
    assert len(rollouts.history()) == 1


def test_a_request_becomes_a_shadow_of_a_new_version_with_who_and_why_and_no_card_moves(run, ask, store, rollouts):
    ask(encode(report()))

    said = run()

    assert said.exit_code == 0, said.output
    before, now = rollouts.history()
    (shadow,) = now.shadows
    assert now.variants == before.variants
    assert versions(store) == {str(CHAMPION), shadow.version}
    assert shadow.version.startswith("card-fraud@")
    assert (now.changed.who, now.changed.what) == ("alice", f"shadow {shadow.version}")
    assert now.changed.why == f"retraining request {KEY}: V14, V4 drifted"
    assert f"Request {KEY}: V14, V4 drifted." in said.stdout
    assert "Rollout 2 is in force" in said.stdout
    assert "No request waits" in run().stdout
    assert_same_recipe(*(Registry(store).manifest(version) for version in (CHAMPION, shadow.model)))


def assert_same_recipe(champion, successor):
    for name in ("seed", "rounds", "ensemble", "review_rate", "decline_precision", "train_share"):
        assert successor.settings[name] == champion.settings[name]
    assert [each.name for each in successor.features] == [each.name for each in champion.features]
    assert "baseline.npz" in successor.files
    assert successor.training_data.sha256 != champion.training_data.sha256


def test_a_rehearsal_says_what_would_change_and_changes_nothing(run, ask, store, rollouts):
    ask(encode(report()))

    rehearsed = run("--dry-run", "--json")
    said = run("--dry-run").stdout

    told = json.loads(rehearsed.stdout)
    assert (told["outcome"], told["champion"]) == ("dry run", "card-fraud@1")
    assert told["pr_auc"]["successor"] > told["pr_auc"]["champion"]
    assert "Rollout 1 → 2: shadow card-fraud@" in said
    assert "Nothing was published or written" in said
    assert versions(store) == {str(CHAMPION)}
    assert len(rollouts.history()) == 1
    assert json.loads(run("--json").stdout) == told | {"outcome": "shadow", "rollout": 2}


def worse(files):
    """The champion, whose successors are given a single round."""
    manifest = from_json(files[MANIFEST_FILE], "a test")
    return files | {MANIFEST_FILE: to_json(replace(manifest, version="2", settings=manifest.settings | {"rounds": 1}))}


def test_a_successor_that_is_worse_than_allowed_is_refused_once_and_not_published(run, ask, store, home, rollouts):
    Registry(store).publish(worse(read_directory(home / "model")))
    document, etag = rollouts.current()
    rollouts.write(rollout_changes.promote(document, Version("card-fraud", "2"), By("bob", WHEN, "")), etag)
    ask(*[encode(report(Version("card-fraud", "2"), end=END + number)) for number in (0, 1)])

    refused = run(data="usual")
    allowed = run("--worse-by", "1", data="usual")

    assert refused.exit_code == 1
    assert "below that of the model in place, and --worse-by allows 0" in refused.stderr
    assert allowed.exit_code == 0
    assert len(versions(store)) == 3
    assert rollouts.current()[0].changed.why.startswith(f"retraining request card-fraud@2/{END + 1}: ")


def test_killed_before_the_request_is_noted_as_done_it_is_not_answered_twice(run, ask, store, rollouts, monkeypatch):
    ask(encode(report()))
    with monkeypatch.context() as killed:
        killed.setattr(Requests, "done", die)
        with pytest.raises(Killed):
            run()
    assert len(rollouts.history()) == 2

    again = run()

    assert again.exit_code == 0
    assert f"request {KEY} was answered by rollout 2 already" in again.stderr
    assert "No request waits" in again.stdout
    assert len(rollouts.history()) == 2
    assert run().stderr == ""


def test_killed_between_publishing_and_the_rollout_it_ends_with_the_same_version(
    run, ask, store, rollouts, monkeypatch
):
    ask(encode(report()))
    with monkeypatch.context() as away:
        away.setattr(RolloutStore, "write", die)
        with pytest.raises(Killed):
            run()
    published = versions(store)
    assert len(published) == 2

    assert run().exit_code == 0
    assert versions(store) == published
    assert len(rollouts.current()[0].shadows) == 1


def test_who_changes_the_rollout_meanwhile_keeps_his_change(run, ask, store, rollouts, monkeypatch):
    ask(encode(report()))
    write, others = RolloutStore.write, []

    def quicker(self, document, etag):
        if not others:
            others.append(document)
            now = replace(
                rollouts.current()[0], epoch=2, experiment_id="other", changed=Changed("bob", WHEN, "", "set")
            )
            write(self, now, etag)
        return write(self, document, etag)

    monkeypatch.setattr(RolloutStore, "write", quicker)
    said = run("--json")

    assert json.loads(said.stdout)["rollout"] == 3
    history = rollouts.history()
    assert [each.changed.who for each in history] == ["alice", "bob", "alice"]
    assert history[-1].experiment_id == "other"
    assert len(history[-1].shadows) == 1


def test_what_is_no_request_or_about_a_model_that_decides_no_more_is_stepped_over_and_said(run, ask, rollouts):
    ask(b"hello", encode(report())[:-30], encode(report(Version("card-fraud", "old"))), encode(report()))

    rehearsed = run("--dry-run")
    said = run()

    assert said.exit_code == rehearsed.exit_code == 0
    for text in (
        "offset 0 of partition 0",
        "is skipped: it is a broken retraining request",
        f"request card-fraud@old/{END} is skipped: card-fraud@old decides no more",
    ):
        assert text in said.stderr
        assert text in rehearsed.stderr
    assert rollouts.current()[0].changed.why.startswith(f"retraining request {KEY}: ")
    assert run().stderr == ""


def test_where_models_must_be_signed_so_must_the_successor(run, ask, store, home, tmp_path, monkeypatch):
    private = Ed25519PrivateKey.generate()
    encoding = serialization.Encoding.PEM
    plain = serialization.NoEncryption()
    (tmp_path / "key.pem").write_bytes(private.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    subject = serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "public.pem").write_bytes(private.public_key().public_bytes(encoding, subject))
    monkeypatch.setenv("FRAUDSTREAM_MODEL_PUBLIC_KEYS", '["public.pem"]')
    signed = shutil.copytree(home / "model", tmp_path / "signed")
    sign_directory(signed, private)
    Registry(store).publish(read_directory(signed))
    ask(encode(report()))

    with pytest.raises(BadModelError, match="is not signed"):
        run()
    assert run("--key", "key.pem").exit_code == 0
    assert len(versions(store)) == 2


def test_data_that_gives_the_very_model_that_decides_is_said_to_be_nothing_new(run, ask, rollouts, store, home):
    same = from_json(read_directory(home / "model")[MANIFEST_FILE], "a test")
    files = read_directory(home / "model") | {
        MANIFEST_FILE: to_json(replace(same, version=same.files["model.ubj"].sha256[:12]))
    }
    Registry(store).publish(files)
    own = Version("card-fraud", same.files["model.ubj"].sha256[:12])
    document, etag = rollouts.current()
    rollouts.write(rollout_changes.promote(document, own, By("bob", WHEN, "")), etag)
    ask(encode(report(own)))

    with pytest.raises(ConfigurationError, match="decides already"):
        run("--worse-by", "1", data="usual")


@pytest.mark.parametrize(
    ("setting", "words", "message"),
    [
        ({"FRAUDSTREAM_STORE": ""}, (), "store"),
        ({"FRAUDSTREAM_STORE": "empty"}, (), "there is no rollout yet"),
        ({"FRAUDSTREAM_RETRAIN_TOPIC": "nothing"}, (), "topic nothing does not exist"),
        ({}, ("--data", "none.csv"), "none.csv does not exist"),
        ({}, ("--label", "chargeback"), "no column 'chargeback'"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_that_names_it(run, ask, monkeypatch, setting, words, message):
    ask(encode(report()))
    for name, value in setting.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=message):
        run(*words)


@pytest.mark.parametrize(("matured", "days"), [(None, 30), ("30d", 60)])
def test_labels_that_must_ripen_move_where_the_labelled_window_begins(matured, days):
    period = period_of(END, Sources(None, {}, None, "fraud.labels", None, None, matured))

    assert END - period.start == days * DAY


def test_a_request_comes_back_from_its_bytes():
    made = decode(encode(report()))

    assert (str(made.version), made.variant, made.window_end) == ("card-fraud@1", "champion", END)
    assert made.subjects == ("V14", "V4")
    assert made.key.encode() == key_of(report()) == KEY.encode()
    for broken in (None, b"", b"{}", encode(report())[:-30], encode(report(Version("m", "1")))[:10] + bytes([9])):
        with pytest.raises(InvalidRecordError):
            decode(broken)
