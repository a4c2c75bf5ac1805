"""Judge the windows of what was scored, each by the baseline of the model that scored it."""

from collections.abc import Callable, Collection, Iterator

from drift.baseline import Baseline
from drift.detect import Rule, examine
from drift.intake import Intake
from drift.report import DriftReport
from drift.windows import Timing, Watched, Window, Windows
from schemas.feature_sample import FeatureSample

BaselineOf = Callable[[Watched], Baseline | None]
"""The baseline of a model, or None where there is none."""


class Monitor:
    """What is known of the open windows.

    Times are ms: ``since`` and what is returned are event times, ``now`` is the caller's clock. ``partitions`` are
    those of the input ``topic``: none of them is overtaken, unless nothing comes from it for long.
    """

    def __init__(
        self,
        topic: str,
        partitions: Collection[int],
        baseline_of: BaselineOf,
        rule: Rule,
        timing: Timing,
        since: int,
        now: int,
    ) -> None:
        self.windows = Windows(rule.scales, timing, since)
        self.unjudged: set[Watched] = set()
        self._rule = rule
        self._baseline_of = baseline_of
        self._intake = Intake(topic, timing.lead)
        self._partitions = set(partitions)
        for partition in partitions:
            self.windows.watermark.watch(partition, now)

    def take(self, record: FeatureSample, now: int) -> None:
        """Take in a batch. Raises InvalidRecordError where it is of another topic or contradicts itself."""
        taken = self._intake.take(record)
        for sample in taken.samples:
            self.windows.add(sample, now)
        self.windows.watermark.written(record.sampled_at)
        for partition, event_time in taken.reached.items():
            self.windows.watermark.saw(partition, event_time, now)
        self._partitions.update(taken.reached)

    def caught_up(self) -> None:
        """All that there is to read has been read."""
        for partition in self._partitions:
            self.windows.watermark.ended(partition)

    def due(self, now: int) -> Iterator[DriftReport]:
        """The reports about windows that are complete, or have changed since they were told; oldest first."""
        for window in self.windows.due(now):
            baseline = self._baseline_of(window.watched)
            if baseline is None or not _fits(window, baseline):
                self.unjudged.add(window.watched)
            else:
                self.unjudged.discard(window.watched)
                yield examine(window, baseline, self._rule)
        self.unjudged &= self.windows.watched
        self._intake.coverage.forget(self.windows.settled_until(now))

    def rebuild_from(self, now: int) -> int:
        """The ``since`` of a successor: from this event time on it must read to tell all that may still change."""
        return self.windows.rebuild_from(now)


def _fits(window: Window, baseline: Baseline) -> bool:
    return window.features == tuple(profile.name for profile in baseline.features)
