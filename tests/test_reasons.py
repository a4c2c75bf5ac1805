"""What a feature is called as a reason comes from a file beside the model, which is digested like the model."""

import json
from dataclasses import replace

import pytest

from models.artifact import load
from models.reasons import ReasonName, read_reasons
from models.train import TrainingSettings, train_to
from producer import sample_path
from schemas.dataset import read_dataset
from schemas.errors import ConfigurationError

NAMES = json.dumps({"amount": {"code": "AMOUNT", "text": "the amount of the payment"}}).encode()


@pytest.fixture(scope="module")
def sample():
    dataset = read_dataset(sample_path())
    return replace(dataset, frame=dataset.frame[["time", "is_fraud", *dataset.features]])


@pytest.fixture
def named(sample, tmp_path):
    train_to(tmp_path / "model", sample, TrainingSettings(rounds=2), reasons=NAMES)
    return tmp_path / "model"


def test_a_feature_bears_the_code_that_was_given_and_any_other_its_own_name(named):
    model = load(named)

    assert model.reasons == {"amount": ReasonName("AMOUNT", "the amount of the payment")}
    assert dict(zip(model.features, model.codes, strict=True))["amount"] == "AMOUNT"
    assert set(model.codes) - {"AMOUNT"} == set(model.features) - {"amount"}


def test_names_that_were_altered_are_refused_like_an_altered_model(named):
    (named / "reasons.json").write_bytes(NAMES.replace(b"payment", b"pigment"))

    with pytest.raises(ConfigurationError, match=r"reasons\.json is not the file its manifest describes"):
        load(named)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"not json", "does not give each feature a code and a text"),
        (b'{"amount": "AMOUNT"}', "does not give each feature a code and a text"),
        (b'{"amount": {"code": "", "text": "x"}}', "does not give each feature a code and a text"),
        (b'{"amuont": {"code": "A", "text": "x"}}', "names amuont, which is no feature"),
    ],
)
def test_names_that_are_wrong_are_refused_in_one_sentence(content, complaint):
    with pytest.raises(ConfigurationError, match=complaint) as refusal:
        read_reasons(content, "reasons.json", ["amount"])
    assert "\n" not in str(refusal.value)


def test_wrong_names_end_the_training_before_it_begins(sample, tmp_path):
    with pytest.raises(ConfigurationError, match="no feature"):
        train_to(tmp_path / "model", sample, TrainingSettings(), reasons=b'{"x": {"code": "A", "text": "b"}}')
    assert not (tmp_path / "model").exists()
