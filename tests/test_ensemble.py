"""An ensemble scores and explains as the weighted mean of its boosters, and a plain model is the ensemble of one."""

import json
from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
import xgboost as xgb
from scipy.special import expit, logit

from models.artifact import from_files
from models.manifest import MANIFEST_FILE, Member, digest, from_json, to_json
from models.train import TrainingSettings, train, train_to
from producer import sample_path
from schemas.dataset import read_dataset
from schemas.errors import BadModelError, ConfigurationError

WEIGHTS = (0.5, 0.3, 0.2)


@pytest.fixture(scope="module")
def sample():
    return read_dataset(sample_path())


@pytest.fixture(scope="module", params=["log_odds", "probability"])
def combine(request):
    return request.param


@pytest.fixture(scope="module")
def trained(sample, combine):
    return train(sample, TrainingSettings(rounds=30, ensemble=3, combine=combine))


@pytest.fixture(scope="module")
def files(trained):
    return {**trained.boosters, MANIFEST_FILE: to_json(trained.manifest)}


@pytest.fixture(scope="module")
def model(files, sandbox):
    return from_files(files, "cards", sandbox=sandbox)


@pytest.fixture(scope="module")
def rows(sample):
    rows = sample.frame[list(sample.features)].to_numpy(np.float32)[-1000:].copy()
    rows[::5, ::3] = np.nan
    return rows


@pytest.fixture(scope="module")
def margins(trained, sample, rows):
    """(3, n): the log-odds of each booster, asked for one by one the slow way."""
    matrix = xgb.DMatrix(rows, feature_names=list(sample.features))
    boosters = [xgb.Booster(model_file=bytearray(content)) for content in trained.boosters.values()]
    shift = trained.manifest.prior_shift
    return np.array([booster.predict(matrix, output_margin=True).astype(np.float64) + shift for booster in boosters])


def mean_score(margins, weights, combine):
    return expit(np.dot(weights, margins)) if combine == "log_odds" else np.dot(weights, expit(margins))


def reweighted(files, weights, combine, score_of):
    """The ensemble with other weights, and golden scores to match."""
    manifest = from_json(files[MANIFEST_FILE], "")
    members = tuple(Member(m.file, weight) for m, weight in zip(manifest.members, weights, strict=True))
    golden = tuple(replace(row, score=float(score_of(row))) for row in manifest.golden_rows)
    changed = replace(manifest, members=members, combine=combine, golden_rows=golden)
    return {**files, MANIFEST_FILE: to_json(changed)}


def test_scores_are_the_mean_of_the_members(model, margins, rows, combine):
    assert model.score(rows) == pytest.approx(mean_score(margins, (1 / 3,) * 3, combine), abs=1e-6)


def test_weights_say_how_much_a_member_counts(model, files, margins, rows, combine, sandbox):
    boosters = model.ensemble.boosters
    shift = model.manifest.prior_shift

    def score_of(row):
        values = np.array([row.features], np.float32)
        each = np.array([b.inplace_predict(values, predict_type="margin") for b in boosters], np.float64) + shift
        return mean_score(each, WEIGHTS, combine)[0]

    weighted = from_files(reweighted(files, WEIGHTS, combine, score_of), "cards", sandbox=sandbox)

    assert weighted.score(rows) == pytest.approx(mean_score(margins, WEIGHTS, combine), abs=1e-6)
    assert weighted.sha256 != model.sha256


def test_contributions_sum_to_the_mean_log_odds_of_the_members(model, margins, rows):
    shares = model.contributions(rows)

    assert shares.shape == (len(rows), len(model.features) + 1)
    assert shares.sum(axis=1) == pytest.approx(margins.mean(axis=0), abs=1e-4)


def test_contributions_sum_to_the_log_odds_of_the_score_where_log_odds_are_averaged(model, rows, combine):
    gap = np.abs(model.contributions(rows).sum(axis=1) - logit(model.score(rows))).max()

    assert (gap < 1e-4) == (combine == "log_odds")


def test_the_members_have_learned_from_different_samples(trained):
    assert len(set(trained.boosters.values())) == 3
    assert list(trained.boosters) == ["model-1.ubj", "model-2.ubj", "model-3.ubj"]


def test_the_first_member_is_the_plain_model_of_the_same_seed(sample, trained):
    plain = train(sample, TrainingSettings(rounds=30))

    assert plain.boosters["model.ubj"] == trained.boosters["model-1.ubj"]


def test_same_data_and_seed_give_the_same_bytes(sample, trained, combine):
    again = train(sample, TrainingSettings(rounds=30, ensemble=3, combine=combine))

    assert again.boosters == trained.boosters
    assert again.manifest == trained.manifest


def test_the_digest_of_an_ensemble_is_that_of_its_members_weights_and_way_to_combine(model, trained, combine):
    lines = [f"{sha256(content).hexdigest()} {1 / 3!r} {name}\n" for name, content in trained.boosters.items()]

    assert model.sha256 == sha256("".join([f"{combine}\n", *lines]).encode()).digest()
    assert model.version == model.sha256.hex()[:12]


def test_golden_rows_tell_when_the_other_mean_is_taken(files, combine, sandbox):
    manifest = json.loads(files[MANIFEST_FILE])
    manifest["combine"] = {"log_odds": "probability", "probability": "log_odds"}[combine]

    with pytest.raises(BadModelError, match="scores its golden rows otherwise"):
        from_files({**files, MANIFEST_FILE: json.dumps(manifest).encode()}, "cards", sandbox=sandbox)


def test_one_bad_member_is_named(files, sandbox):
    manifest = json.loads(files[MANIFEST_FILE])
    manifest["files"]["model-2.ubj"] = {"sha256": sha256(b"{}").hexdigest(), "size": 2}

    with pytest.raises(BadModelError, match=r"cards/model-2\.ubj is not"):
        from_files(
            {**files, "model-2.ubj": b"{}", MANIFEST_FILE: json.dumps(manifest).encode()}, "cards", sandbox=sandbox
        )


def test_an_ensemble_is_written_and_loaded_like_any_model(sample, load, tmp_path):
    trained = train_to(tmp_path / "model", sample, TrainingSettings(rounds=5, ensemble=2))

    assert load(tmp_path / "model").sha256 == digest(trained.manifest)
    assert {file.name for file in (tmp_path / "model").iterdir()} == {
        *("model-1.ubj", "model-2.ubj"),
        *("manifest.json", "report.html"),
    }


@pytest.mark.parametrize("count", [0, 33])
def test_an_ensemble_of_none_or_of_too_many_is_refused(count):
    with pytest.raises(ConfigurationError, match="ensemble must be 1 to 32"):
        TrainingSettings(ensemble=count)
