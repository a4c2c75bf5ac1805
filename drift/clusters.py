"""Say what rows are worth of which many belong to one card."""

import numpy as np
from numpy.typing import NDArray


def rows_per_card(units: NDArray[np.uint64]) -> float:
    """How many rows share the card of a row, on average over the rows; 1 where each has its own. ``units`` (n,).

    It is Kish's design effect for rows of a card that are copies of each other, the worst that can be: n rows tell no
    less than n divided by it independent ones.
    """
    counts = np.unique(units, return_counts=True)[1]
    return float((counts.astype(np.float64) ** 2).sum() / counts.sum()) if len(units) else 1.0


def among_all(sampled: float, share: float) -> float:
    """``rows_per_card`` of all events, when that of a sample of this share is ``sampled``.

    Sampling by event thins cards out: each of a row's companions is in the sample with the probability ``share``.
    """
    return 1 + (sampled - 1) / share
