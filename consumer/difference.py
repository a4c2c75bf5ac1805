"""Decide how two sets of decisions about the same records differ: the live ones, and those of a replay."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consumer.ranges import Span
from schemas.decision import Outcome

QUANTILES = (0.0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1.0)
_NONE = np.uint8(255)


@dataclass(frozen=True, slots=True)
class Scores:
    """n decisions about records of one topic, each array (n,).

    ``partition``, ``offset`` int64: of the source record. ``score`` float64 in [0, 1], ``outcome`` uint8
    (:class:`Outcome`).
    """

    partition: NDArray[np.int64]
    offset: NDArray[np.int64]
    score: NDArray[np.float64]
    outcome: NDArray[np.uint8]
    transaction: Sequence[bytes | None]


@dataclass(frozen=True, slots=True)
class Changed:
    """One transaction, as it was decided live and as the replay decides it."""

    partition: int
    offset: int
    transaction_id: str
    live_score: float
    replayed_score: float
    live: str
    replayed: str

    @property
    def difference(self) -> float:
        """How much higher the replay scores."""
        return self.replayed_score - self.live_score


@dataclass(frozen=True, slots=True)
class Difference:
    """``decisions[i][j]`` counts the records that were decided ``Outcome(i)`` live and ``Outcome(j)`` in the replay.

    ``quantiles`` are those of the differences of the scores (replayed minus live), at QUANTILES; empty if nothing was
    decided in both. ``live`` and ``replayed`` (m,) float64: the scores of what was decided in both.
    """

    compared: int
    only_live: int
    only_replayed: int
    decisions: tuple[tuple[int, ...], ...]
    quantiles: tuple[float, ...]
    mean_absolute: float
    largest: tuple[Changed, ...]
    live: NDArray[np.float64]
    replayed: NDArray[np.float64]

    @property
    def changed(self) -> int:
        """How many are decided otherwise."""
        return self.compared - sum(row[at] for at, row in enumerate(self.decisions))


class Differences:
    """Takes the live decisions of some spans, then those of the replay: 18 bytes an offset, however many there are."""

    def __init__(self, spans: Sequence[Span], largest: int) -> None:
        self._starts = {span.partition: span.start for span in spans}
        sizes = np.array([len(span) for span in spans], np.int64)
        self._places = dict(zip(self._starts, (sizes.cumsum() - sizes).tolist(), strict=True))
        self._sizes = dict(zip(self._starts, sizes.tolist(), strict=True))
        total = int(sizes.sum())
        self._scores = np.full((2, total), np.nan)
        self._outcomes = np.full((2, total), _NONE)
        self._wanted = largest
        self._largest: list[Changed] = []

    def add_live(self, decisions: Scores) -> None:
        """Live decisions, of which those outside the spans are left out."""
        rows, places = self._within(decisions)
        self._scores[0, places], self._outcomes[0, places] = decisions.score[rows], decisions.outcome[rows]

    def add_replayed(self, decisions: Scores) -> None:
        """Decisions of the replay, after all the live ones."""
        rows, places = self._within(decisions)
        self._scores[1, places], self._outcomes[1, places] = decisions.score[rows], decisions.outcome[rows]
        self._keep_largest(decisions, rows, places)

    @property
    def undecided_live(self) -> int:
        """How many records that the replay has decided have no live decision so far."""
        return int(np.count_nonzero(np.isnan(self._scores[0]) & ~np.isnan(self._scores[1])))

    def result(self) -> Difference:
        """What was added, compared."""
        live, replayed = ~np.isnan(self._scores)
        both = live & replayed
        first, second = self._scores[:, both]
        pairs = self._outcomes[0, both].astype(np.int64) * len(Outcome) + self._outcomes[1, both]
        counts = np.bincount(pairs, minlength=len(Outcome) ** 2).reshape(len(Outcome), len(Outcome))
        differences = second - first
        return Difference(
            compared=len(first),
            only_live=int(np.count_nonzero(live & ~replayed)),
            only_replayed=int(np.count_nonzero(replayed & ~live)),
            decisions=tuple(tuple(row) for row in counts.tolist()),
            quantiles=tuple(np.quantile(differences, QUANTILES).tolist()) if len(first) else (),
            mean_absolute=float(np.abs(differences).mean()) if len(first) else 0.0,
            largest=tuple(self._largest),
            live=first,
            replayed=second,
        )

    def _within(self, decisions: Scores) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """The rows that lie in the spans, and the place of each."""
        places = np.full(len(decisions.offset), -1, np.int64)
        for partition in np.unique(decisions.partition).tolist():
            if partition in self._starts:
                rows = np.flatnonzero(decisions.partition == partition)
                steps = decisions.offset[rows] - self._starts[partition]
                inside = (steps >= 0) & (steps < self._sizes[partition])
                places[rows[inside]] = self._places[partition] + steps[inside]
        rows = np.flatnonzero(places >= 0)
        return rows, places[rows]

    def _keep_largest(self, decisions: Scores, rows: NDArray[np.int64], places: NDArray[np.int64]) -> None:
        sizes = np.abs(np.nan_to_num(self._scores[1, places] - self._scores[0, places]))
        candidates = np.argsort(-sizes, kind="stable")[: self._wanted]
        found = {(changed.partition, changed.offset): changed for changed in self._largest}
        for at in candidates[sizes[candidates] > 0].tolist():
            changed = self._changed(decisions, int(rows[at]), int(places[at]))
            found[changed.partition, changed.offset] = changed
        ordered = sorted(found.values(), key=lambda each: (-abs(each.difference), each.partition, each.offset))
        self._largest = ordered[: self._wanted]

    def _changed(self, decisions: Scores, row: int, place: int) -> Changed:
        live, replayed = self._outcomes[:, place].tolist()
        return Changed(
            partition=int(decisions.partition[row]),
            offset=int(decisions.offset[row]),
            transaction_id=(decisions.transaction[row] or b"").decode(errors="replace"),
            live_score=float(self._scores[0, place]),
            replayed_score=float(self._scores[1, place]),
            live=Outcome(live).name.lower(),
            replayed=Outcome(replayed).name.lower(),
        )
