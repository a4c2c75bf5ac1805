"""Take what was sampled from a stretch of live traffic as the reference period of a model."""

import numpy as np

from drift.period import Alerts, Period
from drift.sketch import Sketch
from drift.tally import Counts
from drift.volume import Traffic
from drift.windows import MINUTE, Sample
from schemas.errors import ConfigurationError, InvalidRecordError

CAPACITY = 400_000
"""Rows to make own windows of: 50 MB at 30 features. Of more, a uniform sample."""


class SampledPeriod:
    """The samples of one version of a model with event times from ``start`` until before ``end`` (ms), each once.

    Its traffic is that of all models: another one may take over some of it.
    """

    def __init__(self, source: str, name: str, version: str, start: int, end: int) -> None:
        self.source = source
        self.model = name, version
        self.start = start
        self.end = end
        self._features: tuple[str, ...] = ()
        self._sketch: Sketch | None = None
        self._counts: dict[int, Counts] = {}
        self._events: dict[int, int] = {}

    def add(self, sample: Sample) -> None:
        """Take in a sample; of another model it is counted only, of another time not even that.

        Raises InvalidRecordError where it has other features than those before it.
        """
        minutes = [minute for minute in sample.minutes if self.start <= minute.start < self.end]
        for minute in minutes:
            events = minute.counts.scored + minute.counts.dead_lettered
            self._events[minute.start] = self._events.get(minute.start, 0) + events
        if (sample.watched.name, sample.watched.version) != self.model:
            return
        if self._sketch is None:
            self._features = sample.features
            self._sketch = Sketch(CAPACITY, len(sample.features) + 2)
        if sample.features != self._features:
            raise InvalidRecordError(f"a sample of {sample.watched} has other features than those before it")
        here = (sample.event_times >= self.start) & (sample.event_times < self.end)
        # Seconds from the start on are exact to a sixteenth in float32 for a fortnight.
        seconds = ((sample.event_times - self.start) / 1000).astype(np.float32)
        rows = np.concatenate([seconds[:, None], sample.scores[:, None], sample.rows], axis=1)
        self._sketch.add(sample.hashes[here], sample.units[here], rows[here])
        self._sketch.lower(sample.limit)
        for minute in minutes:
            self._counts[minute.start] = self._counts.get(minute.start, Counts()) + minute.counts

    def period(self) -> Period:
        """What was seen. Raises ConfigurationError where that is nothing."""
        if self._sketch is None or not len(self._sketch):
            raise ConfigurationError(f"{self.source} holds no samples of {'@'.join(self.model)} in that period")
        order = np.argsort(self._sketch.rows[:, 0], kind="stable")
        rows = self._sketch.rows[order]
        return Period(
            source=self.source,
            features=self._features,
            times=self.start + np.rint(rows[:, 0].astype(np.float64) * 1000).astype(np.int64),
            hashes=self._sketch.hashes[order],
            units=self._sketch.units[order],
            rows=np.ascontiguousarray(rows[:, 2:]),
            scores=rows[:, 1].copy(),
            alerts=self._alerts(),
            traffic=self._traffic(),
        )

    def _traffic(self) -> Traffic | None:
        if not self._events:
            return None
        first, last = min(self._events), max(self._events)
        events = np.zeros((last - first) // MINUTE + 1, np.int64)
        for start, count in self._events.items():
            events[(start - first) // MINUTE] = count
        return Traffic(first, events)

    def _alerts(self) -> Alerts:
        minutes = sorted(self._counts)
        scored, alerts = ([getattr(self._counts[at], name) for at in minutes] for name in ("scored", "alerts"))
        return Alerts(*(np.array(column, np.int64) for column in (minutes, scored, alerts)))
