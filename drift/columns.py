"""Take a sample apart into what each test looks at: the finite values of a column, the missing and the infinite."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Observed:
    """A column of ``rows`` rows, of which some are ``missing`` or ``infinite``; ``values`` (n,) float32 rise."""

    rows: int
    missing: int
    infinite: int
    values: NDArray[np.float32]


def observe(rows: NDArray[np.float32]) -> list[Observed]:
    """The k columns of ``rows`` (n, k), NaN where missing."""
    # One sort serves all tests; NaN and the infinities come to lie at the ends.
    ordered = np.sort(np.ascontiguousarray(rows.T), axis=1)
    return [_observed(column) for column in ordered]


def _observed(ordered: NDArray[np.float32]) -> Observed:
    missing = int(np.count_nonzero(np.isnan(ordered)))
    known = ordered[: len(ordered) - missing]
    finite = known[np.searchsorted(known, -np.inf, side="right") : np.searchsorted(known, np.inf, side="left")]
    return Observed(len(ordered), missing, len(known) - len(finite), finite)
