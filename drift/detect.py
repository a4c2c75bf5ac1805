"""Find what has drifted in a window: ask every hypothesis, and grant each the same part of the false-alarm budget."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import Enum

import numpy as np

from drift import categories, effect
from drift.alarm import SURE, Budget, Severity, holm, severity, threshold, with_chance, worst
from drift.baseline import Baseline, Nature, OwnWindows, Profile
from drift.clusters import among_all, rows_per_card
from drift.columns import Observed, observe
from drift.hypotheses import Hypothesis, hypotheses
from drift.report import DriftReport, DriftTest, Kind
from drift.volume import Volume
from drift.windows import SCALES, Scale, Window
from schemas.errors import ConfigurationError


class Unit(Enum):
    """What is taken to be independent of everything else of its kind."""

    EVENT = "event"
    CARD = "card"


@dataclass(frozen=True, slots=True)
class Rule:
    """What an alarm is.

    The ``budget`` is shared by the tests of all ``scales``. With the unit ``event`` an alarm that would be none if only
    cards were independent is taken one step down, and says so; with ``card`` it is not raised.
    """

    budget: Budget = field(default_factory=Budget)
    unit: Unit = Unit.EVENT
    scales: tuple[Scale, ...] = SCALES


@dataclass(frozen=True, slots=True)
class _Worth:
    """How many independent rows a row of each is worth, 1 at most."""

    of_baseline: float
    of_window: float
    of_event: float
    """Of any event of the window, sampled or not."""


_INDEPENDENT = _Worth(1.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class _Verdict:
    threshold: float
    p_value: float
    severity: Severity
    reason: str | None = None


def examine(window: Window, baseline: Baseline, rule: Rule) -> DriftReport:
    """The report about a window, which has the features of ``baseline`` in its order, and then the score or nothing.

    It depends on nothing else, so it is the same for the same events. Raises ConfigurationError for a baseline of other
    features.
    """
    if window.features != tuple(profile.name for profile in baseline.features):
        raise ConfigurationError(
            f"the baseline of {baseline.name}@{baseline.version} has other features than what was sampled"
        )
    rows = len(window.sketch)
    columns = observe(window.sketch.rows)
    volume = None if window.volume is None else Volume(window.volume, window.start, window.end)
    asked = list(hypotheses(baseline, columns, window.counts, window.scale, volume))
    alpha = rule.budget.alpha(rule.scales, len(asked))
    per_card = rows_per_card(window.sketch.units)
    is_enough = rows >= window.scale.least
    asked = [each for each in asked if is_enough or each.of_few]
    worth = _worth(per_card, baseline.rows_per_card, max(rows, 1) / max(window.counts.scored, rows, 1))
    own = baseline.own_windows(window.scale)
    verdicts = [_judge(each, own, rule.unit, alpha, worth) for each in asked]
    tests = _tests(asked, verdicts, baseline, columns)
    return DriftReport(
        watched=window.watched,
        baseline=baseline.sha256,
        scale=window.scale.name,
        window_start=window.start,
        window_end=window.end,
        rows=rows,
        independent_rows=rows / per_card,
        counts=window.counts,
        schemas=window.schemas,
        alpha=alpha,
        severity=worst(test.severity for test in tests if is_enough or test.severity.is_alarm),
        tests=tuple(tests),
    )


def _worth(per_card: float, per_card_of_baseline: float, sampled: float) -> _Worth:
    return _Worth(1 / per_card_of_baseline, 1 / per_card, 1 / among_all(per_card, sampled))


def _judge(asked: Hypothesis, own: OwnWindows, unit: Unit, alpha: float, worth: _Worth) -> _Verdict:
    if asked.too_few is not None:
        return _Verdict(0.0, 1.0, Severity.INSUFFICIENT, f"{asked.too_few} values are too few to compare")
    if unit is Unit.CARD:
        return _verdict(asked, own, alpha, worth)
    found = _verdict(asked, own, alpha, _INDEPENDENT)
    if not found.severity.is_alarm or _verdict(asked, own, alpha, worth).severity.is_alarm:
        return found
    reason = f"{1 / worth.of_window:.1f} rows a card: if only cards are independent, this may be chance"
    return replace(found, severity=found.severity.lowered, reason=reason)


def _verdict(asked: Hypothesis, own: OwnWindows, alpha: float, worth: _Worth) -> _Verdict:
    of_window = worth.of_event if asked.of_all_events else worth.of_window
    usual = own.of(asked.subject, asked.kind)
    if own.count:
        usual = with_chance(usual, asked.critical(SURE / own.count, worth.of_baseline, of_window))
    limit = threshold(asked.critical(alpha, worth.of_baseline, of_window), asked.floor, usual)
    p_value = asked.chance(worth.of_baseline, of_window)
    found = severity(asked.statistic, limit, asked.grave) if p_value < alpha else Severity.OK
    return _Verdict(limit, p_value, found)


def _tests(
    asked: Sequence[Hypothesis], verdicts: Sequence[_Verdict], baseline: Baseline, columns: Sequence[Observed]
) -> list[DriftTest]:
    """The tests, alarms first, in the order of their adjusted p and then of how far they are beyond the threshold."""
    adjusted = holm(np.array([verdict.p_value for verdict in verdicts])).tolist()
    tests = [_test(*each) for each in zip(asked, verdicts, adjusted, strict=True)]
    alarms = sorted((test for test in tests if test.severity.is_alarm), key=_surest_first)
    detailed = [_in_detail(test, baseline, columns) for test in alarms]
    return detailed + [test for test in tests if not test.severity.is_alarm]


def _test(asked: Hypothesis, verdict: _Verdict, adjusted_p: float) -> DriftTest:
    return DriftTest(
        subject=asked.subject,
        kind=asked.kind,
        statistic=asked.statistic,
        threshold=verdict.threshold,
        p_value=verdict.p_value,
        adjusted_p=adjusted_p,
        severity=verdict.severity,
        reason=verdict.reason,
        reference=asked.reference,
        observed=asked.observed,
        psi=asked.psi,
    )


def _surest_first(test: DriftTest) -> tuple[float, float]:
    return test.adjusted_p, -test.statistic / test.threshold


def _in_detail(alarm: DriftTest, baseline: Baseline, columns: Sequence[Observed]) -> DriftTest:
    if alarm.kind is Kind.SCORE and baseline.score is not None:
        return _compared(alarm, baseline.score, columns[-1])
    if alarm.kind in (Kind.DISTRIBUTION, Kind.CATEGORIES):
        at = [profile.name for profile in baseline.features].index(alarm.subject)
        return _compared(alarm, baseline.features[at], columns[at])
    return alarm


def _compared(alarm: DriftTest, profile: Profile, column: Observed) -> DriftTest:
    if profile.nature is Nature.CONTINUOUS:
        moved = effect.wasserstein(profile.values, column.values)
        return replace(alarm, wasserstein=moved, shape=effect.percentiles(column.values))
    cells = categories.cells(profile.values, column.values)
    return replace(alarm, shape=tuple((cells / cells.sum()).astype(np.float32).tolist()))
