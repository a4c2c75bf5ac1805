"""Decide what is asked of a window: one hypothesis for each way in which a feature, the score or a rate can change."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from drift import categories, effect, ks, shares, volume
from drift.baseline import Baseline, Nature, Profile
from drift.columns import Observed
from drift.report import Kind
from drift.tally import Counts
from drift.volume import Hours, Volume
from drift.windows import MINUTE, Scale

SHARE_FLOOR = 0.01
"""The smallest change of a share of missing, infinite or other odd values that is worth an alarm."""

RATE_FLOOR = 0.25
"""The smallest change of the alert rate that is worth an alarm, as a part of the rate itself."""

DEAD_LETTERS = 0.01
"""The share of dead letters that nobody has to look at."""

VOLUME_FLOOR = float(np.log(2))
"""The smallest change of the volume that is worth an alarm: half as many events as usual, or twice as many."""

GRAVE = 0.1
"""From which change of a distribution or a share on an alarm may be critical: a quarter of a standard deviation."""

Chance = Callable[[float, float], float]
"""The p-value where a row of the baseline and one of the window are worth so many independent rows."""

Critical = Callable[[float, float, float], float]
"""The statistic whose p-value is the first argument, for rows of such worth."""


def _certain(_: float, __: float) -> float:
    return 1.0


def _unknown(_: float, __: float, ___: float) -> float:
    return 0.0


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """That nothing has changed in one respect, and by how much it did; see ``DriftTest`` for fields of the same name.

    ``floor`` is the smallest change worth an alarm; from ``grave`` on it may be a critical one. ``critical`` gives 0
    where it has no closed form: there the p-value alone speaks for chance. With as few values as ``too_few`` nothing
    was compared. ``of_all_events``: not of the sampled rows alone; ``of_few``: also where too few rows were sampled.
    """

    subject: str
    kind: Kind
    statistic: float
    floor: float
    chance: Chance
    critical: Critical = _unknown
    reference: float | None = None
    observed: float | None = None
    psi: float | None = None
    grave: float = GRAVE
    too_few: int | None = None
    of_all_events: bool = False
    of_few: bool = False


def hypotheses(
    baseline: Baseline, columns: Sequence[Observed], counts: Counts, scale: Scale, found: Volume | None = None
) -> Iterator[Hypothesis]:
    """All that is asked of a window of ``counts`` events, whose sample is ``columns``: the features, then the score.

    Without scores there is no such column. ``found`` is the volume of the whole stream, where that is known. The
    hypotheses are as many for every window with the same columns.
    """
    for profile, column in zip(baseline.features, columns, strict=False):
        yield from _of_feature(profile, column, scale)
    if baseline.score is not None and len(columns) > len(baseline.features):
        yield replace(_of_values(baseline.score, columns[-1], scale), kind=Kind.SCORE)
    if baseline.alerts is not None and counts.scored:
        yield _of_alerts(baseline.alerts, (counts.alerts, counts.scored))
    if counts.scored:
        yield _of_dead_letters((counts.dead_lettered, counts.scored + counts.dead_lettered))
    if baseline.volume is not None and found is not None:
        yield of_volume(baseline.volume, found)


def outside_of(values: NDArray[np.float32], believed: tuple[float, float]) -> int:
    """How many of the rising ``values`` are less than the first of ``believed`` or more than the second."""
    within = np.searchsorted(values, believed[1], side="right") - np.searchsorted(values, believed[0], side="left")
    return len(values) - int(within)


def _of_feature(profile: Profile, column: Observed, scale: Scale) -> Iterator[Hypothesis]:
    if len(profile.values):
        yield _of_values(profile, column, scale)
    yield _of_share(profile.name, Kind.MISSING, (profile.missing, profile.rows), (column.missing, column.rows))
    yield _of_share(profile.name, Kind.INFINITE, (profile.infinite, profile.rows), (column.infinite, column.rows))
    if profile.believed is not None:
        found = (outside_of(column.values, profile.believed), len(column.values))
        yield _of_share(profile.name, Kind.RANGE, (profile.outside, profile.finite), found)


def _of_values(profile: Profile, column: Observed, scale: Scale) -> Hypothesis:
    kind = _KINDS[profile.nature]
    if len(column.values) < scale.least:
        return Hypothesis(profile.name, kind, 0.0, 0.0, _certain, too_few=len(column.values))
    if kind is Kind.DISTRIBUTION:
        return _of_distribution(profile, column.values, scale.floor)
    if kind is Kind.CATEGORIES:
        return _of_categories(profile, column.values, scale.floor)
    others = len(column.values) - int(np.count_nonzero(column.values == profile.values[0]))
    return _of_share(profile.name, kind, (0, profile.finite), (others, len(column.values)))


_KINDS = {
    Nature.CONTINUOUS: Kind.DISTRIBUTION,
    Nature.DISCRETE: Kind.CATEGORIES,
    Nature.CATEGORICAL: Kind.CATEGORIES,
    Nature.CONSTANT: Kind.CONSTANT,
}


def _of_distribution(profile: Profile, values: NDArray[np.float32], floor: float) -> Hypothesis:
    known, m, n = profile.values, len(profile.values), len(values)
    distance = ks.distance(known, values)
    return Hypothesis(
        profile.name,
        Kind.DISTRIBUTION,
        distance,
        floor,
        lambda of_baseline, of_window: ks.p_value(distance, m * of_baseline, n * of_window),
        lambda alpha, of_baseline, of_window: ks.critical(alpha, m * of_baseline, n * of_window),
        psi=effect.psi(profile.counts, effect.between(profile.deciles, values)),
    )


def _of_categories(profile: Profile, values: NDArray[np.float32], floor: float) -> Hypothesis:
    known, found = np.append(profile.counts, 0), categories.cells(profile.values, values)
    return Hypothesis(
        profile.name,
        Kind.CATEGORIES,
        categories.total_variation(known, found),
        floor,
        lambda of_baseline, of_window: categories.p_value(known * of_baseline, found * of_window),
        psi=effect.psi(known, found),
    )


def _of_share(subject: str, kind: Kind, known: tuple[int, int], found: tuple[int, int]) -> Hypothesis:
    if not known[1] or not found[1]:
        return Hypothesis(subject, kind, 0.0, SHARE_FLOOR, _certain)
    reference, observed = (hits / rows for hits, rows in (known, found))
    return Hypothesis(
        subject,
        kind,
        abs(observed - reference),
        SHARE_FLOOR,
        lambda of_baseline, of_window: shares.p_value(_worth(known, of_baseline), _worth(found, of_window)),
        lambda alpha, of_baseline, of_window: shares.critical(
            alpha, _worth(known, of_baseline), _worth(found, of_window)
        ),
        reference=reference,
        observed=observed,
    )


def _of_alerts(known: tuple[int, int], found: tuple[int, int]) -> Hypothesis:
    usual = _of_share("alerts", Kind.RATE, known, found)
    return replace(usual, floor=RATE_FLOOR * known[0] / known[1], grave=0.0, of_all_events=True)


def _of_dead_letters(found: tuple[int, int]) -> Hypothesis:
    """Of this rate no baseline knows anything, so it is held against a limit."""
    share = found[0] / found[1]
    return Hypothesis(
        "dead_letters",
        Kind.RATE,
        share,
        DEAD_LETTERS,
        lambda _, of_window: shares.beyond(DEAD_LETTERS, _worth(found, of_window)),
        observed=share,
        grave=0.0,
        of_all_events=True,
    )


def of_volume(usual: Hours, found: Volume) -> Hypothesis:
    """That as many events come as on a usual day at these hours; in the report they are events a minute.

    It is never critical: no training mends it.
    """
    expected, known = volume.expected(usual, found.start, found.end)
    if not known:
        return Hypothesis("volume", Kind.RATE, 0.0, VOLUME_FLOOR, _certain, of_few=True)
    minutes = (found.end - found.start) / MINUTE
    return Hypothesis(
        "volume",
        Kind.RATE,
        volume.difference(found.events, expected),
        VOLUME_FLOOR,
        lambda of_baseline, of_window: volume.p_value(
            found.events * of_window, expected * of_window, known * of_baseline
        ),
        lambda alpha, of_baseline, of_window: volume.critical(alpha, expected * of_window, known * of_baseline),
        reference=expected / minutes,
        observed=found.events / minutes,
        grave=np.inf,
        of_all_events=True,
        of_few=True,
    )


def _worth(share: tuple[int, int], of_row: float) -> tuple[float, float]:
    return share[0] * of_row, share[1] * of_row
