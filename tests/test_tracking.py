"""MLflow, on a real server: a training is found there with all that it takes to make it again, and can be published."""

import json
import sys

import pytest
from typer.testing import CliRunner

from deploy.jvm import free_ports
from fraudstream.__main__ import app
from models.artifact import load
from models.store import StoreUnavailableError
from models.tracking import Tracking
from schemas.errors import ConfigurationError, FraudstreamError


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs the command line from an empty directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture
def client(mlflow_server):
    from mlflow import MlflowClient

    return MlflowClient(mlflow_server, mlflow_server)


def test_a_training_is_recorded_and_its_model_can_be_published_from_there(
    run, client, mlflow_server, tmp_path, monkeypatch
):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server)
    number = json.loads(run("train", "--out", "model", "--name", "tracked", "--json").stdout)["mlflow_version"]
    client.set_registered_model_alias("tracked", "champion", number)

    published = run("models", "publish", "--from-mlflow", "models:/tracked@champion", "--store", "store", "--json")

    trained = load(tmp_path / "model")
    assert json.loads(published.stdout)["version"] == trained.version
    files = {file.name: file.read_bytes() for file in (tmp_path / "model").iterdir()}
    kept = tmp_path / "store" / "models" / "tracked" / trained.version
    assert {file.name: file.read_bytes() for file in kept.iterdir()} == files


def test_a_recorded_run_says_what_the_model_was_made_from_and_how_good_it_is(run, client, mlflow_server, tmp_path):
    run("train", "--out", "model", "--name", "described", "--mlflow", mlflow_server)

    manifest = load(tmp_path / "model").manifest
    version = client.get_model_version("described", "1")
    recorded = client.get_run(version.run_id).data
    assert recorded.params["seed"] == "7"
    assert recorded.params["data.sha256"] == manifest.training_data.sha256
    assert recorded.metrics["pr_auc"] == manifest.metrics.model.pr_auc
    assert recorded.metrics["baseline.decline.recall"] == manifest.metrics.baseline.decline.recall
    assert version.tags["fraudstream.version"] == manifest.version


def test_a_second_training_is_the_next_version_of_the_same_model(run, client, mlflow_server):
    for seed in (1, 2):
        run("train", "--out", "model", "--name", "twice", "--seed", seed, "--mlflow", mlflow_server)

    assert {version.version for version in client.search_model_versions("name = 'twice'")} == {"1", "2"}


@pytest.mark.parametrize("model", ["models:/nobody@champion", "models:/nobody/1"])
def test_a_model_that_mlflow_does_not_have_is_named(mlflow_server, model):
    with pytest.raises(ConfigurationError, match=rf"MLflow at 127\.0\.0\.1 has no {model}"):
        Tracking(mlflow_server).fetch(model)


@pytest.mark.parametrize("model", ["runs:/1/model", "models:/name", "models:/name/latest", "models:/a/b@c"])
def test_an_address_that_names_no_version_is_refused(mlflow_server, model):
    with pytest.raises(ConfigurationError, match="is neither models:/NAME@ALIAS nor models:/NAME/3"):
        Tracking(mlflow_server).fetch(model)


def test_an_mlflow_that_is_away_is_said_to_be_so_without_its_password(monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    (port,) = free_ports(1)
    address = f"http://ann:hunter2@127.0.0.1:{port}"

    with pytest.raises(StoreUnavailableError, match=r"MLflow at 127\.0\.0\.1 does not") as refusal:
        Tracking(address).fetch("models:/name@champion")
    assert "hunter2" not in str(refusal.value)


def test_without_the_optional_package_it_says_how_to_get_it(monkeypatch, run, tmp_path):
    monkeypatch.setitem(sys.modules, "mlflow", None)

    with pytest.raises(FraudstreamError, match=r"pip install 'fraudstream\[mlflow\]'"):
        run("train", "--out", "model", "--mlflow", "http://127.0.0.1:1")
    assert not (tmp_path / "model").exists()
