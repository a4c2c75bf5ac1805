"""Decide when a difference is an alarm: by a budget of false alarms, never by p < 0.05."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from drift.windows import DAY, Scale

SEASONAL = 1.25
"""How much farther than the reference period's own windows ever were from it a window must be."""

SURE = 0.005
"""The probability that chance gives any of the own windows a larger difference than is taken for its work."""

CRITICAL = 2.0
"""From how many times the threshold on an alarm is critical."""


class Severity(Enum):
    """What a test says, from the best on; the value is the Avro symbol."""

    INSUFFICIENT = "insufficient"
    OK = "ok"
    WARN = "warn"
    CRITICAL = "critical"

    @property
    def is_alarm(self) -> bool:
        """Whether somebody should look."""
        return self in (Severity.WARN, Severity.CRITICAL)

    @property
    def lowered(self) -> "Severity":
        """One step down; an alarm becomes none at last."""
        return Severity.WARN if self is Severity.CRITICAL else Severity.OK


def worst(severities: Iterable[Severity]) -> Severity:
    """The last of them in the order of ``Severity``; that of nothing at all is insufficient."""
    order = list(Severity)
    return max(severities, key=order.index, default=Severity.INSUFFICIENT)


@dataclass(frozen=True, slots=True)
class Budget:
    """How many false alarms are allowed in how long (ms) of each variant of a model, where nothing drifts at all."""

    alarms: float = 1.0
    horizon: int = 90 * DAY

    def alpha(self, scales: Sequence[Scale], hypotheses: int) -> float:
        """The probability of a false alarm that each test may have.

        The expected number of false alarms is a sum over all tests of the horizon, and a sum holds however dependent
        they are: windows overlap, features correlate, and one baseline stands behind all of them.
        """
        windows = sum(self.horizon // scale.hop for scale in scales)
        return self.alarms / (windows * hypotheses)


def threshold(critical: float, floor: float, own: float) -> float:
    """The size of a difference beyond which it is an alarm.

    ``critical`` is what chance alone exceeds with probability alpha, ``floor`` what is worth knowing at all, and
    ``own`` the largest difference of the reference period's own windows: what a usual day does.
    """
    return max(critical, floor, SEASONAL * own)


def beyond(difference: float, noise: float) -> float:
    """What is left of the largest difference of some windows without the part that chance has in it.

    ``noise`` is the largest that chance gives in such windows. Independent parts add up by their squares.
    """
    return float(np.sqrt(max(0.0, difference**2 - noise**2)))


def with_chance(difference: float, noise: float) -> float:
    """The largest difference again, for windows of another size, in which chance gives ``noise``."""
    return float(np.hypot(difference, noise))


def severity(statistic: float, threshold: float, grave: float) -> Severity:
    """How bad a difference of this size is. Below ``grave`` none is critical, however sure."""
    if statistic <= threshold:
        return Severity.OK
    return Severity.CRITICAL if statistic >= max(CRITICAL * threshold, grave) else Severity.WARN


def holm(p_values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The (n,) p-values of one window, adjusted so that all of them together err with the probability each states.

    Holm's step-down method (1979), which holds for dependent tests.
    """
    order = np.argsort(p_values, kind="stable")
    steps = p_values[order] * np.arange(len(order), 0, -1)
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted
