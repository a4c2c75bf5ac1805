"""What serves is what the rollout says; where a model cannot be had the control decides, and says so."""

import gc
import json
import weakref

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from prometheus_client import CollectorRegistry
from served import described, document, m
from worker_stream import wait_until

from consumer.decide import Bounds, Reasons, Roles, Source, decide
from consumer.in_force import InForce
from consumer.loading import Loader
from consumer.metrics import WorkerMetrics
from consumer.settings import WorkerSettings
from consumer.shadows import ShadowRunner
from models.folder import FolderStore
from models.manifest import MANIFEST_FILE, MODEL_FILE, SIGNATURE_FILE, GoldenRow, Policy, from_json
from models.registry import Registry
from models.sandbox import Trials
from schemas.columns import Reason
from schemas.decision import to_records
from schemas.errors import ConfigurationError, FraudstreamError
from schemas.load import load as load_schema

NOW = 1_700_000_000_000


class Counting:
    """A store that notes which models were read from it."""

    def __init__(self, store):
        self.store, self.read = store, []

    def __getattr__(self, name):
        return getattr(self.store, name)

    def get(self, key, *arguments):
        if key.endswith(MODEL_FILE):
            self.read.append(key.split("/")[2])
        return self.store.get(key, *arguments)


@pytest.fixture(scope="module")
def trials(sandbox):
    """Trials in the shared sandbox, which stays."""
    shared = Trials()
    shared._sandbox = sandbox
    shared.close = lambda: None
    return shared


@pytest.fixture
def store(tmp_path, small_models):
    made = Counting(FolderStore(tmp_path / "store"))
    for files in small_models.values():
        Registry(made).publish(files)
    return made


@pytest.fixture
def loader_of(store, trials, monkeypatch):
    monkeypatch.setattr("consumer.trusted.Trials", lambda: trials)
    return lambda **settings: Loader(Registry(store), WorkerSettings(input_format="json", **settings))


@pytest.fixture
def loader(loader_of):
    return loader_of()


def transaction(number, **values):
    features = {f"V{feature}": float(number % 7) for feature in range(1, 29)}
    ids = {"transaction_id": f"tx-{number}", "card_id": f"card-{number}", "event_time": NOW}
    return json.dumps({**features, **ids, "amount": 12.5, **values}).encode()


def decided(serving, count=200):
    columns = serving.reader.read([transaction(number) for number in range(count)])
    source = Source("in", np.zeros(count, np.int32), np.arange(count))
    roles, bounds = Roles("transaction_id", "card_id", "event_time", "amount"), Bounds(0, 0)
    return to_records(decide(columns, source, roles, bounds, serving.rollout, Reasons(0, ()), NOW).decisions)


def digest_of(files):
    return from_json(files[MANIFEST_FILE], "manifest").files[MODEL_FILE].sha256


def test_each_variant_is_served_by_its_own_model_under_its_own_policy(loader, small_models):
    serving = loader.load(document("1", epoch=7, challenger=("2", 0.4)))

    records = decided(serving)
    variants = {record["experiment"]["variant"]: record for record in records}
    assert serving.epoch == 7
    assert serving.degraded_share == 0
    for name, version, share in (("champion", "1", 0.6), ("challenger", "2", 0.4)):
        record = variants[name]
        manifest = from_json(small_models[version][MANIFEST_FILE], "manifest")
        assert record["model"]["sha256"] == digest_of(small_models[version])
        assert (record["model"]["name"], record["model"]["version"]) == ("m", version)
        assert record["policy"]["decline_at"] == manifest.policy.decline_at
        assert record["experiment"]["epoch"] == 7
        assert record["experiment"]["salt_id"] == "salt-1"
        assert record["experiment"]["probability"] == pytest.approx(share)
        assert not record["degraded"]


def test_a_policy_of_the_rollout_holds_for_every_variant(loader):
    serving = loader.load(document("1", challenger=("2", 0.4), policy=Policy("strict", 0.0, 0.0)))

    records = decided(serving)
    assert {record["policy"]["version"] for record in records} == {"strict"}
    assert {record["decision"] for record in records} == {"decline"}


def test_the_control_stands_in_under_the_policy_of_the_rollout_too(loader, store):
    altered({}, store)

    serving = loader.load(document("1", challenger=("2", 0.4), policy=Policy("strict", 0.0, 0.0)))

    assert {(r["degraded"], r["policy"]["version"], r["decision"]) for r in decided(serving)} == {
        (False, "strict", "decline"),
        (True, "strict", "decline"),
    }


def test_the_reader_reads_what_any_arm_needs_and_no_more(loader):
    few = loader.load(document("few", shadows=["1"]))
    both = loader.load(document("few", challenger=("1", 0.5)))

    assert set(few.reader.read([]).columns) == {
        "transaction_id", "card_id", "event_time", "amount", "V1", "V2",
    }  # fmt: skip
    assert {"V3", "V28"} <= set(both.reader.read([]).columns)


def test_what_is_wrong_with_a_field_that_a_shadow_alone_needs_is_wrong_with_no_transaction(loader):
    serving = loader.load(document("few", shadows=["1", "few"]))
    payloads = [transaction(0), transaction(1, V3="oops"), transaction(2, V3=None)]
    runner = ShadowRunner(serving.shadows, 10.0, lambda _name, _outcome: None)

    columns = serving.reader.read(payloads)
    scores = runner.take(runner.begin(columns, payloads), np.arange(3))

    assert columns.reason.tolist() == [Reason.OK] * 3
    assert np.isfinite(scores["shadow-1"]).tolist() == [True, False, True]
    assert np.isfinite(scores["shadow-few"]).all()


def test_a_reader_of_the_same_features_goes_on_with_the_schemas_it_has_met(loader):
    before, after = loader.load(document("1")), loader.load(document("2", epoch=2))

    assert before.reader is after.reader


def unpublished(_files, store):
    (store.root / "models/m/2/manifest.json").unlink()


def altered(_files, store):
    path = store.root / "models/m/2" / MODEL_FILE
    path.write_bytes(path.read_bytes()[:-1] + b"x")


def otherwise_scoring(files, store):
    golden = from_json(files[MANIFEST_FILE], "manifest").golden_rows
    files = described(files, golden_rows=(GoldenRow(golden[0].features, 0.5), *golden[1:]))
    (store.root / "models/m/2" / MANIFEST_FILE).write_bytes(files[MANIFEST_FILE])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (unpublished, "m@2 is not published in"),
        (altered, "is not the file its manifest describes"),
        (otherwise_scoring, "m@2 was refused on trial: it scores its golden rows otherwise than in training"),
    ],
)
def test_the_control_decides_for_a_variant_whose_model_cannot_be_had_and_the_decisions_say_so(
    loader, store, small_models, damage, reason
):
    damage(small_models["2"], store)

    serving = loader.load(document("1", challenger=("2", 0.4)))

    (missing,) = serving.missing
    assert (missing.role, missing.name, missing.version) == ("variant", "challenger", "m@2")
    assert reason in missing.reason
    assert serving.degraded_share == pytest.approx(0.4)
    for record in decided(serving):
        assert record["model"]["version"] == "1"
        assert record["degraded"] == (record["experiment"]["variant"] == "challenger")
        assert record["fallback_reason"] == (missing.reason if record["degraded"] else None)


def test_an_unsigned_model_is_missing_where_models_must_be_signed(loader_of, store, tmp_path, small_models):
    key = Ed25519PrivateKey.generate()
    (tmp_path / "key.pem").write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    signature = key.sign(small_models["1"][MANIFEST_FILE])
    (store.root / "models/m/1" / SIGNATURE_FILE).write_bytes(signature)

    serving = loader_of(model_public_keys=[tmp_path / "key.pem"]).load(document("1", challenger=("2", 0.4)))

    (missing,) = serving.missing
    assert "m@2/manifest.json is not signed" in missing.reason


def test_a_model_whose_features_the_input_does_not_have_as_numbers_is_missing(loader_of, tmp_path):
    schema = load_schema("transaction")
    for field in schema["fields"]:
        if field["name"] == "V3":
            field["type"] = ["null", "string"]
    (tmp_path / "text.avsc").write_text(json.dumps(schema))

    serving = loader_of(input_schema=tmp_path / "text.avsc").load(document("few", challenger=("1", 0.4)))

    (missing,) = serving.missing
    assert "The field V3 of the input is not a number" in missing.reason


def test_a_shadow_that_cannot_be_had_is_left_out_and_degrades_nothing(loader, store, small_models):
    altered(small_models["2"], store)

    serving = loader.load(document("1", shadows=["2", "3"]))

    assert [shadow.name for shadow in serving.shadows] == ["shadow-3"]
    assert [(each.role, each.name) for each in serving.missing] == [("shadow", "shadow-2")]
    assert serving.degraded_share == 0
    assert not any(record["degraded"] for record in decided(serving))


def test_nobody_stands_in_for_the_control(loader, store, small_models):
    altered(small_models["2"], store)
    loader.load(document("1"))

    with pytest.raises(FraudstreamError, match=r"the control cannot serve: .*m/2/model\.ubj"):
        loader.load(document("2", epoch=2, challenger=("1", 0.4)))


def test_a_rollout_that_routes_by_another_field_is_refused(loader):
    with pytest.raises(ConfigurationError, match=r"rollout 1 routes by 'account_id', and unit_field is 'card_id'"):
        loader.load(document("1", unit="account_id"))


def test_a_role_that_the_input_lacks_is_said_before_there_is_a_rollout(loader_of):
    with pytest.raises(ConfigurationError, match="nonsense"):
        loader_of(unit_field="nonsense")


def test_a_model_that_is_here_is_not_loaded_again_nor_that_which_a_rollback_needs(loader, store):
    loader.load(document("1"))
    loader.load(document("1", epoch=2, challenger=("2", 0.1), shadows=["2"]))
    loader.load(document("2", epoch=3))
    loader.load(document("1", epoch=4))

    assert store.read == ["1", "2"]


def test_one_model_more_is_held_than_serves(loader):
    held = []
    for epoch, control in enumerate(["1", "2", "2", "3", "few"], 1):
        loader.load(document(control, epoch=epoch))
        held.append(loader.held)

    assert held == [{m("1")}, {m("1"), m("2")}, {m("1"), m("2")}, {m("2"), m("3")}, {m("3"), m("few")}]


def test_a_process_that_was_started_after_a_promotion_is_as_ready_for_a_rollback(loader, store):
    loader.load(document("2", epoch=2))
    loader.hold(m("1"))
    assert loader.held == {m("1"), m("2")}

    serving = loader.load(document("1", epoch=3))

    assert serving.missing == ()
    assert store.read == ["2", "1"]


def test_what_is_held_is_never_more_than_one_and_no_broken_one(loader, store, small_models):
    loader.load(document("1"))
    altered(small_models["2"], store)
    loader.hold(m("2"))
    loader.hold(m("3"))
    loader.hold(m("few"))

    assert loader.held == {m("1"), m("3")}


def test_what_served_is_freed_after_the_swap_without_the_collector(loader):
    latest = [loader.load(document("1", shadows=["2"]))]
    in_force = InForce(lambda: latest[0], 1.0, WorkerMetrics(CollectorRegistry()))
    in_force.swap()
    models = [latest[0].rollout.arms[0].scorer, latest[0].shadows[0].scorer]
    control, shadow = (weakref.ref(model.ensemble.boosters[0]) for model in models)
    models.clear()
    gc.disable()
    try:
        latest[0] = loader.load(document("3", epoch=2))
        in_force.swap()
        wait_until(lambda: shadow() is None)
        assert control() is not None, "a rollback would have to wait for it"
        latest[0] = loader.load(document("few", epoch=3))
        in_force.swap()
        wait_until(lambda: control() is None)
    finally:
        gc.enable()


def test_bytes_that_passed_their_trial_are_not_tried_again(small_models, monkeypatch):
    tried = []

    class Fake:
        def check(self, files, source):
            tried.append(source)

        def close(self):
            tried.append("closed")

    monkeypatch.setattr("models.sandbox.Sandbox", Fake)
    trials = Trials()
    for source, version in (("a", "1"), ("b", "1"), ("c", "2")):
        trials.check(small_models[version], source)
    trials.close()
    trials.check(small_models["2"], "d")
    trials.check(small_models["3"], "e")

    assert tried == ["a", "c", "closed", "e"]


def test_a_reason_that_stands_in_every_decision_is_short(loader, monkeypatch):
    def fail(*_arguments, **_options):
        raise FraudstreamError("x" * 5000)

    loader.load(document("1"))
    monkeypatch.setattr("consumer.trusted.from_files", fail)

    serving = loader.load(document("1", epoch=2, challenger=("2", 0.4)))

    assert [each.reason for each in serving.missing] == ["x" * 200]


def test_whatever_goes_wrong_with_one_model_the_others_serve(loader, monkeypatch):
    def fail(*_arguments, **_options):
        raise MemoryError

    loader.load(document("1"))
    monkeypatch.setattr("consumer.trusted.from_files", fail)

    serving = loader.load(document("1", epoch=2, challenger=("2", 0.4)))

    assert serving.missing[0].reason == "m@2 could not be loaded (MemoryError)"
