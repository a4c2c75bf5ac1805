"""Measure how far two samples of a continuous feature are apart: the Kolmogorov-Smirnov distance and its chance.

The baseline is sorted once, when it is made; a window is sorted once, here. D is that of ``scipy.stats.ks_2samp``, and
its cost does not depend on how far apart the two are.
"""

import numpy as np
from numpy.typing import NDArray
from scipy import special


def distance(baseline: NDArray[np.float32], window: NDArray[np.float32]) -> float:
    """D of two rising samples (m,) and (n,) of finite values of one type, neither empty.

    Float32 against float64 would part values that are equal: 0.1 is another number in each.
    """
    m, n = len(baseline), len(window)
    # The distribution of the window steps at its own values alone. So its greatest lead is at one of them, and its
    # greatest lag just before one; searching the baseline for the n values of the window is enough.
    up_to = baseline.searchsorted(window, side="right")
    before = up_to.copy()
    tied = np.flatnonzero(baseline[np.maximum(up_to, 1) - 1] == window)
    before[tied] = baseline.searchsorted(window[tied], side="left")
    steps = np.arange(n + 1) / n
    lead = (steps[1:] - up_to / m).max()
    lag = (before / m - steps[:-1]).max()
    return float(max(lead, lag))


def p_value(distance: float, baseline_rows: float, window_rows: float) -> float:
    """The probability of at least this distance where nothing differs, by the limit law: on the safe side.

    Rows are effective ones, so they need not be whole.
    """
    return float(special.kolmogorov(distance * _scale(baseline_rows, window_rows)))


def critical(alpha: float, baseline_rows: float, window_rows: float) -> float:
    """The distance whose ``p_value`` is ``alpha``."""
    return float(special.kolmogi(alpha) / _scale(baseline_rows, window_rows))


def _scale(baseline_rows: float, window_rows: float) -> float:
    return float(np.sqrt(baseline_rows * window_rows / (baseline_rows + window_rows)))
