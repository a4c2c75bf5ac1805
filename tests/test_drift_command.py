"""`fraudstream drift baseline` and `check`: what a person or a scheduler types, sees and gets back as an exit code."""

import json
import shutil

import boto3
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from drift import baseline_file
from fraudstream.__main__ import app
from fraudstream.stored_file import write_file
from models.artifact import load
from models.manifest import SIGNATURE_FILE
from models.train import TrainingSettings, train_to
from producer import sample_path
from schemas.dataset import read_dataset
from schemas.errors import ConfigurationError

SAMPLE = str(sample_path())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    home = tmp_path_factory.mktemp("drift")
    train_to(home / "model", read_dataset(sample_path()), TrainingSettings(version="7"))
    return home / "model"


@pytest.fixture(scope="module")
def days(tmp_path_factory):
    """The two days of the sample, as files without labels."""
    home = tmp_path_factory.mktemp("days")
    frame = pd.read_parquet(sample_path())
    honest = frame[frame["Class"] == 0].drop(columns="Class")
    for name, part in (("first", honest[honest["Time"] < 86_400]), ("second", honest[honest["Time"] >= 86_400])):
        part.to_parquet(home / f"{name}.parquet")
    honest.sample(frac=0.5, random_state=7).to_csv(home / "mixed.csv")
    return home


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    """Runs `fraudstream drift …` in a directory that holds a copy of the model."""
    shutil.copytree(trained, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRAUDSTREAM_STORE", "store")
    monkeypatch.setenv("COLUMNS", "120")
    return lambda *words: CliRunner().invoke(app, ["drift", *words], catch_exceptions=False)


@pytest.fixture(scope="module")
def baseline(trained, tmp_path_factory):
    """The baseline of the whole sample, as a file."""
    file = tmp_path_factory.mktemp("baseline") / "baseline.npz"
    words = ["drift", "baseline", "--data", SAMPLE, "--model", str(trained), "--out", str(file)]
    CliRunner().invoke(app, words, catch_exceptions=False)
    return file


def test_a_baseline_is_put_beside_its_model_and_travels_with_it(run, tmp_path):
    made = run("baseline", "--data", SAMPLE, "--model", "model", "--json")
    told = json.loads(made.stdout)

    assert made.exit_code == 0
    assert (told["model"], told["out"]) == ({"name": "card-fraud", "version": "7"}, "model")
    assert told["rows"] == 20_031  # of 492 frauds as small a share as of the legitimate rows
    assert set(told["features"].values()) == {"continuous"}
    assert told["own_windows"]["24h"]["count"] == 25
    assert "less than one weekly cycle" in told["doubts"][0]
    model = load(tmp_path / "model")
    content = (tmp_path / "model" / baseline_file.FILE).read_bytes()
    assert model.manifest.files[baseline_file.FILE].size == len(content)
    read = baseline_file.from_bytes(content, "file")
    assert read.features[0].believed == (model.manifest.features[0].minimum, model.manifest.features[0].maximum)

    CliRunner().invoke(app, ["models", "publish", "model"], catch_exceptions=False)
    shutil.rmtree("model")
    checked = run("check", "--baseline", "card-fraud@7", "--model", "card-fraud@7", "--data", SAMPLE)
    assert checked.exit_code == 0


def test_scores_are_those_of_rows_that_the_model_did_not_learn_from(baseline, trained):
    made = baseline_file.from_bytes(baseline.read_bytes(), "file")
    learned = load(trained).manifest.settings["train_share"]

    assert made.score.rows == pytest.approx((1 - learned) * 20_031, rel=0.02)
    assert made.alerts[1] == made.score.rows
    assert 0 < made.alerts[0] / made.alerts[1] < 0.01


def test_the_same_data_gives_the_same_bytes(run, tmp_path, baseline):
    run("baseline", "--data", SAMPLE, "--model", "model", "--out", "again/baseline.npz")

    assert (tmp_path / "again" / "baseline.npz").read_bytes() == baseline.read_bytes()


def test_a_signature_that_no_longer_fits_is_dropped_and_said_to_be(run, tmp_path):
    (tmp_path / "model" / SIGNATURE_FILE).write_bytes(bytes(64))
    made = run("baseline", "--data", SAMPLE, "--model", "model")

    assert "its signature is gone: sign it again" in made.stderr
    assert not (tmp_path / "model" / SIGNATURE_FILE).exists()


def test_rows_as_usual_exit_with_0_and_a_table_of_what_came_nearest_to_an_alarm(run, baseline, days):
    result = run("check", "--baseline", str(baseline), "--data", str(days / "mixed.csv"))

    assert result.exit_code == 0
    assert "0 of 116 tests raise an alarm" in result.stdout
    assert "less than one weekly cycle" in result.stderr


def test_drift_exits_with_1_and_names_the_feature(run, days, tmp_path):
    run("baseline", "--data", str(labelled(days, tmp_path)), "--model", "model")
    result = run("check", "--baseline", "model", "--data", str(days / "second.parquet"))
    report = json.loads(run("check", "--baseline", "model", "--data", str(days / "second.parquet"), "--json").stdout)

    assert result.exit_code == 1
    first = result.stdout.splitlines()[1]
    assert first.startswith("critical")
    assert (report["severity"], report["tests"][0]["severity"]) == ("critical", "critical")
    (third,) = (test for test in report["tests"] if test["subject"] == "V3" and test["kind"] == "distribution")
    assert third["statistic"] == pytest.approx(0.52, abs=0.02)
    assert third["statistic"] == max(test["statistic"] for test in report["tests"])


def labelled(days, home):
    """The first day with labels, as a training set has them."""
    frame = pd.read_parquet(days / "first.parquet").assign(Class=0)
    file = home / "first.parquet"
    frame.to_parquet(file)
    return file


def test_frauds_that_a_thinned_file_has_too_many_of_are_no_drift(run, baseline, trained):
    thinned = run("check", "--baseline", str(baseline), "--data", SAMPLE, "--model", str(trained))
    frame = pd.read_parquet(sample_path())
    frame.to_csv("all-frauds.csv")  # which cannot say that it was thinned
    plain = run("check", "--baseline", str(baseline), "--data", "all-frauds.csv", "--model", str(trained), "--json")

    assert thinned.exit_code == 0
    assert plain.exit_code == 1
    assert json.loads(plain.stdout)["tests"][0]["subject"] == "alerts"


def test_too_few_rows_to_say_anything_exit_with_1(run, baseline, days):
    pd.read_parquet(days / "first.parquet").head(400).to_parquet("few.parquet")
    result = run("check", "--baseline", str(baseline), "--data", "few.parquet")

    assert result.exit_code == 1
    assert "400 rows against the baseline of card-fraud@7: too few to say anything" in result.stdout


def test_an_infinite_value_is_an_alarm_and_no_error(run, baseline, days):
    frame = pd.read_csv(days / "mixed.csv")
    frame.loc[frame.index[:500], "V7"] = np.inf
    frame.to_parquet("infinite.parquet")
    result = run("check", "--baseline", str(baseline), "--data", "infinite.parquet", "--json")

    alarms = [
        (test["subject"], test["kind"]) for test in json.loads(result.stdout)["tests"] if test["severity"] != "ok"
    ]
    assert ("V7", "infinite") in alarms


def test_a_file_is_judged_by_the_windows_and_the_budget_of_the_settings(run, baseline, days):
    words = ("check", "--baseline", str(baseline), "--data", str(days / "second.parquet"), "--json")
    usual, longer, more = (
        json.loads(run(*words, *others).stdout)
        for others in (
            (),
            ("--drift-window-minutes", "2880"),
            ("--drift-alarms", "2", "--scale", "10m"),
        )
    )

    assert (usual["scale"], longer["scale"], more["scale"]) == ("24h", "48h", "10m")
    assert more["alpha"] == pytest.approx(2 * usual["alpha"])
    assert any("made for windows of 10m and 24h, not of 48h" in doubt for doubt in longer["doubts"])
    assert run(*words, "--scale", "24m").exit_code == 2


def test_files_may_lie_in_s3(run, s3, days):
    endpoint, home = ("--store-endpoint", s3.direct), f"s3://{s3.bucket}/drift"
    client = boto3.client("s3", endpoint_url=s3.direct)
    client.upload_file(SAMPLE, s3.bucket, "drift/sample.parquet")
    client.upload_file(str(days / "second.parquet"), s3.bucket, "drift/second.parquet")
    write_file(f"{home}/baseline.npz", b"an older one", s3.direct)
    made = run(
        *("baseline", "--data", f"{home}/sample.parquet", "--model", "model"),
        *("--out", f"{home}/baseline.npz", *endpoint),
    )
    checked = run("check", "--baseline", f"{home}/baseline.npz", "--data", f"{home}/second.parquet", *endpoint)

    assert made.exit_code == 0
    assert checked.exit_code == 0
    assert "9,838 rows" in checked.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("baseline", "--data", "none.csv", "--model", "model"), "none.csv does not exist"),
        (("baseline", "--data", SAMPLE, "--model", "nothing"), "nothing"),
        (("run", "--drift-pane-minutes", "7"), r"drift_pane_minutes \(7\) must divide drift_hop_minutes \(60\)"),
        (("run", "--drift-hop-minutes", "70"), r"drift_hop_minutes \(70\), that must divide drift_window_minutes"),
        (("baseline", "--data", SAMPLE, "--model", "model", "--categorical", "mcc"), "'mcc' is no feature"),
        (("baseline", "--data", SAMPLE, "--model", "model", "--card", "pan"), "no column 'pan'"),
        (("check", "--baseline", "model", "--data", SAMPLE), "baseline.npz cannot be read"),
        (("check", "--baseline", SAMPLE, "--data", SAMPLE), "is not a baseline"),
        (("check", "--baseline", "s3://bucket", "--data", SAMPLE), "names no file"),
        (("check", "--baseline", "http://host/baseline.npz", "--data", SAMPLE), "neither s3://"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_that_names_it(run, words, message):
    with pytest.raises(ConfigurationError, match=message):
        run(*words)


@pytest.mark.parametrize("words", [(), ("--data", SAMPLE, "--from", "-1d"), ("--from", "end"), ("--from", "yesterday")])
def test_a_baseline_is_of_a_file_or_of_a_stretch_of_time(run, words):
    assert run("baseline", "--model", "model", *words).exit_code == 2


def test_rows_without_a_feature_are_refused_by_its_name(run, baseline, days):
    pd.read_parquet(days / "second.parquet").drop(columns="V9").to_parquet("lacking.parquet")

    with pytest.raises(ConfigurationError, match="no column 'V9'"):
        run("check", "--baseline", str(baseline), "--data", "lacking.parquet")
