"""What decides a replay is one model or one rollout, whatever comes into force while it runs."""

import pytest
from served import document, put

from consumer.pinned import Pinned, load_pinned, pin
from consumer.settings import WorkerSettings
from consumer.wire import decider_of
from models.artifact import save
from models.manifest import MANIFEST_FILE, from_json
from models.registry import Registry
from models.store import NotStoredError, open_store
from schemas.errors import ConfigurationError, FraudstreamError


@pytest.fixture
def store(tmp_path, small_models):
    """A store with three versions, of which the first two have served."""
    store = open_store(str(tmp_path / "store"), None)
    for version in ("1", "2", "3"):
        Registry(store).publish(small_models[version])
    put(store, document("1"))
    put(store, document("2", challenger=("3", 0.25), shadows=("1",)))
    return store


def settings(store, **given):
    return WorkerSettings(store=store.url, input_format="json", **given)


def versions(serving):
    return [(line.variant, line.model_version, line.epoch) for line in serving.lineages]


def test_a_rollout_decides_as_it_did_when_it_served(store):
    first = load_pinned(settings(store), pin(settings(store), "1"))
    second = load_pinned(settings(store), pin(settings(store), "2"))

    assert versions(first) == [("champion", "1", 1)]
    assert versions(second) == [("champion", "2", 2), ("challenger", "3", 2)]
    assert second.shadows == ()


def test_the_current_rollout_is_pinned_by_its_number(store):
    name = pin(settings(store), "current")
    put(store, document("3"))

    assert name == "rollout 2"
    assert versions(Pinned(settings(store), name).serving)[0] == ("champion", "2", 2)


def test_a_published_version_decides_alone(store):
    given = settings(store, model="m@3")

    assert versions(load_pinned(given, pin(given, None))) == [("champion", "3", 1)]


def test_a_directory_decides_as_for_a_worker(tmp_path, small_models):
    files = dict(small_models["1"])
    manifest = from_json(files.pop(MANIFEST_FILE), "manifest")
    save(tmp_path / "a@b", manifest, files)
    given = WorkerSettings(model=tmp_path / "a@b", input_format="json")

    assert versions(load_pinned(given, pin(given, None))) == [("champion", "1", 1)]


def test_what_decides_has_a_digest_that_tells_models_apart_and_not_where_they_were(store, tmp_path, small_models):
    by_version, other, without_reasons = (
        digest_of(given)
        for given in (
            settings(store, model="m@1"),
            settings(store, model="m@2"),
            settings(store, model="m@1", reason_codes=0),
        )
    )
    again = digest_of(settings(store, model="m@1"))

    assert by_version == again
    assert len({by_version, other, without_reasons}) == 3


def digest_of(given):
    return decider_of(given, load_pinned(given, pin(given, None)).rollout).digest


def test_a_rollout_of_which_a_model_is_missing_decides_nothing(store):
    put(store, document("1", challenger=("gone", 0.5)))

    with pytest.raises(FraudstreamError, match="rollout 3 cannot decide: m@gone of challenger"):
        load_pinned(settings(store), "rollout 3")


@pytest.mark.parametrize(
    ("given", "rollout", "error", "sentence"),
    [
        ({}, None, ConfigurationError, "say what decides: --model .* or --rollout"),
        ({"model": "m@1"}, "1", ConfigurationError, "either --model or --rollout"),
        ({}, "one", ConfigurationError, "--rollout: 'one' is neither the number of a rollout nor current"),
    ],
)
def test_what_decides_is_named_once(store, given, rollout, error, sentence):
    with pytest.raises(error, match=sentence):
        pin(settings(store, **given), rollout)


def test_what_there_never_was_cannot_decide(store):
    with pytest.raises(NotStoredError, match="no rollout 9"):
        load_pinned(settings(store), pin(settings(store), "9"))
    with pytest.raises(ConfigurationError, match="store: say where models are kept"):
        pin(WorkerSettings(), "current")
