"""Judge from samples of one process whether its memory, threads and open files grow."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import theilslopes

MINUTE = 60.0
HOUR = 3600.0
LEAST_SECONDS = 600.0
"""Of so much of a life there must be samples after its warm-up: a slope over less is mostly noise."""
MEMORY_BAR = 1.0
"""MB an hour."""

Level = Callable[[NDArray[np.float64]], np.float64]
"""What stands for all values of a stretch."""


@dataclass(frozen=True, slots=True)
class Life:
    """One process from its first sample to its last; every array of shape (n,), float64.

    ``at`` in seconds since the run began, ``memory`` (resident) in MB; ``threads`` and ``files`` (open) are counts.
    """

    name: str
    at: NDArray[np.float64]
    memory: NDArray[np.float64]
    threads: NDArray[np.float64]
    files: NDArray[np.float64]

    def after(self, seconds: float) -> "Life":
        """The samples that were taken when it was older than this."""
        late = self.at >= self.at[0] + seconds
        return Life(self.name, self.at[late], self.memory[late], self.threads[late], self.files[late])

    @property
    def seconds(self) -> float:
        """From the first sample to the last."""
        return float(self.at[-1] - self.at[0]) if len(self.at) else 0.0


@dataclass(frozen=True, slots=True)
class Trend:
    """How a figure of a life moves from minute to minute: its first level, its last, and its slope an hour.

    The level of a minute is its median, and for memory its least: that is seen just after the allocator gave back what
    nobody uses. A leak raises the least as well; what lies free until the next time does not. The slope is that of
    Theil and Sen (the median of the slopes between all pairs of minutes), which neither a moment nor a quarter of all
    minutes can move; ``low`` to ``high`` is its interval of 95 %.
    """

    first: float
    last: float
    per_hour: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is said of a life. ``hours`` were looked at after the warm-up; without a trend it was too short for one."""

    name: str
    lived_hours: float
    hours: float
    most_memory: float
    memory: Trend | None = None
    threads: Trend | None = None
    files: Trend | None = None

    @property
    def judged(self) -> bool:
        """Whether it lived long enough."""
        return self.memory is not None

    @property
    def complaints(self) -> tuple[str, ...]:
        """What grows."""
        return tuple(self._complaints())

    def _complaints(self) -> Iterator[str]:
        if self.memory is not None and self.memory.per_hour >= MEMORY_BAR:
            yield f"the memory of {self.name} grows by {self.memory.per_hour:.2f} MB an hour"
        for what, trend in (("threads", self.threads), ("open files", self.files)):
            # A leak leaves one behind now and then; what comes and goes has no slope, however often it does.
            if trend is not None and trend.per_hour * self.hours >= 1:
                yield f"the {what} of {self.name} grow by {trend.per_hour:.1f} an hour"


def judge(life: Life, warm_seconds: float) -> Verdict:
    """How the life went after its warm-up."""
    warm = life.after(warm_seconds)
    lived, most = life.seconds / HOUR, float(life.memory.max())
    if warm.seconds < LEAST_SECONDS:
        return Verdict(life.name, lived, 0.0, most)
    memory = _trend(warm.at, warm.memory, np.min)
    threads, files = (_trend(warm.at, counts, np.median) for counts in (warm.threads, warm.files))
    return Verdict(life.name, lived, warm.seconds / HOUR, most, memory, threads, files)


def levels(
    at: NDArray[np.float64],
    values: NDArray[np.float64],
    level: Level,
    seconds: float = MINUTE,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The median time and the level, (m,) each, of each stretch of so many seconds that has any; ``at`` grows."""
    starts = np.flatnonzero(np.diff(at // seconds, prepend=-1.0))
    parts = [slice(first, last) for first, last in zip(starts, [*starts[1:], len(at)], strict=True)]
    return np.array([np.median(at[part]) for part in parts]), np.array([level(values[part]) for part in parts])


def _trend(at: NDArray[np.float64], values: NDArray[np.float64], level: Level) -> Trend:
    minutes, found = levels(at, values, level)
    slope = theilslopes(found, minutes / HOUR)
    return Trend(float(found[0]), float(found[-1]), float(slope[0]), float(slope[2]), float(slope[3]))
