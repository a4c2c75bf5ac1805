"""Decide which transactions a model learns from, which it is tuned on, and which it has never seen."""

import numpy as np
from numpy.typing import NDArray


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
