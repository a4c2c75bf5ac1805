"""A model asks for features; the input must have them, and a worker says which are missing before it reads anything."""

import json

import pytest

from consumer.loading import load_rollout
from consumer.settings import WorkerSettings
from consumer.wire import input_fields
from models.artifact import check_features
from models.train import TrainingSettings, train_to
from producer import sample_path
from schemas.dataset import read_dataset
from schemas.errors import BadModelError
from schemas.load import load as load_schema


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model"
    train_to(path, read_dataset(sample_path()), TrainingSettings(rounds=5))
    return path


@pytest.fixture
def short_schema(tmp_path):
    """The shipped transaction without V3 and V7."""
    schema = load_schema("transaction")
    schema["fields"] = [field for field in schema["fields"] if field["name"] not in ("V3", "V7")]
    path = tmp_path / "short.avsc"
    path.write_text(json.dumps(schema))
    return path


def test_features_may_come_in_any_order_among_other_columns(model, load):
    manifest = load(model).manifest
    names = [feature.name for feature in manifest.features]

    check_features(manifest, ["card_id", *reversed(names)], "model")


def test_features_that_the_input_lacks_are_named(model, load):
    manifest = load(model).manifest
    columns = [feature.name for feature in manifest.features if feature.name not in ("V3", "V7")]

    with pytest.raises(BadModelError, match=r"cards/7 needs features that the input does not have: V3, V7$"):
        check_features(manifest, columns, "cards/7")
    with pytest.raises(BadModelError, match=r"V1, V2, V3, V4, V5, …$"):
        check_features(manifest, [], "cards/7")


def test_a_worker_refuses_a_model_that_its_schema_cannot_feed(model, short_schema):
    with pytest.raises(BadModelError, match="needs features that the input does not have: V3, V7"):
        load_rollout(WorkerSettings(model=model, input_schema=short_schema))


def test_what_every_record_has_is_what_all_pinned_schemas_have(short_schema, tmp_path):
    whole = tmp_path / "whole.avsc"
    whole.write_text(json.dumps(load_schema("transaction")))

    fields = input_fields(WorkerSettings(input_schema_ids={1: whole, 2: short_schema}))

    assert fields is not None
    assert "V4" in fields
    assert "V3" not in fields


def test_fields_are_unknown_before_a_registry_is_asked():
    assert input_fields(WorkerSettings(schema_registry_url="http://127.0.0.1:1")) is None
