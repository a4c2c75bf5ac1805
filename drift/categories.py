"""Compare how often each value of a discrete feature comes, and how often one that was never seen."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

Counts = NDArray[Any]
"""Rows in each cell; effective ones need not be whole."""

FEWEST = 5.0
"""Expected rows of a cell below which the chi-square law does not hold (Cochran 1954); such cells are pooled."""


def cells(known: NDArray[np.float32], window: NDArray[np.float32]) -> NDArray[np.int64]:
    """(k + 1,) rows of the rising ``window`` (n,) at each of the rising ``known`` values (k,), then at any other."""
    seen = np.searchsorted(window, known, side="right") - np.searchsorted(window, known, side="left")
    return np.append(seen, len(window) - seen.sum())


def total_variation(baseline: Counts, window: Counts) -> float:
    """The largest difference in the probability of any set of cells, 0 to 1; neither is empty."""
    return float(np.abs(baseline / baseline.sum() - window / window.sum()).sum() / 2)


def p_value(baseline: Counts, window: Counts) -> float:
    """The chi-square test that both (k,) counts are of one distribution, rare cells pooled."""
    table = _pooled(np.array([baseline, window]))
    if table.shape[1] < 2:
        return 1.0
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    return float(special.chdtrc(table.shape[1] - 1, ((table - expected) ** 2 / expected).sum()))


def _pooled(table: NDArray[Any]) -> NDArray[Any]:
    """(2, k) to (2, l): cells in which either row expects fewer than ``FEWEST`` become one, or join the next rarest."""
    share_of_smaller = table.sum(axis=1).min() / table.sum()
    table = table[:, np.argsort(table.sum(axis=0), kind="stable")]
    expected = np.cumsum(table.sum(axis=0)) * share_of_smaller
    alone = table.sum(axis=0) * share_of_smaller >= FEWEST
    rare = int(np.argmax(alone)) if alone.any() else table.shape[1]
    if rare and expected[rare - 1] < FEWEST:
        rare = min(rare + 1, table.shape[1])
    return np.concatenate([table[:, :rare].sum(axis=1, keepdims=True), table[:, rare:]], axis=1) if rare else table
