"""Read the trees of a booster as leaves, each with the conditions on the way to it."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np

from models.boosting import xgboost as xgb

NO_CHILD = -1


class UnsupportedTreesError(Exception):
    """Catch this around ``read_leaves``: the booster is more than a sum of trees with numerical splits."""


class Condition(NamedTuple):
    """``row[feature] < threshold``; a missing value fulfils it if ``default_left``."""

    feature: int
    threshold: float
    default_left: bool


class Step(NamedTuple):
    """A condition on the way to a leaf: whether it must hold, and the share of training rows that went this way."""

    condition: Condition
    holds: bool
    share: float


class Leaf(NamedTuple):
    """What a tree adds to the log-odds of the rows that take every one of the steps, root first."""

    value: float
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Trees:
    """The leaves of all trees, tree by tree and left to right, and the log-odds that the sum of them starts from."""

    leaves: tuple[Leaf, ...]
    base: float


def read_trees(booster: xgb.Booster) -> Trees:
    """The trees of ``booster``. Raises UnsupportedTreesError saying what it has that a ``Leaf`` has not."""
    learner = msgspec.json.decode(bytes(booster.save_raw("json")))["learner"]
    kind, shape = learner["gradient_booster"]["name"], learner["learner_model_param"]
    if kind != "gbtree":
        raise UnsupportedTreesError(f"it is a {kind} booster")
    # XGBoost 3.4 writes one under the name of gbtree, with the weights of its trees.
    if learner["gradient_booster"]["model"].get("weight_drop"):
        raise UnsupportedTreesError("it is a dart booster")
    if int(shape["num_class"]) > 1 or int(shape["num_target"]) > 1:
        raise UnsupportedTreesError("it gives more than one number a row")
    trees = [tuple(_leaves(tree)) for tree in learner["gradient_booster"]["model"]["trees"]]
    return Trees(tuple(leaf for tree in trees for leaf in tree), _base(booster, trees[0]))


def _leaves(tree: dict[str, Any]) -> Iterator[Leaf]:
    if any(tree["split_type"]):
        raise UnsupportedTreesError("it splits on categories")
    left, right, cover = tree["left_children"], tree["right_children"], tree["sum_hessian"]
    waiting: list[tuple[int, tuple[Step, ...]]] = [(0, ())]
    while waiting:
        node, steps = waiting.pop()
        number = tree["split_conditions"][node]
        if left[node] == NO_CHILD:
            yield Leaf(number, steps)
            continue
        if not cover[node] > 0:
            raise UnsupportedTreesError("no training row came by one of its nodes")
        condition = Condition(tree["split_indices"][node], number, bool(tree["default_left"][node]))
        for child, holds in ((right[node], False), (left[node], True)):
            waiting.append((child, (*steps, Step(condition, holds, cover[child] / cover[node]))))


def _base(booster: xgb.Booster, first: tuple[Leaf, ...]) -> float:
    """What the booster starts from in log-odds, ``first`` being the leaves of its first tree.

    Asked of XGBoost, as each objective has a link of its own between the configured base score and the margin.
    """
    missing = np.full((1, booster.num_features()), np.nan, np.float32)
    margin = booster.inplace_predict(
        missing, iteration_range=(0, 1), predict_type="margin", validate_features=False
    ).item()
    taken = next(leaf for leaf in first if all(step.holds == step.condition.default_left for step in leaf.steps))
    return float(margin) - taken.value
