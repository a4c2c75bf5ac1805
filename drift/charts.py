"""Draw rates over time, and the distribution of a subject that alarmed beside that of its baseline."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from drift.baseline import Baseline, Nature, Profile
from drift.history import Alarm, History, hop_of
from drift.quality import dead_letter_share
from drift.report import DriftReport, DriftTest, Kind
from drift.times import Times
from models.plots import Axis, Series, amounts, chart, shares

Floats = NDArray[np.float64]
Plot = tuple[str, str, str]
"""A title, what it shows, and the drawing."""

BINS = 40
TICKS = 4
TAIL = 0.005
"""The outermost share of both sides that an axis leaves out: one outlier would squeeze all else."""


def charts_of(history: History, baseline: Baseline | None, times: Times) -> Iterator[Plot]:
    """Alert rate, distance of the score, volume and dead letters over time."""
    shortest, longest = history.shortest, history.longest
    usual = None if baseline is None or baseline.alerts is None else baseline.alerts[0] / baseline.alerts[1]
    yield (
        "Alert rate",
        f"Share of all events that were reviewed or declined, in windows of {longest[0].scale}.",
        _shares_over_time(longest, _alert_rate, usual, times),
    )
    yield (
        "Score",
        "Distance of its distribution from that of the baseline, and the limit.",
        _score_over_time(longest, times),
    )
    yield ("Volume", f"Events in windows of {shortest[0].scale}.", _volume(shortest, times))
    yield (
        "Dead letters",
        f"Share of the events that could not be scored, in windows of {shortest[0].scale}.",
        _shares_over_time(shortest, dead_letter_share, None, times),
    )


def shapes_of(alarm: Alarm, baseline: Baseline | None, times: Times) -> list[Plot]:
    """The distribution in the window that differs most, and in the baseline if it is at hand."""
    report, test = alarm.largest
    if not test.shape:
        return []
    profile = None if baseline is None or baseline.sha256 != report.baseline else _profile(baseline, test)
    when = f"{times.span(report.window_start, report.window_end)}: {_size(test)}."
    if test.kind is Kind.CATEGORIES or (profile is not None and profile.nature is not Nature.CONTINUOUS):
        return [(alarm.subject, when, _categories(test, profile))]
    return [
        (f"{alarm.subject}, cumulated", when, _cumulated(test, profile)),
        (f"{alarm.subject}, share by value", when, _histogram(test, profile)),
    ]


def _size(test: DriftTest) -> str:
    psi = "" if test.psi is None else f", PSI {test.psi:.3f}"
    moved = "" if test.wasserstein is None else f", Wasserstein {test.wasserstein:.3g}"
    return f"change {test.statistic:.3f}, limit {test.threshold:.3f}{psi}{moved}"


def _profile(baseline: Baseline, test: DriftTest) -> Profile | None:
    if test.kind is Kind.SCORE:
        return baseline.score
    return next((profile for profile in baseline.features if profile.name == test.subject), None)


def _over_time(reports: Sequence[DriftReport], times: Times) -> tuple[Axis, Floats]:
    ends = np.array([report.window_end for report in reports], float)
    first, last = reports[0].window_end - hop_of(reports), reports[-1].window_end
    return Axis("event time", first, last, times.ticks(first, last, TICKS)), ends


def _shares_over_time(
    reports: Sequence[DriftReport], share: Callable[[DriftReport], float], usual: float | None, times: Times
) -> str:
    axis, ends = _over_time(reports, times)
    found = np.array([share(report) for report in reports])
    series = [] if usual is None else [Series("baseline", "baseline", ends, np.full(len(ends), usual))]
    high = max(float(found.max()), usual or 0.0)
    return chart(axis, shares("share of events", _round_up(high)), [*series, Series("windows", "model", ends, found)])


def _alert_rate(report: DriftReport) -> float:
    return report.counts.alerts / report.counts.scored if report.counts.scored else 0.0


def _score_over_time(reports: Sequence[DriftReport], times: Times) -> str:
    tests = [(report, test) for report in reports for test in report.tests if test.kind is Kind.SCORE]
    if not tests:
        return "<p>No window had enough scores.</p>"
    axis, ends = _over_time([report for report, _ in tests], times)
    sizes, limits = (np.array([getattr(test, of) for _, test in tests]) for of in ("statistic", "threshold"))
    high = _round_up(float(max(sizes.max(), limits.max())))
    series = [Series("limit", "baseline", ends, limits), Series("distance", "model", ends, sizes)]
    return chart(axis, _numbers("distance", 0.0, high), series)


def _volume(reports: Sequence[DriftReport], times: Times) -> str:
    axis, ends = _over_time(reports, times)
    found = np.array([report.counts.scored for report in reports], float)
    return chart(axis, amounts("events", max(5.0, float(found.max()))), [Series("events", "model", ends, found)])


def _cumulated(test: DriftTest, profile: Profile | None) -> str:
    sides = _sides(test, profile)
    axis = _value_axis(test.subject, sides)
    return chart(axis, shares("share of rows up to here"), [Series(name, style, x, y) for name, style, x, y in sides])


def _histogram(test: DriftTest, profile: Profile | None) -> str:
    sides = _sides(test, profile)
    axis = _value_axis(test.subject, sides)
    edges = np.linspace(axis.low, axis.high, BINS + 1)
    series = []
    for name, style, x, y in sides:
        inside = np.diff(np.interp(edges, x, y, left=0.0, right=1.0))
        series.append(Series(name, style, np.repeat(edges, 2)[1:-1], np.repeat(inside, 2), "area"))
    high = max(float(line.y.max()) for line in series)
    return chart(axis, shares("share of rows", _round_up(high)), series)


def _sides(test: DriftTest, profile: Profile | None) -> list[tuple[str, str, Floats, Floats]]:
    """(name, style, values, share of the rows up to each) of the baseline and of the window."""
    window = np.array(test.shape, float)
    sides = [("window", "model", window, np.linspace(0, 1, len(window)))]
    if profile is not None and len(profile.values):
        known = profile.values.astype(float)
        sides.insert(0, ("baseline", "baseline", known, np.arange(1, len(known) + 1) / len(known)))
    return sides


def _value_axis(label: str, sides: Sequence[tuple[str, str, Floats, Floats]]) -> Axis:
    low = min(float(np.interp(TAIL, y, x)) for _, _, x, y in sides)
    high = max(float(np.interp(1 - TAIL, y, x)) for _, _, x, y in sides)
    return _numbers(label, low, high if high > low else low + 1.0)


def _categories(test: DriftTest, profile: Profile | None) -> str:
    """The shares as steps, a step a category; what the baseline has never seen comes last."""
    found = np.array(test.shape, float)
    edges = np.arange(len(found) + 1, dtype=float)
    series = [Series("window", "model", np.repeat(edges, 2)[1:-1], np.repeat(found, 2), "area")]
    labels = [f"{at + 1}." for at in range(len(found) - 1)]
    if profile is not None:
        known = np.append(profile.counts / profile.counts.sum(), 0.0)
        series.insert(0, Series("baseline", "baseline", np.repeat(edges, 2)[1:-1], np.repeat(known, 2), "area"))
        labels = [f"{value:g}" for value in profile.values.tolist()]
    step = -(-len(labels) // 8)
    ticks = [(at + 0.5, label) for at, label in enumerate(labels) if at % step == 0] + [(len(labels) + 0.5, "other")]
    high = max(float(line.y.max()) for line in series)
    axis = Axis(test.subject, 0, len(found), tuple(ticks))
    return chart(axis, shares("share of rows", _round_up(high)), series)


def _numbers(label: str, low: float, high: float) -> Axis:
    """A linear axis with five ticks."""
    return Axis(label, low, high, tuple((at, f"{at:,.3g}") for at in np.linspace(low, high, 5).tolist()))


def _round_up(value: float) -> float:
    """The next number of one digit or two, so that ticks are short."""
    if value <= 0:
        return 1.0
    power = 10.0 ** np.floor(np.log10(value))
    return float(next(power * step for step in (1, 1.5, 2, 3, 4, 5, 6, 8, 10) if power * step >= value))
