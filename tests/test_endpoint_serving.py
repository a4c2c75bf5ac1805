"""A rollout may say that an endpoint serves: who cannot be reached stands by, and who has us not is named."""

import json
from dataclasses import replace

import numpy as np
import pytest
from prometheus_client import CollectorRegistry
from served import document, put

from consumer.decide import Bounds, Reasons, Roles, Source, decide
from consumer.follow import Follower
from consumer.loading import Loader
from consumer.metrics import WorkerMetrics
from consumer.sampling import Batch, sample
from consumer.settings import WorkerSettings
from models.breaker import State
from models.endpoint import Breaker, Endpoint
from models.folder import FolderStore
from models.manifest import MANIFEST_FILE, MODEL_FILE, Member, from_json, to_json
from models.registry import Registry
from models.rollout_store import RolloutStore
from models.sandbox import Trials
from models.scorer import EndpointMissingError, EndpointRefusesError
from schemas.decision import to_records
from schemas.errors import ConfigurationError, FraudstreamError

NOW = 1_700_000_000_000
COUNT = 200


@pytest.fixture
def store(tmp_path, small_models):
    made = FolderStore(tmp_path / "store")
    for files in small_models.values():
        Registry(made).publish(files)
    return made


@pytest.fixture
def metrics():
    return WorkerMetrics(CollectorRegistry())


@pytest.fixture
def loader_of(store, sandbox, monkeypatch, fake, metrics):
    shared = Trials()
    shared._sandbox = sandbox
    shared.close = lambda: None
    monkeypatch.setattr("consumer.trusted.Trials", lambda: shared)

    def make(**settings):
        given = {"input_format": "json", "sagemaker_url": fake.url} | settings
        return Loader(Registry(store), WorkerSettings(**given), metrics.observe_request)

    return make


FRAUD = Endpoint(
    "fraud",
    budget_seconds=30.0,
    connect_seconds=20.0,
    read_seconds=20.0,
    breaker=Breaker(least=1, probes=1, probe_seconds=0.2),
)


def remote(made, variant, **settings):
    """The rollout with one of its variants at the endpoint."""
    variants = [
        replace(each, backend="sagemaker", endpoint=replace(FRAUD, **settings)) if each.name == variant else each
        for each in made.variants
    ]
    return replace(made, variants=tuple(variants))


def transaction(number):
    features = {f"V{feature}": float(number % 7) for feature in range(1, 29)}
    ids = {"transaction_id": f"tx-{number}", "card_id": f"card-{number}", "event_time": NOW}
    return json.dumps({**features, **ids, "amount": 12.5}).encode()


def decided(serving):
    values = [transaction(number) for number in range(COUNT)]
    columns = serving.reader.read(values)
    source = Source("in", np.zeros(COUNT, np.int32), np.arange(COUNT))
    roles, bounds = Roles("transaction_id", "card_id", "event_time", "amount"), Bounds(0, 0)
    verdict = decide(columns, source, roles, bounds, serving.rollout, Reasons(0, ()), NOW)
    rollout = replace(serving.rollout, arms=verdict.arms)
    return verdict, Batch(values, source.partitions, source.offsets, columns, verdict, rollout, NOW)


def kinds(verdict):
    """By variant: version, backend, whether degraded and the production variant."""
    return {
        (r["experiment"]["variant"], r["model"]["version"], r["model"]["backend"], r["degraded"], r["invoked_variant"])
        for r in to_records(verdict.decisions)
    }


def test_a_variant_is_served_by_its_endpoint_beside_one_in_process_and_counted(loader_of, metrics):
    serving = loader_of().load(remote(document("2", challenger=("1", 0.4)), "challenger"))

    verdict, _ = decided(serving)
    metrics.observe_verdict(verdict)
    metrics.observe_breakers(serving)

    assert kinds(verdict) == {
        ("champion", "2", "xgboost", False, None),
        ("challenger", "1", "sagemaker", False, "blue"),
    }
    invoked = metrics.invoked_decisions.labels("challenger", "blue")._value.get()
    assert invoked == sum(r["invoked_variant"] == "blue" for r in to_records(verdict.decisions))
    assert metrics.endpoint_requests.labels("challenger", "answered")._value.get() == 2  # a probe and the batch
    assert metrics.endpoint_breaker.labels("challenger")._value.get() == State.CLOSED


def test_a_fallback_with_other_features_is_fed_and_its_sample_names_it(loader_of, fake):
    made = remote(document("2", challenger=("1", 0.4)), "challenger", on_outage="fallback", fallback="m@few")
    serving = loader_of().load(made)
    fake.break_with("down")

    verdict, batch = decided(serving)

    assert kinds(verdict) == {("champion", "2", "xgboost", False, None), ("challenger", "few", "xgboost", True, None)}
    sampled = sample(batch, 1.0)
    assert [(arm.model_version, arm.features) for arm in sampled.arms][1] == ("few", ("V1", "V2", "amount"))
    assert sum(len(arm.hashes) for arm in sampled.arms) == COUNT


def test_an_endpoint_that_goes_on_serving_keeps_what_it_has_seen(loader_of):
    loader = loader_of()
    first = loader.load(remote(document("1"), "champion"))
    second = loader.load(remote(document("1", epoch=2, challenger=("2", 0.1)), "champion"))
    third = loader.load(remote(document("1", epoch=3), "champion", in_flight=2))

    scorers = [serving.rollout.arms[0].scorer for serving in (first, second, third)]
    assert scorers[0] is scorers[1]
    assert scorers[1] is not scorers[2]


def test_the_control_stands_in_for_a_challenger_whose_endpoint_is_missing(loader_of):
    serving = loader_of().load(remote(document("2", challenger=("1", 0.4)), "challenger", name="none"))

    verdict, _ = decided(serving)
    assert kinds(verdict) == {("champion", "2", "xgboost", False, None), ("challenger", "2", "xgboost", True, None)}
    assert serving.missing[0].reason.startswith("endpoint none does not exist")


def test_a_shadow_at_an_endpoint_scores_and_where_it_cannot_nothing_is_held(loader_of, fake):
    from consumer.shadows import ShadowRunner

    made = document("2", shadows=["1"])
    shadow = replace(made.shadows[0], backend="sagemaker", endpoint=FRAUD)
    serving = loader_of().load(replace(made, shadows=(shadow,)))
    results = []
    runner = ShadowRunner(serving.shadows, 10, lambda _, result: results.append(result))
    payloads = [transaction(number) for number in range(5)]
    columns = serving.reader.read(payloads)

    scores = runner.take(runner.begin(columns, payloads), np.arange(5))
    fake.break_with("down")
    nothing = runner.take(runner.begin(columns, payloads), np.arange(5))

    assert results == ["scored", "failed"]
    assert np.isfinite(scores["shadow-1"]).all()
    assert nothing == {}


@pytest.mark.parametrize(
    ("settings", "fault", "error"),
    [({"name": "none"}, None, EndpointMissingError), ({}, "403", EndpointRefusesError)],
)
def test_a_control_whose_endpoint_has_us_not_ends_a_start_and_is_held_back_later(
    loader_of, store, metrics, fake, settings, fault, error
):
    put(store, remote(document("1"), "champion", **settings))
    fake.break_with(fault)
    starting = Follower(RolloutStore(store), loader_of(), 5.0, metrics)

    starting.poll()

    assert isinstance(starting.refusal, error)
    fake.break_with(None)
    put(store, document("2"))
    running = Follower(RolloutStore(store), loader_of(), 5.0, metrics)
    running.poll()
    put(store, remote(document("1"), "champion", **settings))
    fake.break_with(fault)
    running.poll()
    assert running.refusal is None
    assert kinds(decided(running.serving)[0]) == {("champion", "2", "xgboost", False, None)}


def test_a_start_during_an_outage_waits_for_the_endpoint_or_falls_back(loader_of, fake):
    fake.break_with("down")
    serving = loader_of().load(remote(document("1"), "champion", on_outage="fallback"))

    assert kinds(decided(serving)[0]) == {("champion", "1", "xgboost", True, None)}


def test_an_endpoint_that_serves_another_version_is_not_let_serve(loader_of):
    with pytest.raises(FraudstreamError, match="endpoint fraud does not serve m@2"):
        loader_of().load(remote(document("2"), "champion"))


def test_a_budget_that_the_group_has_no_patience_for_is_refused(loader_of):
    loader = loader_of(consumer_kafka={"max.poll.interval.ms": "9000"})

    with pytest.raises(ConfigurationError, match=r"for 30 s .* must allow for twice, and it is 9 s"):
        loader.load(remote(document("1"), "champion"))


def test_an_ensemble_at_an_endpoint_is_refused(loader_of, store, small_models):
    manifest = from_json(small_models["1"][MANIFEST_FILE], "manifest")
    members = (Member(MODEL_FILE, 0.5), Member("second.ubj", 0.5))
    files = small_models["1"] | {"second.ubj": small_models["1"][MODEL_FILE]}
    both = manifest.files | {"second.ubj": manifest.files[MODEL_FILE]}
    manifest = replace(manifest, version="two", members=members, files=both)
    Registry(store).publish(files | {MANIFEST_FILE: to_json(manifest)})

    with pytest.raises(FraudstreamError, match="m@two has 2 members"):
        loader_of().load(remote(document("two"), "champion"))


@pytest.mark.parametrize("url", ["http://sagemaker.example", "ftp://x", "https://user:secret@host", "https://x/path"])
def test_an_address_that_would_tell_features_to_the_network_or_is_none_is_refused(url):
    with pytest.raises(ValueError, match="sagemaker_url"):
        WorkerSettings(sagemaker_url=url)
