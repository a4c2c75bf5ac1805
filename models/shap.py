"""Explain a prediction exactly: what each feature of a row added to the log-odds, looked up in precomputed tables.

Path-dependent TreeSHAP (Lundberg et al. 2020) is a sum over the leaves of all trees, and what a leaf adds depends on a
row only through the conditions on the way to it: so it can be computed for all their outcomes when the model loads
(Fast TreeSHAP v2, Yang 2021). Here leaves that share conditions are put together as long as all their conditions fit
into one byte. A row then takes one comparison a condition, ``packbits`` makes of the outcomes of a group its place in
the table, and the share of a feature is the sum of its entries.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import comb, prod

import numpy as np
from numpy.typing import NDArray

from models.boosting import xgboost as xgb
from models.trees import Condition, Leaf, Trees, UnsupportedTreesError, read_trees

BITS = 8
"""Conditions in a group: as many as ``packbits`` puts into a byte."""

LARGEST_TABLE = 32 << 20
"""Bytes. 100 trees take 3 MB at depth 5 and 12 MB at depth 6; deeper ones soon more than the rest of the worker."""

ROWS_AT_ONCE = 64
"""Rows explained in one go, so that the arrays in between stay within the caches."""


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables of one booster of ``width`` features.

    Slots, ``BITS`` a group, arrays (slots,): a row's ``column`` (a feature, or ``width`` + a feature where the missing
    fulfil the condition) is compared with ``threshold``. Pairs of a group and a feature, sorted by feature, arrays
    (pairs,): the ``group``, and the place ``base`` in ``table`` where their entries begin. The pairs of the feature
    ``present[i]`` begin at ``starts[i]``. ``bias`` is the mean of the log-odds over the training rows.
    """

    width: int
    column: NDArray[np.intp]
    threshold: NDArray[np.float32]
    group: NDArray[np.intp]
    base: NDArray[np.intp]
    starts: NDArray[np.intp]
    present: NDArray[np.intp]
    table: NDArray[np.float64]
    bias: float

    def contributions(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, k) features, NaN where missing, to (n, k + 1) shares of the log-odds, the bias last."""
        shares = np.zeros((len(features), self.width + 1))
        shares[:, -1] = self.bias
        for at in range(0, len(features), ROWS_AT_ONCE):
            rows = features[at : at + ROWS_AT_ONCE]
            shares[at : at + ROWS_AT_ONCE, self.present] = self._sums(rows)
        return shares

    def _sums(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        # A comparison with NaN is false; where the missing shall pass they are made smaller than any threshold.
        both = np.concatenate([rows, np.where(np.isnan(rows), -np.inf, rows)], axis=1, dtype=np.float32)
        outcomes = np.packbits(both.take(self.column, axis=1) < self.threshold, axis=1, bitorder="little")
        entries = outcomes.take(self.group, axis=1) + self.base
        return np.add.reduceat(self.table.take(entries), self.starts, axis=1)


@dataclass(frozen=True, slots=True)
class Recursion:
    """XGBoost's own TreeSHAP, some ten times slower than tables, and why there are none for this booster."""

    booster: xgb.Booster
    reason: str

    def contributions(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, k) features, NaN where missing, to (n, k + 1) shares of the log-odds, the bias last."""
        matrix = xgb.DMatrix(features, feature_names=self.booster.feature_names, nthread=1)
        return np.asarray(self.booster.predict(matrix, pred_contribs=True), np.float64)


Explainer = Tables | Recursion


def explainer(booster: xgb.Booster, largest: int = LARGEST_TABLE) -> Explainer:
    """Tables for ``booster`` if it is made of trees for which they take at most ``largest`` bytes, else recursion."""
    try:
        return tables(read_trees(booster), booster.num_features(), largest)
    except UnsupportedTreesError as reason:
        return Recursion(booster, str(reason))


@dataclass(frozen=True, slots=True)
class _Group:
    """Leaves with all their conditions: each condition with the number of its bit."""

    bits: dict[Condition, int]
    leaves: list[Leaf]

    def features(self) -> set[int]:
        return {condition.feature for condition in self.bits}

    def entries(self) -> int:
        return len(self.features()) << len(self.bits)


def tables(trees: Trees, width: int, largest: int) -> Tables:
    """The tables of ``trees`` over ``width`` features.

    Raises UnsupportedTreesError where they would be larger than ``largest`` bytes.
    """
    groups = _grouped(trees.leaves)
    size = sum(group.entries() for group in groups) * np.dtype(np.float64).itemsize
    if size > largest:
        raise UnsupportedTreesError(f"its tables would take {size:,} bytes, more than {largest:,}")
    column, threshold = _slots(groups, width)
    parts = sorted(
        ((feature, number, part) for number, group in enumerate(groups) for feature, part in _parts(group).items()),
        key=lambda part: part[:2],
    )
    sizes = np.array([len(part) for _, _, part in parts], np.intp)
    present, starts = np.unique(np.array([feature for feature, _, _ in parts], np.intp), return_index=True)
    return Tables(
        width=width,
        column=column,
        threshold=threshold,
        group=np.array([number for _, number, _ in parts], np.intp),
        base=np.cumsum(sizes) - sizes,
        starts=starts,
        present=present,
        table=np.concatenate([np.empty(0), *(part for _, _, part in parts)]),
        bias=trees.base + sum(leaf.value * prod(step.share for step in leaf.steps) for leaf in trees.leaves),
    )


def _grouped(leaves: Iterable[Leaf]) -> list[_Group]:
    """The leaves in groups of at most BITS conditions. Neighbours in a tree share most of theirs."""
    groups = [_Group({}, [])]
    for leaf in leaves:
        conditions = dict.fromkeys(step.condition for step in leaf.steps)
        if len(conditions) > BITS:
            raise UnsupportedTreesError(f"a leaf has more than {BITS} conditions")
        together = groups[-1].bits | conditions
        if len(together) > BITS:
            groups.append(_Group({}, []))
            together = conditions
        groups[-1].bits.update((condition, bit) for bit, condition in enumerate(together))
        groups[-1].leaves.append(leaf)
    return groups


def _slots(groups: Sequence[_Group], width: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """The columns and thresholds of all groups; a slot without a condition is never fulfilled."""
    column = np.zeros((len(groups), BITS), np.intp)
    threshold = np.full((len(groups), BITS), -np.inf, np.float32)
    for number, group in enumerate(groups):
        for condition, bit in group.bits.items():
            column[number, bit] = condition.feature + width * condition.default_left
            threshold[number, bit] = condition.threshold
    return column.ravel(), threshold.ravel()


def _parts(group: _Group) -> dict[int, NDArray[np.float64]]:
    """For each feature of the group its share for every outcome of the conditions, (2 ** bits,)."""
    outcomes = np.arange(1 << len(group.bits))
    holds = {condition: (outcomes >> bit & 1).astype(np.bool_) for condition, bit in group.bits.items()}
    parts = {feature: np.zeros(len(outcomes)) for feature in sorted(group.features())}
    for leaf in group.leaves:
        for feature, share in _shares(leaf, holds).items():
            parts[feature] += share
    return parts


def _shares(leaf: Leaf, holds: dict[Condition, NDArray[np.bool_]]) -> dict[int, NDArray[np.float64]]:
    """The Shapley values (outcomes,) of the features on the way to ``leaf``.

    What a set of known features is worth: the value of the leaf, times 0 if one of them leads away from it, times the
    share of the training rows that took the step for each step of the others. That is a product over the features, so
    the sum over sets of one size is a coefficient of a polynomial (Lundberg et al. 2020, algorithm 2).
    """
    known: dict[int, NDArray[np.float64]] = {}
    unknown: dict[int, float] = {}
    for step in leaf.steps:
        feature, taken = step.condition.feature, (holds[step.condition] == step.holds).astype(np.float64)
        known[feature] = known[feature] * taken if feature in known else taken
        unknown[feature] = unknown.get(feature, 1.0) * step.share
    return {
        feature: leaf.value * (known[feature] - unknown[feature]) * _weighted(feature, known, unknown)
        for feature in known
    }


def _weighted(
    without: int, known: dict[int, NDArray[np.float64]], unknown: dict[int, float]
) -> NDArray[np.float64] | float:
    """The mean over all orders of the features of what those that come before ``without`` make of the leaf."""
    count = len(known)
    by_size: list[NDArray[np.float64] | float] = [1.0]
    for feature, taken in known.items():
        if feature != without:
            added = [worth * taken for worth in by_size]
            left_out = [worth * unknown[feature] for worth in by_size]
            by_size = [left_out[0], *(a + b for a, b in zip(left_out[1:], added[:-1], strict=True)), added[-1]]
    return sum(worth / (count * comb(count - 1, size)) for size, worth in enumerate(by_size))
