"""Put the size of a change into the figures that people know: PSI and the Wasserstein distance. They decide nothing."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Counts = NDArray[np.int64]


def psi(baseline: Counts, window: Counts) -> float:
    """The population stability index of the (k,) counts of the same cells.

    Half a row is added to each cell: without it a cell that is empty on one side alone would make the index infinite.
    """
    expected, found = ((counts + 0.5) / (counts + 0.5).sum() for counts in (baseline, window))
    return float(((found - expected) * np.log(found / expected)).sum())


def between(cuts: NDArray[np.float32], values: NDArray[np.float32]) -> Counts:
    """(k + 1,) counts of the rising ``values`` (n,) up to each of the rising ``cuts`` (k,), and beyond the last."""
    ends = np.array([0, *values.searchsorted(cuts, side="right"), len(values)], np.int64)
    counts: Counts = ends[1:] - ends[:-1]
    return counts


def wasserstein(baseline: NDArray[np.float32], window: NDArray[np.float32]) -> float:
    """The mean distance by which a value has to move, in the unit of the feature."""
    return float(stats.wasserstein_distance(baseline, window))


def percentiles(values: NDArray[np.float32]) -> tuple[float, ...]:
    """101 of the rising ``values``, from the least to the greatest in steps of one percent of the rows."""
    at = np.rint(np.linspace(0, len(values) - 1, 101)).astype(np.intp)
    return tuple(values[at].tolist())
