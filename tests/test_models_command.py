"""`fraudstream models`: what a person types, sees and gets back as an exit code."""

import json
import shutil
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from typer.testing import CliRunner

from fraudstream.__main__ import app
from models.artifact import load
from models.train import TrainingSettings, train_to
from producer import sample_path
from schemas.dataset import read_dataset
from schemas.errors import ConfigurationError, FraudstreamError


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two models: one of all features, one of some."""
    home = tmp_path_factory.mktemp("models")
    train_to(home / "one", read_dataset(sample_path()), TrainingSettings(version="1"))
    some = read_dataset(sample_path(), features=["V4", "V10", "V14", "Amount"])
    train_to(home / "two", some, TrainingSettings(version="2", seed=8))
    return home


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """Runs `fraudstream models …` in a directory with the two models, on a store in a folder."""
    for name in ("one", "two"):
        shutil.copytree(trained / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRAUDSTREAM_STORE", "store")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return lambda *words: CliRunner().invoke(app, ["models", *words], catch_exceptions=False)


def answer(result):
    return json.loads(result.stdout)


def test_a_published_model_is_listed_and_shown(run, tmp_path):
    published = run("publish", "one")

    assert "card-fraud@1 is published in" in published.stdout
    assert [(each["name"], each["version"]) for each in answer(run("list", "--json"))] == [("card-fraud", "1")]
    assert "card-fraud" in run("list").stdout
    assert answer(run("show", "card-fraud", "1", "--json")) == json.loads(
        (tmp_path / "one" / "manifest.json").read_bytes()
    )
    shown = run("show", "card-fraud@1").stdout
    assert "ROC-AUC" in shown
    assert "signed" in shown


def test_publishing_again_says_that_it_is_nothing_new(run):
    assert answer(run("publish", "one", "--json"))["new"] is True

    assert answer(run("publish", "one", "--json"))["new"] is False
    assert "was published already, with the same bytes" in run("publish", "one").stdout


def test_another_model_under_the_same_version_is_refused(run, tmp_path):
    run("publish", "one")
    train_to(tmp_path / "other", read_dataset(sample_path()), TrainingSettings(version="1", seed=9))

    with pytest.raises(FraudstreamError, match="a version never changes") as refusal:
        run("publish", "other")
    assert refusal.value.exit_code == 1


def test_a_model_that_does_not_load_is_not_published(run, tmp_path):
    (tmp_path / "one" / "model.ubj").write_bytes(b"{")

    with pytest.raises(ConfigurationError, match=r"model\.ubj is not the file"):
        run("publish", "one")
    assert answer(run("list", "--json")) == []


def test_an_empty_store_says_so(run):
    assert "nothing is published in" in run("list").stdout
    assert run("verify").exit_code == 0


def test_without_a_store_the_setting_is_named(run, monkeypatch):
    monkeypatch.delenv("FRAUDSTREAM_STORE")

    with pytest.raises(ConfigurationError, match=r"store: say where models are kept, with --store") as refusal:
        run("list")
    assert refusal.value.exit_code == 78


@pytest.mark.parametrize("words", [[], ["one", "--from-mlflow", "models:/m@champion"]])
def test_exactly_one_origin_is_published(run, words):
    with pytest.raises(ConfigurationError, match="say what to publish"):
        run("publish", *words)


def test_a_version_that_is_not_published_is_named(run):
    with pytest.raises(ConfigurationError, match="card-fraud@9 is not published in"):
        run("show", "card-fraud@9")


def test_verify_finds_the_version_that_was_altered_and_exits_with_1(run, tmp_path):
    run("publish", "one")
    run("publish", "two")
    assert run("verify").exit_code == 0
    kept = tmp_path / "store" / "models" / "card-fraud" / "2" / "model.ubj"
    kept.write_bytes(kept.read_bytes()[:-1] + b"?")

    result = run("verify", "--json")

    assert result.exit_code == 1
    assert [(each["model"], each["sound"]) for each in answer(result)] == [
        ("card-fraud@1", True),
        ("card-fraud@2", False),
    ]
    assert "was altered or half copied" in answer(result)[1]["reason"]
    assert run("verify", "card-fraud@1").exit_code == 0
    assert run("verify", "one").exit_code == 0


def test_models_are_compared_from_the_store_and_from_directories_alike(run):
    run("publish", "one")

    stored, local = (answer(run("compare", name, "two", "--json")) for name in ("card-fraud@1", "one"))

    assert {**stored, "models": None} == {**local, "models": None}
    assert stored["models"] == ["card-fraud@1", "two"]
    assert {change["change"] for change in stored["features"]} == {"removed"}


def test_the_figures_of_a_comparison_are_those_of_the_two_models(run, tmp_path):
    compared = answer(run("compare", "one", "two", "--json"))

    one, two = (load(tmp_path / name) for name in ("one", "two"))
    frame = read_dataset(sample_path()).frame
    scores = [model.score(frame[list(model.features)].to_numpy(np.float32)) for model in (one, two)]
    weights = np.where(frame["is_fraud"], 1.0, 284_315 / 20_000)
    both_decline = (scores[0] >= one.policy.decline_at) & (scores[1] >= two.policy.decline_at)
    assert compared["on_data"]["decisions"][2][2] == pytest.approx(weights[both_decline].sum())
    assert compared["on_data"]["mean_difference"] == pytest.approx(
        np.average(np.abs(scores[0] - scores[1]), weights=weights)
    )
    assert compared["metrics"][1]["pr_auc"] == two.manifest.metrics.model.pr_auc


def test_the_tables_name_both_models_and_what_changed(run):
    shown = run("compare", "one", "two").stdout

    for text in ("ROC-AUC", "removed", "correlation of the log-odds", "decisions that change", "one ↓ · two →"):
        assert text in shown


def test_the_page_of_a_comparison_needs_nothing_beside_it(run, tmp_path):
    run("compare", "one", "two", "--html", "page.html")

    page = (tmp_path / "page.html").read_text()
    svgs = page.split("<svg")[1:]
    assert len(svgs) == 5
    for svg in svgs:
        ET.fromstring("<svg" + svg.partition("</svg>")[0] + "</svg>")
    assert "http" not in page
    assert "<script" not in page
    assert "$" not in page


def test_a_page_that_cannot_be_written_is_named(run):
    with pytest.raises(ConfigurationError, match="--html: no/such/folder cannot be written"):
        run("compare", "one", "two", "--html", "no/such/folder")


def test_a_data_set_without_a_feature_of_either_model_is_refused(run, tmp_path):
    frame = read_dataset(sample_path()).frame.drop(columns="V9")
    frame.to_parquet(tmp_path / "data.parquet")

    with pytest.raises(ConfigurationError, match="no column 'V9'"):
        run("compare", "one", "two", "--data", "data.parquet")


def test_the_commands_work_on_s3(run, s3):
    store = ["--store", f"s3://{s3.bucket}/fraud", "--store-endpoint", s3.proxy.url]

    assert answer(run("publish", "one", "--json", *store))["new"] is True
    assert run("verify", *store).exit_code == 0
    assert answer(run("compare", "card-fraud@1", "one", "--json", *store))["on_data"]["changed"] == 0
