"""Say what a model expects to see: the reference period, as the tests need it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from drift.report import Kind
from drift.volume import Hours
from drift.windows import DAY, Scale

WEEK = 7 * DAY
"""What a baseline should cover (ms), or every Sunday is drift."""


class Nature(Enum):
    """What kind of values a feature has, which decides how two samples of it are compared."""

    CONTINUOUS = "continuous"
    DISCRETE = "discrete"
    CATEGORICAL = "categorical"
    CONSTANT = "constant"


@dataclass(frozen=True, slots=True)
class Profile:
    """One feature, or the score, in the reference period: ``rows`` of which some were ``missing`` or ``infinite``.

    ``values`` (m,) float32 rise. Where continuous they are all finite ones, and ``counts`` (10,) int64 say how many lie
    up to each of the inner ``deciles`` (9,) float32 and beyond; else the different ones, with ``counts`` (m,) of each
    and no deciles. ``outside`` of them are beyond the range (least, greatest) that the manifest believes, if it does.
    """

    name: str
    nature: Nature
    rows: int
    missing: int
    infinite: int
    values: NDArray[np.float32]
    counts: NDArray[np.int64]
    deciles: NDArray[np.float32]
    believed: tuple[float, float] | None = None
    outside: int = 0

    @property
    def finite(self) -> int:
        """Rows with a value that is neither missing nor infinite."""
        return self.rows - self.missing - self.infinite


@dataclass(frozen=True, slots=True)
class OwnWindows:
    """How far the reference period's own windows at one scale were from the rest of it.

    ``count`` windows of ``length`` ms: longer than those of the scale where these held too few rows. ``largest`` is by
    subject and kind, without what chance does in windows of that size; what is not there was never off.
    """

    scale: str
    length: int
    count: int
    largest: Mapping[tuple[str, Kind], float]

    def of(self, subject: str, kind: Kind) -> float:
        """The largest difference of the own windows in this respect, beyond chance."""
        return self.largest.get((subject, kind), 0.0)


@dataclass(frozen=True, slots=True)
class Baseline:
    """What ``model`` (name and version) expects.

    ``source`` is where the rows came from, for people; ``first_time`` and ``last_time`` (ms) are their
    period. ``rows_per_card`` is the mean number of rows that share a card, as a row sees it (1 where cards
    are unknown). ``score`` and ``alerts`` (rows scored, and those of them beyond the policy) are of rows that the model
    did not learn from; None without scores. ``volume`` is the usual day of the stream; None where the rows are of a
    file, which may hold any part of the traffic. ``sha256`` is that of the file, empty before there is one.
    """

    name: str
    version: str
    source: str
    first_time: int
    last_time: int
    rows: int
    rows_per_card: float
    features: tuple[Profile, ...]
    score: Profile | None
    alerts: tuple[int, int] | None
    own: tuple[OwnWindows, ...]
    volume: Hours | None = None
    sha256: str = ""

    def own_windows(self, scale: Scale) -> OwnWindows:
        """What is known of the own windows at this scale; nothing, where the period held too few rows.

        Of a scale that it was not made for: what it knows of the next shorter windows, which differ more, or of the
        shortest.
        """
        for own in self.own:
            if own.scale == scale.name:
                return own
        known = sorted((own for own in self.own if own.count), key=lambda own: own.length)
        shorter = [own for own in known if own.length <= scale.length]
        return next(iter([*shorter[-1:], *known]), OwnWindows(scale.name, 0, 0, {}))

    def doubts_at(self, scales: Iterable[Scale]) -> tuple[str, ...]:
        """``doubts``, and that it was not made for windows of one of these scales."""
        known = [own.scale for own in self.own]
        return self.doubts + tuple(
            f"the baseline was made for windows of {' and '.join(known) or 'no length'}, not of {scale.name}: "
            "what is usual in these is taken from the next shorter ones"
            for scale in scales
            if scale.name not in known
        )

    @property
    def doubts(self) -> tuple[str, ...]:
        """Why alarms against this baseline may be false, each a sentence for a person."""
        covered = self.last_time - self.first_time
        doubts = []
        if covered < WEEK:
            doubts.append(
                f"the baseline covers {covered / DAY:.1f} days, less than one weekly cycle: "
                "what happens on other days of the week will look like drift"
            )
        doubts += [
            f"the reference period holds too few whole windows of {own.scale} to know what is usual in them: "
            "what changes with the hour will look like drift"
            for own in self.own
            if not own.count
        ]
        return tuple(doubts)
