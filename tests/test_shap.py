"""The tables give exactly the Shapley values that XGBoost, the shap package and their definition give."""

import sys
import warnings
from itertools import combinations
from math import factorial

import msgspec
import numpy as np
import pytest
import xgboost as xgb
from hypothesis import given, settings
from hypothesis import strategies as st

from models.shap import BITS, ROWS_AT_ONCE, Recursion, Tables, explainer
from models.trees import read_trees


def rows(seed, count, width, missing=0.0, levels=None):
    """(count, width) float32; rounded to so many ``levels`` where given, so that thresholds come again."""
    chance = np.random.default_rng(seed)
    drawn = chance.normal(size=(count, width))
    if levels is not None:
        drawn = np.round(drawn * levels) / levels
    drawn[chance.random(drawn.shape) < missing] = np.nan
    return drawn.astype(np.float32)


def boosted(features, seed=0, trees=5, depth=3, **options):
    chance = np.random.default_rng(seed)
    signal = np.nan_to_num(features, nan=1.5)
    labels = np.sin(3 * signal).sum(axis=1) + signal[:, 0] * signal[:, -1] + chance.normal(size=len(signal)) > 0.3
    chosen = {"max_depth": depth, "eta": 0.5, "objective": "binary:logistic", "nthread": 1, "seed": seed} | options
    return xgb.train(chosen, xgb.DMatrix(features, labels), trees)


def tables(booster):
    found = explainer(booster)
    assert isinstance(found, Tables), found
    return found


def margin(booster, features):
    return booster.inplace_predict(features, predict_type="margin", validate_features=False)


def enumerated(booster, row):
    """Shapley values by the definition: the mean over all orders of the features, tree by tree."""
    trees = msgspec.json.decode(bytes(booster.save_raw("json")))["learner"]["gradient_booster"]["model"]["trees"]
    width = len(row)

    def worth(tree, node, known):
        left, right = tree["left_children"][node], tree["right_children"][node]
        if left == -1:
            return tree["split_conditions"][node]
        feature, cover = tree["split_indices"][node], tree["sum_hessian"]
        if feature not in known:
            return sum(cover[child] / cover[node] * worth(tree, child, known) for child in (left, right))
        value = row[feature]
        goes_left = (
            tree["default_left"][node] if np.isnan(value) else value < np.float32(tree["split_conditions"][node])
        )
        return worth(tree, left if goes_left else right, known)

    shares = np.zeros(width)
    for feature in range(width):
        others = [other for other in range(width) if other != feature]
        for size in range(width):
            weight = factorial(size) * factorial(width - size - 1) / factorial(width)
            for known in map(set, combinations(others, size)):
                shares[feature] += weight * sum(
                    worth(tree, 0, known | {feature}) - worth(tree, 0, known) for tree in trees
                )
    return shares


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000),
    width=st.integers(1, 6),
    depth=st.integers(1, BITS),
    trees=st.integers(1, 12),
    missing=st.sampled_from([0.0, 0.3]),
    levels=st.sampled_from([None, 1, 4]),
)
def test_any_small_model_is_explained_as_xgboost_explains_it(seed, width, depth, trees, missing, levels):
    booster = boosted(rows(seed, 150, width, missing, levels), seed, trees, depth)
    asked = rows(seed + 1, 40, width, 0.2, levels)

    shares = tables(booster).contributions(asked)

    assert shares == pytest.approx(Recursion(booster, "").contributions(asked), abs=1e-5)
    assert shares.sum(axis=1) == pytest.approx(margin(booster, asked), abs=1e-5, rel=1e-6)


@settings(max_examples=15)
@given(seed=st.integers(0, 10_000), width=st.integers(1, 5), levels=st.sampled_from([None, 1]))
def test_a_small_model_is_explained_by_the_mean_over_all_orders_of_its_features(seed, width, levels):
    booster = boosted(rows(seed, 80, width, 0.2, levels), seed, trees=3, depth=4)
    asked = rows(seed + 1, 3, width, 0.2, levels)

    shares = tables(booster).contributions(asked)[:, :-1]

    assert shares == pytest.approx(np.array([enumerated(booster, row) for row in asked]), abs=1e-9)


@pytest.mark.skipif(sys.platform != "linux", reason="the shap package has no numba to run on everywhere")
def test_the_shap_package_finds_the_same_values():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on import it uses what its own dependencies deprecate
        import shap
    booster = boosted(rows(1, 500, 8, 0.1), trees=30, depth=5)
    asked = rows(2, 100, 8, 0.1)
    peer = shap.TreeExplainer(booster, feature_perturbation="tree_path_dependent")
    peer.model.model_type = "its own"  # or it would only ask XGBoost

    shares = tables(booster).contributions(asked)

    assert shares[:, :-1] == pytest.approx(peer.shap_values(asked, check_additivity=False), abs=1e-5)


def test_shares_and_bias_add_up_to_the_sum_of_the_leaves():
    booster = boosted(rows(3, 500, 6, 0.1), trees=50, depth=6)
    asked = rows(4, 200, 6, 0.1)
    trees = read_trees(booster)

    def reached(leaf, row):
        return all(
            step.holds == (at.default_left if np.isnan(row[at.feature]) else row[at.feature] < np.float32(at.threshold))
            for step in leaf.steps
            for at in [step.condition]
        )

    sums = [trees.base + sum(leaf.value for leaf in trees.leaves if reached(leaf, row)) for row in asked]

    assert tables(booster).contributions(asked).sum(axis=1) == pytest.approx(sums, abs=1e-9)
    assert margin(booster, asked) == pytest.approx(sums, abs=5e-6)


def test_missing_values_take_the_branch_they_took_in_training_to_either_side():
    features = rows(5, 400, 3, 0.4)
    booster = boosted(features, trees=20, depth=4)
    directions = {step.condition.default_left for leaf in read_trees(booster).leaves for step in leaf.steps}
    asked = rows(6, 50, 3, 0.5)
    asked[0] = np.nan

    shares = tables(booster).contributions(asked)

    assert directions == {True, False}
    assert shares == pytest.approx(Recursion(booster, "").contributions(asked), abs=1e-5)


def test_a_value_on_the_threshold_goes_right():
    booster = boosted(rows(7, 200, 2, levels=1), trees=4, depth=3)
    thresholds = sorted({s.condition.threshold for leaf in read_trees(booster).leaves for s in leaf.steps})
    asked = np.array([[a, b] for a in thresholds for b in thresholds], np.float32)

    assert tables(booster).contributions(asked) == pytest.approx(Recursion(booster, "").contributions(asked), abs=1e-5)


def test_a_feature_that_is_asked_again_and_again_on_one_way_counts_once():
    booster = boosted(rows(8, 400, 1), trees=6, depth=6)

    longest = max(len(leaf.steps) for leaf in read_trees(booster).leaves)
    shares = tables(booster).contributions(rows(9, 20, 1))

    assert longest > 3
    assert shares.sum(axis=1) == pytest.approx(margin(booster, rows(9, 20, 1)), abs=1e-5)


def test_trees_of_a_single_leaf_leave_everything_to_the_bias():
    booster = boosted(rows(10, 100, 4), gamma=1e9)
    asked = rows(11, 3, 4)

    shares = tables(booster).contributions(asked)

    assert not shares[:, :-1].any()
    assert shares[:, -1] == pytest.approx(margin(booster, asked), abs=1e-6)


@pytest.mark.parametrize("count", [0, 1, ROWS_AT_ONCE, ROWS_AT_ONCE + 1, 3 * ROWS_AT_ONCE + 5])
def test_any_number_of_rows_is_explained_as_each_alone(count):
    explain = tables(boosted(rows(12, 300, 5), trees=10, depth=5)).contributions
    asked = rows(13, count, 5, 0.1)

    alone = [explain(asked[at : at + 1]) for at in range(count)]

    assert np.array_equal(explain(asked), np.concatenate([np.empty((0, 6)), *alone]))


@pytest.mark.parametrize("objective", ["binary:logistic", "binary:logitraw", "reg:squarederror"])
def test_the_bias_follows_the_link_of_the_objective(objective):
    booster = boosted(rows(14, 200, 3), objective=objective, base_score=0.2)
    asked = rows(15, 20, 3)

    assert tables(booster).contributions(asked) == pytest.approx(Recursion(booster, "").contributions(asked), abs=1e-5)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"depth": 12, "min_child_weight": 0}, "more than 8 conditions"),
        ({"booster": "dart", "rate_drop": 0.5}, "a dart booster"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*`booster=dart` is deprecated:UserWarning")
def test_what_has_no_tables_is_left_to_xgboost_with_the_reason(options, reason):
    booster = boosted(rows(16, 2_000, 3), **options)
    asked = rows(17, 20, 3)

    found = explainer(booster)

    assert isinstance(found, Recursion)
    assert reason in found.reason
    assert found.contributions(asked).sum(axis=1) == pytest.approx(margin(booster, asked), abs=1e-4)


def test_tables_that_would_be_too_large_are_not_made():
    booster = boosted(rows(18, 500, 6), trees=10, depth=6)

    found = explainer(booster, largest=100_000)

    assert isinstance(found, Recursion)
    assert "more than 100,000" in found.reason
    assert tables(booster).table.nbytes > 100_000


def test_categories_are_left_to_xgboost():
    features = np.random.default_rng(19).integers(0, 4, (300, 2)).astype(np.float32)
    data = xgb.DMatrix(features, features[:, 0] > 1, feature_types=["c", "c"], enable_categorical=True)

    found = explainer(xgb.train({"max_depth": 2, "nthread": 1}, data, 2))

    assert isinstance(found, Recursion)
    assert "categories" in found.reason
