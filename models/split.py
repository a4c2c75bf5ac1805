"""Decide which transactions a model learns from, which it is tuned on, and which it has never seen."""

import numpy as np
from numpy.typing import NDArray

from schemas.dataset import Dataset


def parts(dataset: Dataset, shares: tuple[float, float]) -> tuple[slice, slice, slice]:
    """Training, validation and test part of a data set, each wholly later than the one before.

    ``shares`` are those of the first two parts in the traffic.
    """
    return by_time(dataset.frame["time"].to_numpy(np.float64), weights(dataset), shares)


def weights(dataset: Dataset) -> NDArray[np.float64]:
    """(n,): the transactions each row stands for. A legitimate row stands for those that were thinned out too."""
    return np.where(dataset.frame["is_fraud"].to_numpy(np.bool_), 1.0, 1 / dataset.legitimate_kept)


def by_time(
    times: NDArray[np.float64], weights: NDArray[np.float64], shares: tuple[float, float]
) -> tuple[slice, slice, slice]:
    """Training, validation and test part of n rows in time order, each wholly later than the one before.

    ``times`` (n,) rising, ``weights`` (n,) the transactions each row stands for, ``shares`` those of the first two
    parts in the traffic. By weight, so that a thinned data set is cut at the same moments as the whole one. Rows of one
    moment are never parted.
    """
    traffic = np.cumsum(weights)
    moments = [times[np.searchsorted(traffic, share * traffic[-1], side="right")] for share in np.cumsum(shares)]
    first, second = np.searchsorted(times, moments, side="left").tolist()
    return slice(0, first), slice(first, second), slice(second, len(times))
