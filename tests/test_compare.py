"""Comparing two models: what changed for an input, how alike the scores are, and whose decision changes."""

from dataclasses import replace

import numpy as np
import pytest

from models.artifact import load
from models.compare import Pair, agreement, feature_changes, on_golden_rows
from models.manifest import Feature, Policy
from models.train import TrainingSettings, train_to
from producer import sample_path
from schemas.dataset import read_dataset

LENIENT = Policy("lenient", review_at=0.5, decline_at=0.9)
STRICT = Policy("strict", review_at=0.1, decline_at=0.5)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model"
    train_to(path, read_dataset(sample_path(), features=["V4", "V14", "Amount"]), TrainingSettings(rounds=10))
    return load(path)


def pair(first, second, weights=None):
    first = np.array(first)
    return Pair(first, np.array(second), np.ones(len(first)) if weights is None else np.array(weights), first > 1)


def feature(name, *, missing="allow", minimum=-1.0, maximum=1.0):
    return Feature(name, "float32", missing, minimum, maximum)


def test_equal_scores_under_one_policy_agree_in_everything():
    same = agreement(pair([0.01, 0.6, 0.95], [0.01, 0.6, 0.95]), LENIENT, LENIENT)

    assert same.correlation == pytest.approx(1)
    assert (same.mean_difference, same.largest_difference, same.changed) == (0, 0, 0)
    assert same.decisions == ((1, 0, 0), (0, 1, 0), (0, 0, 1))


def test_each_model_decides_under_its_own_policy():
    scores = [0.05, 0.3, 0.6, 0.95]

    changed = agreement(pair(scores, scores), LENIENT, STRICT)

    # Rows: what the lenient one says; columns: what the strict one does.
    assert changed.decisions == ((1, 1, 0), (0, 0, 1), (0, 0, 1))
    assert changed.changed == 0.5


def test_a_score_at_the_threshold_is_beyond_it_as_in_the_worker():
    assert agreement(pair([0.5, 0.9], [0.5, 0.9]), LENIENT, LENIENT).decisions == ((0, 0, 0), (0, 1, 0), (0, 0, 1))


def test_a_thinned_row_counts_for_those_that_it_stands_for():
    weighted = agreement(pair([0.2, 0.8], [0.2, 0.4], [9.0, 1.0]), LENIENT, LENIENT)

    assert weighted.transactions == 10
    assert weighted.changed == pytest.approx(0.1)
    assert weighted.mean_difference == pytest.approx(0.04)
    assert weighted.decisions == ((9, 0, 0), (1, 0, 0), (0, 0, 0))


def test_a_correlation_is_that_of_numpy_and_none_where_a_model_says_one_thing():
    rng = np.random.default_rng(3)
    first, second = rng.random(500), rng.random(500)
    log_odds = np.log([first / (1 - first), second / (1 - second)])

    assert agreement(pair(first, second), LENIENT, STRICT).correlation == pytest.approx(np.corrcoef(log_odds)[0, 1])
    assert agreement(pair([0.1, 0.2], [0.3, 0.3]), LENIENT, STRICT).correlation is None


def test_probabilities_of_0_and_1_have_a_correlation_too():
    assert np.isfinite(agreement(pair([0.0, 0.5, 1.0], [0.1, 0.2, 1.0]), LENIENT, STRICT).correlation)


def test_features_that_came_went_or_changed_are_told_and_their_order_is_not(model):
    before = replace(model.manifest, features=(feature("a"), feature("b"), feature("c"), feature("d")))
    after = replace(
        model.manifest, features=(feature("d", missing="reject"), feature("e"), feature("c", maximum=2.0), feature("a"))
    )

    changes = {(change.name, change.change, change.before, change.after) for change in feature_changes(before, after)}

    assert changes == {
        ("b", "removed", "-1 … 1", ""),
        ("c", "range", "-1 … 1", "-1 … 2"),
        ("d", "missing", "allow", "reject"),
        ("e", "added", "", "-1 … 1"),
    }


def test_golden_rows_are_matched_by_name_and_counted_once(model):
    alone = on_golden_rows(model, model)

    assert sorted(set(alone.first)) == pytest.approx(
        sorted({row.score for row in model.manifest.golden_rows}), abs=1e-6
    )
    assert np.array_equal(alone.first, alone.second)
    assert len(alone.first) <= len(model.manifest.golden_rows)
