"""The artifact: it loads back as what was trained, or not at all."""

import json
import pickle
from hashlib import sha256

import numpy as np
import pytest
import xgboost as xgb
from scipy.special import logit

from models import model
from models.artifact import save
from models.manifest import from_json
from models.train import TrainingSettings, train_to
from producer import sample_path
from schemas.dataset import read_dataset
from schemas.errors import ConfigurationError


@pytest.fixture(scope="module")
def sample():
    return read_dataset(sample_path())


@pytest.fixture(scope="module")
def trained(sample, tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model"
    return path, train_to(path, sample, TrainingSettings())


@pytest.fixture
def copy(trained, tmp_path):
    """A copy of the artifact that a test may damage."""
    path = tmp_path / "copy"
    path.mkdir()
    for file in trained[0].iterdir():
        (path / file.name).write_bytes(file.read_bytes())
    return path


@pytest.fixture
def rows(sample, trained):
    """The rows of the test part, as the worker would hand them over."""
    count = len(trained[1].test.scores)
    return sample.frame[list(sample.features)].to_numpy(np.float32)[-count:]


def rewrite(path, change):
    """Change the manifest, keeping what it says of files true."""
    manifest = json.loads((path / "manifest.json").read_bytes())
    change(manifest)
    (path / "manifest.json").write_text(json.dumps(manifest))


def replace_model(path, content):
    """Another model file, with a manifest that vouches for it."""
    (path / "model.ubj").write_bytes(content)
    described = {"sha256": sha256(content).hexdigest(), "size": len(content)}
    rewrite(path, lambda manifest: manifest["files"].update({"model.ubj": described}))


def test_a_loaded_model_scores_as_it_did_in_training(trained, rows, load):
    path, training = trained

    model = load(path)

    assert model.score(rows) == pytest.approx(training.test.scores, abs=1e-6)
    assert model.sha256 == sha256((path / "model.ubj").read_bytes()).digest()
    assert model.version == model.sha256.hex()[:12]


def test_scores_are_the_same_in_any_batch_and_on_any_number_of_threads(trained, rows, load):
    model = load(trained[0])

    alone = np.concatenate([model.score(rows[i : i + 1]) for i in range(50)])

    assert np.array_equal(model.score(rows)[:50], alone)
    assert np.array_equal(load(trained[0], threads=2).score(rows)[:50], alone)


def test_scores_equal_those_of_xgboost_row_by_row(trained, rows, load):
    model = load(trained[0])
    booster = xgb.Booster(model_file=trained[0] / "model.ubj")
    margins = booster.predict(xgb.DMatrix(rows, feature_names=list(model.features)), output_margin=True)

    assert logit(model.score(rows)) == pytest.approx(margins + np.log(20_000 / 284_315), abs=1e-5)


def test_a_missing_value_takes_the_branch_of_the_missing_not_of_zero(trained, rows, load):
    model = load(trained[0])
    booster = xgb.Booster(model_file=trained[0] / "model.ubj")
    holed, zeroed = rows.copy(), rows.copy()
    holed[:, ::2], zeroed[:, ::2] = np.nan, 0.0
    oracle = booster.predict(xgb.DMatrix(holed, feature_names=list(model.features), missing=np.nan), output_margin=True)

    assert logit(model.score(holed)) == pytest.approx(oracle + model.manifest.prior_shift, abs=1e-5)
    assert not np.allclose(model.score(holed), model.score(zeroed), atol=1e-4)


def test_contributions_sum_to_the_log_odds_of_the_score(trained, rows, load):
    model = load(trained[0])
    holed = rows[:200].copy()
    holed[::3, 4] = np.nan

    shares = model.contributions(holed)

    assert shares.shape == (200, len(model.features) + 1)
    assert shares.sum(axis=1) == pytest.approx(logit(model.score(holed)), abs=1e-4)


def test_features_are_matched_by_name_whatever_the_order_of_the_columns(sample, trained, rows, tmp_path, load):
    model = load(trained[0])
    shuffled = sample.frame[sorted(sample.frame.columns, reverse=True)]

    by_name = shuffled[list(model.features)].to_numpy(np.float32)[-len(rows) :]

    assert np.array_equal(model.score(by_name), model.score(rows))


def test_the_order_of_the_features_in_training_does_not_change_their_meaning(sample, tmp_path, load):
    names = tuple(reversed(sample.features))
    train_to(tmp_path / "reversed", type(sample)(sample.frame, names, sample.legitimate_kept), TrainingSettings())

    model = load(tmp_path / "reversed")

    assert model.features == names
    assert model.manifest.features[0].name == "amount"
    assert model.manifest.features[0].missing == "reject"


def test_the_manifest_says_what_the_model_takes(sample, trained, load):
    features = {feature.name: feature for feature in load(trained[0]).manifest.features}

    assert tuple(features) == sample.features
    assert features["amount"].missing == "reject"
    assert features["amount"].minimum == 0.0
    assert features["V14"].missing == "allow"
    assert features["V14"].minimum < sample.frame["V14"].min()
    assert features["V14"].maximum > sample.frame["V14"].max()


def test_golden_rows_cover_the_scores_and_each_feature_missing(trained, load):
    golden = load(trained[0]).manifest.golden_rows

    assert 8 <= len(golden) <= 16
    assert min(row.score for row in golden) < 0.001
    assert max(row.score for row in golden) > 0.5
    optional = len(golden[0].features) - 1
    assert all(any(row.features[i] is None for row in golden) for i in range(optional))
    assert all(row.features[-1] is not None for row in golden)


@pytest.mark.parametrize("position", [0, 100, -1])
def test_an_altered_model_file_is_refused_before_it_is_read(copy, position, load):
    content = bytearray((copy / "model.ubj").read_bytes())
    content[position] ^= 1
    (copy / "model.ubj").write_bytes(content)

    with pytest.raises(ConfigurationError, match=r"model\.ubj is not the file its manifest describes"):
        load(copy)


def test_an_altered_report_is_refused_too(copy, load):
    (copy / "report.html").write_text("all is well")

    with pytest.raises(ConfigurationError, match=r"report\.html is not the file"):
        load(copy)


@pytest.mark.parametrize("name", ["model.ubj", "manifest.json", "report.html"])
def test_a_missing_file_is_named(copy, name, load):
    (copy / name).unlink()

    with pytest.raises(ConfigurationError, match=f"{name} cannot be read"):
        load(copy)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_never_opened_even_if_the_manifest_vouches_for_it(copy, protocol, tmp_path, load):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    replace_model(copy, pickle.dumps(Trap(), protocol))

    with pytest.raises(ConfigurationError, match="not an XGBoost model"):
        load(copy)
    assert not (tmp_path / "sprung").exists()


def test_a_file_that_only_looks_like_a_model_is_refused(copy, load):
    replace_model(copy, b"{L\0\0\0\0\0\0\0\x07learneri\1}")

    with pytest.raises(ConfigurationError, match="not a model of binary:logistic trees"):
        load(copy)


def test_other_trees_are_refused_by_the_golden_rows(copy, trained, sample, tmp_path, load):
    other = train_to(tmp_path / "other", sample, TrainingSettings(seed=99))
    replace_model(copy, other.boosters["model.ubj"])

    with pytest.raises(ConfigurationError, match="scores its golden rows otherwise"):
        load(copy)


def test_a_golden_score_off_by_more_than_the_tolerance_is_refused(copy, load):
    rewrite(copy, lambda manifest: manifest["golden_rows"][0].update(score=manifest["golden_rows"][0]["score"] + 2e-6))

    with pytest.raises(ConfigurationError, match="scores its golden rows otherwise"):
        load(copy)


def test_a_changed_prior_shift_is_refused_by_the_golden_rows(copy, load):
    rewrite(copy, lambda manifest: manifest.update(prior_shift=0.0))

    with pytest.raises(ConfigurationError, match="scores its golden rows otherwise"):
        load(copy)


def test_a_manifest_without_golden_rows_proves_nothing(copy, load):
    rewrite(copy, lambda manifest: manifest.update(golden_rows=[]))

    with pytest.raises(ConfigurationError, match="no golden rows with a value"):
        load(copy)


def test_features_in_another_order_than_those_of_the_trees_are_refused(copy, load):
    rewrite(copy, lambda manifest: manifest["features"].reverse())

    with pytest.raises(ConfigurationError, match="are not those of its manifest"):
        load(copy)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda manifest: manifest.pop("policy"), "is not a model manifest: .*policy"),
        (lambda manifest: manifest.update(format=1), "has format 1"),
        (lambda manifest: manifest["files"].pop("model.ubj"), r"names no model\.ubj among its files"),
        (
            lambda manifest: manifest["files"].update({"../secret": {"sha256": "", "size": 0}}),
            "a file outside its directory",
        ),
    ],
)
def test_a_manifest_that_is_wrong_is_refused_in_one_sentence(copy, change, complaint, load):
    rewrite(copy, change)

    with pytest.raises(ConfigurationError, match=complaint) as refusal:
        load(copy)
    assert "\n" not in str(refusal.value)


def test_a_manifest_that_is_no_json_is_refused(copy, load):
    (copy / "manifest.json").write_bytes(b"\x80\x04")

    with pytest.raises(ConfigurationError, match="is not a model manifest"):
        load(copy)


def test_the_manifest_is_read_back_as_it_was_written(trained):
    path, training = trained

    assert from_json((path / "manifest.json").read_bytes(), "manifest") == training.manifest


def test_a_model_replaces_a_model_and_leaves_nothing_beside_it(copy, trained, tmp_path, load):
    (copy / "notes.txt").write_text("of the old model")

    save(copy, trained[1].manifest, {"model.ubj": trained[1].boosters["model.ubj"]})

    assert {file.name for file in copy.iterdir()} == {"model.ubj", "manifest.json"}
    assert {file.name for file in tmp_path.iterdir()} == {"copy"}
    assert load(copy).version == trained[1].manifest.version


def test_a_directory_of_something_else_is_never_replaced(trained, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()

    with pytest.raises(ConfigurationError, match="exists and is not a model"):
        save(tmp_path / "photos", trained[1].manifest, {})
    assert (tmp_path / "photos" / "cat.jpg").exists()


def test_a_write_that_fails_leaves_the_old_model_as_it_was(copy, trained, tmp_path):
    before = {file.name: file.read_bytes() for file in copy.iterdir()}

    with pytest.raises(ConfigurationError, match="cannot be written"):
        save(copy, trained[1].manifest, {"model.ubj": trained[1].boosters["model.ubj"], "no/such/folder": b""})

    assert {file.name: file.read_bytes() for file in copy.iterdir()} == before
    assert {file.name for file in tmp_path.iterdir()} == {"copy"}


def test_the_tolerance_of_golden_rows_is_that_of_the_contract():
    assert model.GOLDEN_TOLERANCE == 1e-6
