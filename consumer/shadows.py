"""Let shadow models score what the stream decides: they may be late or fail, and never change a decision."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import cache, partial
from queue import SimpleQueue
from threading import Thread

import numpy as np
import structlog
from numpy.typing import NDArray

from consumer.decide import unfit
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
    ``failed``.
    """

    def __init__(self, shadows: Sequence[Shadow], budget_seconds: float, observe: Callable[[str, str], None]) -> None:
        self._budget = budget_seconds
        self._observe = observe
        self._lanes = [_Lane(shadow) for shadow in shadows]
        self._complained: set[str] = set()

    def begin(self, columns: Columns, payloads: Payloads) -> dict[str, "Future[Scores] | None"]:
        """Start to score all n rows of a batch, decoded from ``payloads``; None for a shadow that is busy."""
        return {lane.name: lane.begin(_Job(columns, payloads)) for lane in self._lanes}

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

    def close(self) -> None:
        """Let the threads end, and wait for none."""
        for lane in self._lanes:
            lane.close()


@dataclass(frozen=True, slots=True)
class _Job:
    """A batch to score."""

    columns: Columns
    payloads: Payloads


class _Lane:
    """A shadow on a thread of its own, so that none waits for another.

    The thread is a daemon: a shadow that hangs holds up neither a batch nor the end of the process.
    """

    def __init__(self, shadow: Shadow) -> None:
        self.name = shadow.name
        self._jobs: SimpleQueue[tuple[_Job, Future[Scores]] | None] = SimpleQueue()
        self._last: Future[Scores] | None = None
        Thread(target=_work, args=(shadow, self._jobs), name=f"shadow {shadow.name}", daemon=True).start()

    def begin(self, job: _Job) -> "Future[Scores] | None":
        """The scores to come, None while the shadow is busy."""
        if self._last is not None and not self._last.done():
            return None
        self._last = Future()
        self._jobs.put((job, self._last))
        return self._last

    def close(self) -> None:
        """End the thread when it has nothing to do."""
        self._jobs.put(None)


def _work(shadow: Shadow, jobs: "SimpleQueue[tuple[_Job, Future[Scores]] | None]") -> None:
    read = _reading(shadow)
    while _answer(shadow, read, jobs.get()):
        pass


def _reading(shadow: Shadow) -> Callable[[_Job], Columns]:
    """What gives the columns of a batch. A reader of its own is made when it is needed, and again if that failed."""
    if shadow.reader_of is None:
        return lambda job: job.columns
    reader = cache(partial(shadow.reader_of, shadow.scorer.features))
    return lambda job: reader().read(job.payloads)


def _answer(shadow: Shadow, read: Callable[[_Job], Columns], given: "tuple[_Job, Future[Scores]] | None") -> bool:
    if given is None:
        return False
    job, future = given
    try:
        future.set_result(_score(shadow, read(job)))
    except Exception as error:  # noqa: BLE001 - whatever goes wrong with a shadow is no business of the stream
        future.set_exception(error)
    return True


def _score(shadow: Shadow, columns: Columns) -> Scores:
    """(n,) scores, NaN for rows that its model may not be shown: an arm with the same features would reject them."""
    features = columns.matrix(shadow.scorer.features)
    refused = list(unfit(columns, features, np.arange(len(features)), shadow.scorer.features, shadow.required))
    refused += np.flatnonzero(columns.reason != Reason.OK).tolist()
    features[refused] = np.nan
    scores = np.array(shadow.scorer.score(features), np.float64)
    if scores.shape != (len(features),):
        raise ValueError("a score for each row was expected")
    scores[refused] = np.nan
    scores[~np.isfinite(scores)] = np.nan
    return scores
