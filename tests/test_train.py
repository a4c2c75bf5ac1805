"""Training: what a model may learn from, that it can be made again, and that its probabilities are the real ones."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import xgboost as xgb
from scipy.special import expit, logit
from typer import Typer
from typer.testing import CliRunner

from fraudstream.commands.train import train as train_command
from models import baseline
from models.evaluate import at_threshold, calibration, calibration_error
from models.model import probability
from models.split import by_time
from models.train import TrainingSettings, train, train_to
from producer import sample_path
from schemas.dataset import Dataset, read_dataset
from schemas.errors import ConfigurationError


@pytest.fixture(scope="module")
def sample():
    return read_dataset(sample_path())


def synthetic(rng, count, *, kept=1.0):
    """Traffic in which two features tell frauds, ``kept`` of the legitimate rows left in."""
    x = rng.normal(size=(count, 3))
    is_fraud = rng.random(count) < expit(2 * x[:, 0] + np.abs(x[:, 1]) - 5)
    frame = pd.DataFrame(x, columns=["a", "b", "c"]).assign(
        time=np.arange(count, dtype=np.float64), amount=rng.exponential(40, count), is_fraud=is_fraud
    )
    stays = is_fraud | (rng.random(count) < kept)
    return Dataset(frame[stays].reset_index(drop=True), ("a", "b", "c", "amount"), kept)


def files_of(path):
    return {file.name: file.read_bytes() for file in path.iterdir()}


def test_same_data_and_seed_give_the_same_bytes_in_every_file(sample, tmp_path):
    train_to(tmp_path / "one", sample, TrainingSettings())
    train_to(tmp_path / "two", sample, TrainingSettings())

    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")
    assert set(files_of(tmp_path / "one")) == {"model.ubj", "manifest.json", "report.html"}


def test_another_seed_or_other_data_are_another_version(sample):
    base = train(sample, TrainingSettings())
    changed = sample.frame.assign(V1=sample.frame["V1"].mask(sample.frame.index == 5, 1.0))

    other_seed = train(sample, TrainingSettings(seed=8))
    other_data = train(replace(sample, frame=changed), TrainingSettings())

    assert other_seed.manifest.version != base.manifest.version
    assert other_seed.manifest.training_data == base.manifest.training_data
    assert other_data.manifest.training_data.sha256 != base.manifest.training_data.sha256


def test_each_part_is_wholly_later_than_the_one_before_even_with_tied_times():
    times = np.repeat(np.arange(20.0), 7)

    learn, validate, test = by_time(times, np.ones(140), (0.6, 0.2))

    assert times[learn].max() < times[validate].min()
    assert times[validate].max() < times[test].min()
    assert (learn.start, learn.stop, validate.stop, test.stop) == (0, validate.start, test.start, 140)
    assert times[validate].min() == 12.0
    assert times[test].min() == 16.0


def test_a_thinned_data_set_is_cut_at_the_same_moments_as_the_whole_one():
    rng = np.random.default_rng(2)
    times = np.arange(100_000.0)
    # Frauds come early: cutting at 60 % of the rows that are left would cut too soon.
    is_fraud = rng.random(100_000) < np.where(times < 30_000, 0.02, 0.002)
    stays = is_fraud | (rng.random(100_000) < 0.05)

    thin = by_time(times[stays], np.where(is_fraud, 1.0, 20.0)[stays], (0.6, 0.2))

    assert times[stays][thin[1].start] == pytest.approx(60_000, rel=0.02)
    assert times[stays][thin[2].start] == pytest.approx(80_000, rel=0.02)


def test_the_trees_and_the_thresholds_never_see_the_test_part():
    dataset = synthetic(np.random.default_rng(11), 6000)
    base = train(dataset, TrainingSettings())
    changed = dataset.frame.copy()
    later = changed.index >= 4800
    changed.loc[later, "a"] = 9.0
    changed.loc[later, "is_fraud"] = ~changed.loc[later, "is_fraud"]

    other = train(replace(dataset, frame=changed), TrainingSettings())

    assert other.boosters == base.boosters
    assert other.manifest.policy == base.manifest.policy
    assert other.manifest.metrics != base.manifest.metrics


def test_the_trees_never_learn_from_the_validation_part():
    rng = np.random.default_rng(12)
    dataset = synthetic(rng, 6000)
    settings = TrainingSettings(rounds=5)
    base = train(dataset, settings)
    middle = (dataset.frame.index >= 3600) & (dataset.frame.index < 4800)
    nudged = dataset.frame.copy()
    nudged.loc[middle, "amount"] *= 1.5

    other = train(replace(dataset, frame=nudged), settings)

    assert other.boosters == base.boosters


def test_probabilities_learnt_from_thinned_data_are_those_of_the_whole_traffic():
    kept = 0.1
    whole = train(synthetic(np.random.default_rng(3), 60_000), TrainingSettings())
    thin = train(synthetic(np.random.default_rng(3), 60_000, kept=kept), TrainingSettings())

    mean_of_thin = np.average(thin.test.scores, weights=thin.test.weights)
    uncorrected = replace(thin.test, scores=expit(logit(thin.test.scores) - thin.manifest.prior_shift))

    assert thin.manifest.prior_shift == pytest.approx(np.log(kept))
    assert mean_of_thin == pytest.approx(whole.test.scores.mean(), rel=0.15)
    assert thin.manifest.metrics.model.calibration_error < 0.01
    assert calibration_error(calibration(uncorrected)) > 0.1


def test_the_prior_correction_is_the_closed_form_of_dal_pozzolo():
    beta = 0.07
    of_thinned = np.array([0.001, 0.2, 0.5, 0.99])

    corrected = probability(logit(of_thinned).astype(np.float32), np.log(beta))

    assert corrected == pytest.approx(beta * of_thinned / (beta * of_thinned - of_thinned + 1), rel=1e-6)


def test_precision_on_thinned_data_is_the_precision_a_user_sees():
    model = train(synthetic(np.random.default_rng(4), 60_000, kept=0.1), TrainingSettings())
    whole = synthetic(np.random.default_rng(4), 60_000)
    booster = xgb.Booster()
    booster.load_model(bytearray(model.boosters["model.ubj"]))
    later = whole.frame[whole.frame["time"] >= 48_000]
    margins = booster.inplace_predict(later[list(whole.features)].to_numpy(np.float32), predict_type="margin")
    scores = expit(margins.astype(np.float64) + model.manifest.prior_shift)

    promised = at_threshold(model.test, 0.3)
    flagged = scores >= 0.3

    seen = later["is_fraud"].to_numpy()[flagged].mean()
    assert promised.precision == pytest.approx(seen, abs=0.05)
    unweighted = replace(model.test, weights=np.ones(len(model.test.scores)))
    assert at_threshold(unweighted, 0.3).precision > seen + 0.2


def test_the_budgets_given_are_those_the_policy_keeps(sample):
    narrow = train(sample, TrainingSettings(review_rate=0.0005)).manifest
    wide = train(sample, TrainingSettings(review_rate=0.01)).manifest

    assert wide.policy.review_at < narrow.policy.review_at <= narrow.policy.decline_at
    assert wide.metrics.model.reviewed == pytest.approx(0.01, abs=0.005)


def test_beats_no_model_and_ranks_well_on_the_bundled_sample(sample):
    metrics = train(sample, TrainingSettings()).manifest.metrics

    assert metrics.model.roc_auc > 0.97
    assert metrics.model.pr_auc > 0.7
    assert metrics.model.cost.total < metrics.model.cost.without_model / 2
    assert metrics.baseline.roc_auc > 0.95


def test_no_more_trees_are_kept_than_the_validation_part_wants():
    rng = np.random.default_rng(5)
    noise = synthetic(rng, 4000)
    noise.frame["is_fraud"] = rng.random(4000) < 0.05

    trained = train(noise, TrainingSettings())

    booster = xgb.Booster()
    booster.load_model(bytearray(trained.boosters["model.ubj"]))
    assert booster.num_boosted_rounds() == trained.manifest.settings["trees"] < 100


def test_a_part_without_frauds_is_refused_by_its_name(sample):
    frame = sample.frame.assign(is_fraud=sample.frame["is_fraud"] & (sample.frame.index < 15_000))

    with pytest.raises(ConfigurationError, match="the test part needs both"):
        train(replace(sample, frame=frame), TrainingSettings())


@pytest.mark.parametrize(
    "wrong", [{"review_rate": 0.0}, {"decline_precision": 1.0}, {"train_share": 0.8}, {"review_cost": -1.0}]
)
def test_settings_out_of_range_are_refused_by_their_name(wrong):
    with pytest.raises(ConfigurationError, match=next(iter(wrong))):
        TrainingSettings(**wrong)


def test_the_baseline_takes_a_missing_value_for_the_mean():
    rng = np.random.default_rng(6)
    x = rng.normal(3, 2, (2000, 2)).astype(np.float32)
    labels = x[:, 0] > 5

    (holed, filled) = baseline.log_odds(
        x, labels, np.array([[np.nan, 1.0]], np.float32), np.array([[x[:, 0].mean(), 1.0]], np.float32)
    )

    assert holed == pytest.approx(filled, abs=1e-3)


def test_the_report_is_one_page_that_asks_for_nothing(sample, tmp_path):
    trained = train_to(tmp_path / "model", sample, TrainingSettings(name="<cards>"))

    page = (tmp_path / "model" / "report.html").read_text()

    assert not re.search(r"https?:|//|<script|<link|<img|@import|url\(", page)
    assert page.count("<svg") == 6
    assert "<cards>" not in page
    assert "&lt;cards&gt;" in page
    assert "nan" not in page.lower()
    assert f"{trained.manifest.metrics.model.pr_auc:.4f}" in page


@pytest.fixture
def run():
    app = Typer(pretty_exceptions_enable=False)
    app.command()(train_command)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_the_command_writes_a_model_and_prints_its_figures(run, tmp_path, load):
    done = run("--out", tmp_path / "model", "--json", "--name", "cards", "--version", "3")

    summary = json.loads(done.stdout)
    model = load(tmp_path / "model")
    assert done.exit_code == 0
    assert (summary["name"], summary["version"]) == ("cards", "3") == (model.name, model.version)
    assert summary["policy"]["decline_at"] == model.policy.decline_at
    assert summary["metrics"]["model"]["roc_auc"] > 0.97
    assert summary["files"]["model.ubj"]["sha256"] == model.sha256.hex()
    assert {"report.html", "baseline.npz"} < summary["files"].keys()


def test_the_command_shows_the_baseline_beside_the_model(run, tmp_path):
    done = run("--out", tmp_path / "model")

    assert done.exit_code == 0
    assert "logistic regression" in done.stdout
    assert "recall at 0.1 % false positives" in done.stdout
    assert "report.html" in done.stdout


def test_the_command_takes_columns_by_other_names(run, tmp_path, load):
    dataset = synthetic(np.random.default_rng(7), 5000)
    dataset.frame.rename(columns={"is_fraud": "bad", "time": "when", "amount": "eur"}).to_csv(
        tmp_path / "own.csv", index=False
    )

    done = run(
        *("--out", tmp_path / "model", "--data", tmp_path / "own.csv", "--json"),
        *("--label", "bad", "--time", "when", "--amount", "eur", "--features", "b, a,eur"),
    )

    assert done.exit_code == 0
    assert load(tmp_path / "model").features == ("b", "a", "amount")


def test_the_command_trains_an_ensemble(run, tmp_path, load):
    dataset = synthetic(np.random.default_rng(7), 5000)
    dataset.frame.to_parquet(tmp_path / "own.parquet")

    done = run(
        *("--out", tmp_path / "model", "--data", tmp_path / "own.parquet", "--label", "is_fraud", "--features", "a,b"),
        *("--ensemble", 3, "--combine", "probability"),
    )

    assert done.exit_code == 0, done.output
    manifest = load(tmp_path / "model").manifest
    assert [member.file for member in manifest.members] == ["model-1.ubj", "model-2.ubj", "model-3.ubj"]
    assert manifest.combine == "probability"
    assert len({manifest.files[member.file].sha256 for member in manifest.members}) == 3
