"""Let shadow models score what the stream decides: they may be late or fail, and never change a decision."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import structlog
from numpy.typing import NDArray

from consumer.decide import unfit
from models.lanes import Lanes
from models.scorer import Scorer
from schemas.columns import Columns, Reason
from schemas.errors import FraudstreamError
from schemas.framing import RecordReader

log = structlog.get_logger()

Scores = NDArray[np.float64]
Payloads = Sequence[bytes | None]


@dataclass(frozen=True, slots=True)
class Shadow:
    """A model that scores beside the variants, and the name under which decisions bear its score.

    By position of the feature, ``required`` marks those that may not be missing. Where it needs more than the variants
    do, ``reader_of`` makes it a reader of its features: what is wrong with a field that a shadow alone needs is wrong
    with no transaction.
    """

    name: str
    scorer: Scorer
    required: NDArray[np.bool_]
    reader_of: Callable[[Sequence[str]], RecordReader] | None = None


class ShadowRunner:
    """Lets each shadow score while the batch is decided, and waits for all of them no longer than the budget.

    A batch for which a shadow is still busy with an earlier one, or that it does not finish in time, goes out without
    its score. ``observe(name, outcome)`` is told what became of each shadow in each batch: ``scored``, ``late`` or
    ``failed``. The threads end when nobody holds this any more.
    """

    def __init__(self, shadows: Sequence[Shadow], budget_seconds: float, observe: Callable[[str, str], None]) -> None:
        self._budget = budget_seconds
        self._observe = observe
        self._lanes = [_Lane(shadow) for shadow in shadows]
        self._complained: set[str] = set()

    def begin(self, columns: Columns, payloads: Payloads) -> dict[str, "Future[Scores] | None"]:
        """Start to score all n rows of a batch, decoded from ``payloads``; None for a shadow that is busy."""
        return {lane.name: lane.begin(columns, payloads) for lane in self._lanes}

    def take(self, begun: Mapping[str, "Future[Scores] | None"], rows: NDArray[np.int64]) -> dict[str, Scores]:
        """For each shadow in time the scores of the row numbers ``rows`` (m,), (m,); NaN where it may not score."""
        done, _ = wait([future for future in begun.values() if future], self._budget)
        taken = {}
        for name, future in begun.items():
            error = future.exception() if future in done else None
            if future not in done or future is None:
                self._observe(name, "late")
            elif error is not None:
                self._observe(name, "failed")
                self._complain(name, error)
            else:
                self._observe(name, "scored")
                taken[name] = future.result()[rows]
        return taken

    def _complain(self, name: str, error: BaseException) -> None:
        """Once for each shadow: a metric counts the rest. Only our own errors are known to hold no values."""
        if name not in self._complained:
            self._complained.add(name)
            reason = str(error) if isinstance(error, FraudstreamError) else type(error).__name__
            log.warning("shadow_failed", shadow=name, reason=reason)


class _Lane:
    """A shadow on a thread of its own, so that none waits for another; it ends when nobody holds this any more."""

    def __init__(self, shadow: Shadow) -> None:
        self.name = shadow.name
        self._score = partial(_score, shadow, _reading(shadow))
        self._thread: Lanes[Scores] = Lanes(1, f"shadow {shadow.name}")
        self._last: Future[Scores] | None = None

    def begin(self, columns: Columns, payloads: Payloads) -> "Future[Scores] | None":
        """The scores to come, None while the shadow is busy."""
        if self._last is not None and not self._last.done():
            return None
        self._last = self._thread.submit(partial(self._score, columns, payloads))
        return self._last


def _reading(shadow: Shadow) -> Callable[[Columns, Payloads], Columns]:
    """What gives the columns of a batch. A reader of its own is made when it is needed, and again if that failed."""
    if shadow.reader_of is None:
        return lambda columns, _: columns
    reader = cache(partial(shadow.reader_of, shadow.scorer.features))
    return lambda _, payloads: reader().read(payloads)


def _score(
    shadow: Shadow, read: Callable[[Columns, Payloads], Columns], columns: Columns, payloads: Payloads
) -> Scores:
    """(n,) scores, NaN for rows that its model may not be shown: an arm with the same features would reject them."""
    own = read(columns, payloads)
    features = own.matrix(shadow.scorer.features)
    refused = list(unfit(own, features, np.arange(len(features)), shadow.scorer.features, shadow.required))
    refused += np.flatnonzero((columns.reason != Reason.OK) | (own.reason != Reason.OK)).tolist()
    features[refused] = np.nan
    scores = np.array(shadow.scorer.score(features), np.float64)
    if scores.shape != (len(features),):
        raise ValueError("a score for each row was expected")
    scores[refused] = np.nan
    scores[~np.isfinite(scores)] = np.nan
    return scores
