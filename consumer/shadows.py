"""Let shadow models score what the stream decides: they may be late or fail, and never change a decision."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as LateError
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from models.scorer import Scorer
from schemas.columns import Columns
from schemas.errors import FraudstreamError

log = structlog.get_logger()

Scores = Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Shadow:
    """A model that scores beside the variants, and the name under which decisions bear its score."""

    name: str
    scorer: Scorer


class ShadowRunner:
    """Scores on a thread of its own while the batch is decided, and waits for it no longer than the budget.

    A batch for which the thread is still busy, or that it does not finish in time, goes out without shadow scores.
    ``observe(name, outcome)`` is told what became of each shadow in each batch: ``scored``, ``late`` or ``failed``.
    """

    def __init__(self, budget_seconds: float, observe: Callable[[str, str], None]) -> None:
        self._budget = budget_seconds
        self._observe = observe
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="shadow")
        self._running: Future[Scores] | None = None
        self._complained: set[str] = set()

    def begin(self, shadows: Sequence[Shadow], columns: Columns) -> "Pending":
        """Start to score all n rows of a batch."""
        if not shadows:
            return Pending(self, (), None)
        if self._running is not None and not self._running.done():
            return Pending(self, shadows, None)
        self._running = self._pool.submit(self._score, shadows, columns)
        return Pending(self, shadows, self._running)

    def _score(self, shadows: Sequence[Shadow], columns: Columns) -> Scores:
        scores = {}
        for shadow in shadows:
            try:
                scores[shadow.name] = shadow.scorer.score(_finite(columns.matrix(shadow.scorer.features)))
            except Exception as error:  # noqa: BLE001 - whatever goes wrong with a shadow is no business of the stream
                self._complain(shadow.name, error)
        return scores

    def _complain(self, name: str, error: Exception) -> None:
        """Once for each shadow: a metric counts the rest. Only our own errors are known to hold no values."""
        if name not in self._complained:
            self._complained.add(name)
            reason = str(error) if isinstance(error, FraudstreamError) else type(error).__name__
            log.warning("shadow_failed", shadow=name, reason=reason)

    def wait_for(self, shadows: Sequence[Shadow], running: "Future[Scores] | None") -> Scores:
        """The scores of those that are done in time, each (n,)."""
        try:
            scores = {} if running is None else running.result(self._budget)
        except LateError:
            running, scores = None, {}
        for shadow in shadows:
            done = "scored" if shadow.name in scores else "failed"
            self._observe(shadow.name, done if running is not None else "late")
        return scores

    def close(self) -> None:
        """Wait for nothing."""
        self._pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class Pending:
    """Shadow scores of a batch that are being made."""

    runner: ShadowRunner
    shadows: Sequence[Shadow]
    running: Future[Scores] | None

    def take(self, rows: NDArray[np.int64]) -> Scores:
        """For each shadow that was in time the scores of these rows, (m,) of the row numbers ``rows`` (m,)."""
        return {name: scores[rows] for name, scores in self.runner.wait_for(self.shadows, self.running).items()}


def _finite(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """No model is shown an infinity; the rows that hold one are rejected and their scores dropped."""
    features[np.isinf(features)] = np.nan
    return features
