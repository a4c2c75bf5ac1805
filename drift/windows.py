"""Sort samples into panes of event time, and say which windows are complete and what they hold."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from drift.sketch import NO_LIMIT, Sketch, merge
from drift.tally import Counts
from drift.watermark import Watermark
from schemas.errors import ConfigurationError, InvalidRecordError

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@dataclass(frozen=True, slots=True)
class Scale:
    """A kind of window: ``length`` and ``hop`` (from the start of one to that of the next) in ms of event time.

    Of a window ``capacity`` rows are compared at most; with fewer than ``least`` nothing is said of it. ``floor`` is
    the smallest distance between distributions that is worth an alarm: longer windows see smaller ones.
    """

    name: str
    length: int
    hop: int
    capacity: int
    least: int
    floor: float


def scales_of(pane: int, window: int, hop: int) -> tuple[Scale, Scale]:
    """Panes of so many ms, and windows that are made of them; ``pane`` divides ``hop``, and that divides ``window``."""
    return (
        Scale(_name(pane), pane, pane, capacity=5_000, least=500, floor=0.05),
        Scale(_name(window), window, hop, capacity=20_000, least=500, floor=0.03),
    )


def _name(length: int) -> str:
    return f"{length // HOUR}h" if length % HOUR == 0 else f"{length // MINUTE}m"


SCALES = PANE, TODAY = scales_of(10 * MINUTE, DAY, HOUR)


@dataclass(frozen=True, slots=True, order=True)
class Watched:
    """What is watched for itself, so that a canary which grows is not taken for drift."""

    name: str
    version: str
    variant: str


@dataclass(frozen=True, slots=True)
class Minute:
    """What a batch counted of one minute of event time, which begins at ``start`` (ms)."""

    start: int
    counts: Counts


@dataclass(frozen=True, slots=True)
class Sample:
    """What one variant saw in one batch.

    ``sampled_at`` (ms) is the clock of the worker, ``schemas`` name the schemas it was read with. Of the n sampled
    events, all those with a hash below ``limit``: ``hashes`` and ``units`` (n,) uint64 of the event and of its card,
    ``event_times`` (n,) int64 (ms), ``rows`` (n, k) float32 in the order of ``features``, ``scores`` (n,) float32.
    ``minutes`` count all events, sampled or not, that no other sample counted.
    """

    watched: Watched
    sampled_at: int
    schemas: tuple[str, ...]
    features: tuple[str, ...]
    hashes: NDArray[np.uint64]
    units: NDArray[np.uint64]
    event_times: NDArray[np.int64]
    rows: NDArray[np.float32]
    scores: NDArray[np.float32]
    minutes: tuple[Minute, ...]
    limit: np.uint64 = NO_LIMIT


@dataclass(frozen=True, slots=True)
class Window:
    """A complete window, ``start`` included and ``end`` not (ms): ``sketch`` holds the features, the score last.

    ``volume`` is of all events, of every model and variant, and dead letters too; None where that is not known.
    """

    watched: Watched
    scale: Scale
    start: int
    end: int
    features: tuple[str, ...]
    sketch: Sketch
    counts: Counts
    schemas: tuple[str, ...]
    volume: int | None = None


@dataclass(slots=True)
class Untimely:
    """Sampled events that did not come in their time, by what became of them.

    ``revising`` ones changed windows that were complete already, ``late`` ones came after these were settled, and
    ``future`` ones claim a time that had not come when they were scored; the last two are in no window.
    """

    revising: int = 0
    late: int = 0
    future: int = 0


@dataclass(frozen=True, slots=True)
class Timing:
    """How long is waited for what is late, all in ms.

    See ``Watermark`` for ``disorder``, ``idle_after`` and ``silent_after``. For another ``lateness`` a window that was
    told is told again when something comes. An event time more than ``lead`` ahead of the clock of its worker is not
    believed.
    """

    disorder: int = MINUTE
    idle_after: int = MINUTE
    silent_after: int = HOUR
    lateness: int = HOUR
    lead: int = MINUTE


@dataclass(slots=True)
class _Pane:
    features: tuple[str, ...]
    sketch: Sketch
    counts: Counts = field(default_factory=Counts)
    schemas: set[str] = field(default_factory=set)


class Windows:
    """The panes of which the open windows of each model and variant are made.

    Windows that begin before ``since`` (ms of event time) are not told: what they hold was read in part only.
    """

    def __init__(self, scales: Sequence[Scale] = SCALES, timing: Timing | None = None, since: int = 0) -> None:
        self.scales = tuple(scales)
        self.timing = timing or Timing()
        self.since = since
        self.untimely = Untimely()
        self.watermark = Watermark(self.timing.disorder, self.timing.idle_after, self.timing.silent_after)
        self._step = min(scale.hop for scale in scales)
        if any(scale.hop % self._step or scale.length % self._step for scale in scales):
            raise ConfigurationError("the lengths and hops of windows must be multiples of the shortest hop")
        self._capacity = min(scale.capacity for scale in scales)
        self._panes: dict[tuple[int, Watched], _Pane] = {}
        self._volumes: dict[int, int] = {}
        self._fresh: set[tuple[int, Watched]] = set()
        self._recounted: set[int] = set()
        self._untold: set[tuple[int, int, Watched]] = set()

    @property
    def watched(self) -> set[Watched]:
        """What the open windows are about."""
        return {watched for _, watched in self._panes}

    def add(self, sample: Sample, now: int) -> None:
        """Take in a sample. Raises InvalidRecordError where it contradicts itself.

        How far the partitions have come is for the caller to tell the watermark: a batch has records of several.
        """
        _check(sample)
        newest = sample.sampled_at + self.timing.lead
        believed = sample.event_times <= newest
        minutes = [minute for minute in sample.minutes if minute.start <= newest]
        self.untimely.future += int(np.count_nonzero(~believed))
        reached = self.watermark.at(now)
        self._add_rows(sample, believed, reached)
        self._add_counts(sample, minutes, reached)

    def due(self, now: int) -> Iterator[Window]:
        """The complete windows that were not told yet, or have changed since; oldest first, made one at a time."""
        reached = self.watermark.at(now)
        if reached is None:
            return
        self._fresh.clear()
        self._recounted.clear()
        for key in sorted(key for key in self._untold if key[0] <= reached):
            if (window := self._window(*key)) is not None:
                yield window
            self._untold.remove(key)
        self._settle(reached)

    def rebuild_from(self, now: int) -> int:
        """The ``since`` of a successor: the event time (ms) from which it must read to tell what may still change."""
        reached = self.watermark.at(now)
        return self.since if reached is None else max(self.since, self._oldest(reached))

    def settled_until(self, now: int) -> int:
        """Event times (ms) before this are over: what still comes of them is late, and in no window."""
        reached = self.watermark.at(now)
        return 0 if reached is None else (reached - self.timing.lateness) // self._step * self._step

    def _add_rows(self, sample: Sample, believed: NDArray[np.bool_], reached: int | None) -> None:
        rows = np.concatenate([sample.rows, sample.scores[:, None]], axis=1)
        starts = sample.event_times // self._step * self._step
        for start in np.unique(starts[believed]).tolist():
            here = believed & (starts == start)
            if self._is_settled(start, reached):
                self.untimely.late += int(np.count_nonzero(here))
                continue
            if reached is not None and start + self._step <= reached:
                self.untimely.revising += int(np.count_nonzero(here))
            self._pane(start, sample).sketch.add(sample.hashes[here], sample.units[here], rows[here])

    def _add_counts(self, sample: Sample, minutes: Sequence[Minute], reached: int | None) -> None:
        by_pane: dict[int, Counts] = {}
        for minute in minutes:
            start = minute.start // self._step * self._step
            by_pane[start] = by_pane.get(start, Counts()) + minute.counts
        for start, counts in by_pane.items():
            if not self._is_settled(start, reached):
                self._pane(start, sample).counts += counts
                self._count(start, counts.scored + counts.dead_lettered)

    def _count(self, start: int, events: int) -> None:
        """The volume of a pane changes the windows of every model and variant."""
        self._volumes[start] = self._volumes.get(start, 0) + events
        if start not in self._recounted:
            self._recounted.add(start)
            for watched in self.watched:
                self._untold.update(self._windows_with(start, watched))

    def _pane(self, start: int, sample: Sample) -> _Pane:
        """The pane that is about to be changed."""
        key = start, sample.watched
        if key not in self._panes:
            self._panes[key] = _Pane(sample.features, Sketch(self._capacity, len(sample.features) + 1))
        pane = self._panes[key]
        if pane.features != sample.features:
            raise InvalidRecordError(f"a sample of {sample.watched} has other features than those before it")
        pane.schemas.update(sample.schemas)
        pane.sketch.lower(sample.limit)
        if key not in self._fresh:
            self._fresh.add(key)
            self._untold.update(self._windows_with(start, sample.watched))
        return pane

    def _windows_with(self, pane: int, watched: Watched) -> Iterator[tuple[int, int, Watched]]:
        """(end, number of the scale, watched) of the windows that the pane is part of."""
        for number, scale in enumerate(self.scales):
            last = pane // scale.hop * scale.hop
            for start in range(last, pane - scale.length, -scale.hop):
                if start >= self.since:
                    yield start + scale.length, number, watched

    def _window(self, end: int, number: int, watched: Watched) -> Window | None:
        """The window, or None where nothing was seen of the model and variant in it."""
        scale = self.scales[number]
        starts = range(end - scale.length, end, self._step)
        panes = [self._panes[start, watched] for start in starts if (start, watched) in self._panes]
        if not panes:
            return None
        return Window(
            watched,
            scale,
            end - scale.length,
            end,
            panes[0].features,
            merge([pane.sketch for pane in panes], scale.capacity),
            sum((pane.counts for pane in panes), Counts()),
            tuple(sorted(set[str]().union(*(pane.schemas for pane in panes)))),
            sum(self._volumes.get(start, 0) for start in starts),
        )

    def _settle(self, reached: int) -> None:
        """Forget what no window needs any more."""
        oldest = self._oldest(reached)
        self._panes = {key: pane for key, pane in self._panes.items() if key[0] >= oldest}
        self._volumes = {start: volume for start, volume in self._volumes.items() if start >= oldest}

    def _is_settled(self, pane: int, reached: int | None) -> bool:
        return reached is not None and pane + self._step + self.timing.lateness <= reached

    def _oldest(self, reached: int) -> int:
        """Where the oldest window begins that can still change."""
        longest = max(scale.length for scale in self.scales)
        return (reached - self.timing.lateness) // self._step * self._step - longest


def _check(sample: Sample) -> None:
    n = len(sample.hashes)
    if sample.rows.shape != (n, len(sample.features)) or {n} != {
        len(column) for column in (sample.units, sample.event_times, sample.scores)
    }:
        raise InvalidRecordError(f"a sample of {sample.watched} has columns of different lengths")
