"""Score with a logistic regression: what the trees must beat to be worth their trouble."""

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]


def log_odds(
    learn: NDArray[np.float32], labels: NDArray[np.bool_], *parts: NDArray[np.float32]
) -> list[NDArray[np.float64]]:
    """The log-odds of fraud for the rows of each of ``parts``, learnt from ``learn`` (n, k) and ``labels`` (n,).

    Features are standardised with the mean and deviation of ``learn``; a missing one counts as its mean.
    """
    mean, deviation = np.nanmean(learn, axis=0, dtype=np.float64), np.nanstd(learn, axis=0, dtype=np.float64)
    scale = np.where(deviation > 0, deviation, 1.0)

    def standard(rows: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.nan_to_num((rows - mean) / scale)

    # On one thread sums have one order, so that a report can be made again to the last digit.
    with threadpool_limits(1):
        regression = LogisticRegression(max_iter=1000).fit(standard(learn), labels)
        # Past 36 a float64 probability is 1 and would reach even the threshold that is never to be reached.
        return [np.clip(regression.decision_function(standard(rows)), -36, 36) for rows in parts]
