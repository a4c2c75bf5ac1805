"""Take a data set as the reference period of a model."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from xxhash import xxh64_intdigest

from drift.period import Alerts, Period
from schemas.dataset import Dataset
from schemas.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Scored:
    """What a model says of the rows of a data set.

    ``scores`` (n,) float64 are probabilities, alerts from ``review_at`` on. The model learned from the first
    ``learned`` rows, so its scores of these are better than any it will give again.
    """

    scores: NDArray[np.float64]
    review_at: float
    learned: int


def period_of(
    dataset: Dataset, source: str, features: tuple[str, ...], scored: Scored | None, card: str | None = None
) -> Period:
    """The data set as it would be if it were a plain sample of the traffic.

    Where legitimate rows were thinned, so are the frauds here, or each would count for many. ``card`` names the column
    with the card, for how many rows belong to one. Raises ConfigurationError where there is no such column.
    """
    frame = dataset.frame
    numbers = np.arange(len(frame), dtype=np.uint64)
    kept = plain_sample(frame["is_fraud"].to_numpy(np.bool_), dataset.legitimate_kept)
    times = np.rint(frame["time"].to_numpy(np.float64)[kept] * 1000).astype(np.int64)
    scores, alerts = (None, None) if scored is None else _scores(scored, kept, times)
    return Period(
        source=source,
        features=features,
        times=times,
        hashes=mixed(numbers[kept], salt=2),
        units=None if card is None else units_of(frame, card)[kept],
        rows=frame[list(features)].to_numpy(np.float32)[kept],
        scores=scores,
        alerts=alerts,
    )


def _scores(scored: Scored, kept: NDArray[np.intp], times: NDArray[np.int64]) -> tuple[NDArray[np.float32], Alerts]:
    fresh = kept >= scored.learned
    flags = (scored.scores[kept] >= scored.review_at)[fresh].astype(np.int64)
    scores = np.where(fresh, scored.scores[kept], np.nan).astype(np.float32)
    return scores, Alerts(times[fresh], np.ones(len(flags), np.int64), flags)


def plain_sample(is_fraud: NDArray[np.bool_], legitimate_kept: float) -> NDArray[np.intp]:
    """Row numbers of all that is legitimate, and of frauds as large a share as was kept of those."""
    chance = mixed(np.arange(len(is_fraud), dtype=np.uint64), salt=1) / 2.0**64
    return np.flatnonzero(~is_fraud | (chance < legitimate_kept))


def units_of(frame: pd.DataFrame, card: str) -> NDArray[np.uint64]:
    """(n,) hashes of the values in the column ``card``. Raises ConfigurationError where there is none."""
    if card not in frame.columns:
        raise ConfigurationError(f"the data set has no column {card!r} with the card")
    return np.array([xxh64_intdigest(str(value).encode()) for value in frame[card]], np.uint64)


def mixed(numbers: NDArray[np.uint64], salt: int) -> NDArray[np.uint64]:
    """A hash of each row number (splitmix64, Steele et al. 2014): the same rows are chosen by any version of NumPy."""
    bits = (numbers + np.uint64(salt << 48)) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
    return np.asarray(bits ^ (bits >> np.uint64(31)))
