"""Hold what was seen in a reference period, wherever it comes from."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drift.tally import Counts
from drift.volume import Traffic


@dataclass(frozen=True, slots=True)
class Alerts:
    """Events that were scored, and those among them that were reviewed or declined.

    ``scored`` and ``alerts`` (c,) int64 count what began at ``times`` (c,) int64 (ms, rising), each until the next.
    """

    times: NDArray[np.int64]
    scored: NDArray[np.int64]
    alerts: NDArray[np.int64]

    def between(self, start: int, end: int) -> Counts:
        """The counts from ``start`` until before ``end``."""
        here = slice(*np.searchsorted(self.times, [start, end]).tolist())
        return Counts(scored=int(self.scored[here].sum()), reviewed=int(self.alerts[here].sum()))


@dataclass(frozen=True, slots=True)
class Period:
    """What was seen in a reference period; ``source`` says where, for people.

    The n rows are a uniform sample of the traffic in order of time: ``times`` (n,) int64 (ms), ``hashes`` (n,) uint64
    that are independent of everything else, ``units`` (n,) uint64 hashes of the cards (None where unknown), ``rows``
    (n, k) float32 in the order of ``features``, and ``scores`` (n,) float32, NaN where the model knew the row from its
    training (None without a model). ``traffic`` counts all events of every model, where they were counted.
    """

    source: str
    features: tuple[str, ...]
    times: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    units: NDArray[np.uint64] | None
    rows: NDArray[np.float32]
    scores: NDArray[np.float32] | None
    alerts: Alerts | None
    traffic: Traffic | None = None


def uniform(hashes: NDArray[np.uint64], first: int, end: int, most: int) -> NDArray[np.intp]:
    """Row numbers from ``first`` until before ``end``: all of them, or those ``most`` with the smallest hashes."""
    if end - first <= most:
        return np.arange(first, end)
    return first + np.sort(np.argpartition(hashes[first:end], most)[:most])
