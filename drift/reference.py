"""Make a baseline of a reference period: a sample of its rows, and how far its own windows were from it."""

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from drift.baseline import Baseline, Nature, Profile
from drift.clusters import rows_per_card
from drift.columns import Observed, observe
from drift.effect import between
from drift.hypotheses import outside_of
from drift.own_windows import own_windows, plan
from drift.period import Period, uniform
from drift.windows import SCALES, Scale
from schemas.errors import ConfigurationError

CAPACITY = 20_000
"""Rows of a baseline: as many as the longest window has, or the smaller of the two would decide what can be seen."""

MOST_DISCRETE = 30
"""Different values up to which a feature is discrete, if each of them comes ``OFTEN`` times on average."""

OFTEN = 20


def build(
    period: Period,
    name: str,
    version: str,
    ranges: Mapping[str, tuple[float, float]],
    categorical: Collection[str] = (),
    scales: Sequence[Scale] = SCALES,
    on_window: Callable[[int, int], None] = lambda _done, _of: None,
) -> Baseline:
    """The baseline of the model ``name`` and ``version``; ``ranges`` are those its manifest believes.

    ``categorical`` names the features whose values are codes. ``on_window`` is told how many own windows of how many
    have been looked at. Raises ConfigurationError where the period holds nothing, or lacks a feature that is named.
    """
    if unknown := set(categorical) - set(period.features):
        raise ConfigurationError(f"categorical: {min(unknown)!r} is no feature of {name}@{version}")
    if not len(period.times):
        raise ConfigurationError(f"{period.source} holds no rows to make a baseline of")
    chosen = uniform(period.hashes, 0, len(period.times), CAPACITY)
    columns = observe(period.rows[chosen])
    profiles = tuple(
        _profile(feature, column, ranges.get(feature), feature in categorical)
        for feature, column in zip(period.features, columns, strict=True)
    )
    alone = Baseline(
        name=name,
        version=version,
        source=period.source,
        first_time=int(period.times[0]),
        last_time=int(period.times[-1]),
        rows=len(period.times),
        rows_per_card=rows_per_card(period.units[chosen]) if period.units is not None else 1.0,
        features=profiles,
        score=_score(period),
        alerts=_alert_rate(period),
        own=(),
        volume=None if period.traffic is None else period.traffic.hours(),
    )
    plans = [plan(period, scale) for scale in scales]
    total, count = sum(len(each.starts) for each in plans), itertools.count(1)
    own = [own_windows(period, alone, each, lambda: on_window(next(count), total)) for each in plans]
    return replace(alone, own=tuple(own))


def _profile(name: str, column: Observed, believed: tuple[float, float] | None, is_categorical: bool) -> Profile:
    different, counts = np.unique(column.values, return_counts=True)
    nature = _nature(len(different), len(column.values), is_categorical)
    is_continuous = nature is Nature.CONTINUOUS
    deciles = _deciles(column.values) if is_continuous else np.empty(0, np.float32)
    return Profile(
        name=name,
        nature=nature,
        rows=column.rows,
        missing=column.missing,
        infinite=column.infinite,
        values=column.values if is_continuous else different,
        counts=between(deciles, column.values) if is_continuous else counts,
        deciles=deciles,
        believed=believed,
        outside=outside_of(column.values, believed) if believed else 0,
    )


def _nature(different: int, values: int, is_categorical: bool) -> Nature:
    if is_categorical:
        return Nature.CATEGORICAL
    if different <= 1:
        return Nature.CONSTANT
    return Nature.DISCRETE if different <= min(MOST_DISCRETE, values / OFTEN) else Nature.CONTINUOUS


def _deciles(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """(9,): the inner ones of the rising ``values``, each a value that came."""
    return values[np.arange(1, 10) * len(values) // 10]


def _score(period: Period) -> Profile | None:
    if period.scores is None:
        return None
    scored = np.flatnonzero(np.isfinite(period.scores))
    if not len(scored):
        return None
    chosen = scored[uniform(period.hashes[scored], 0, len(scored), CAPACITY)]
    (column,) = observe(period.scores[chosen, None])
    return _profile("score", column, None, is_categorical=False)


def _alert_rate(period: Period) -> tuple[int, int] | None:
    if period.alerts is None or not period.alerts.scored.sum():
        return None
    return int(period.alerts.alerts.sum()), int(period.alerts.scored.sum())
