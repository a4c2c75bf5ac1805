"""Count false alarms where nothing drifts, and how surely and how precisely drift is named where it does."""

import argparse
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from rich.table import Table

from drift.baseline import Baseline
from drift.detect import Rule, examine
from drift.period import Period
from drift.reference import build
from drift.report import DriftReport, DriftTest, Kind
from drift.sketch import NO_LIMIT, Sketch
from drift.tally import Counts
from drift.training_set import period_of
from drift.volume import Traffic
from drift.windows import DAY, MINUTE, PANE, SCALES, TODAY, Scale, Watched, Window
from producer import sample_path
from schemas.dataset import Dataset, read_dataset

FEATURES = 30
WEEK = 1_008
"""Windows of ten minutes in a week."""

NAMES = tuple(f"f{at}" for at in range(FEATURES))
RULE = Rule()

Rows = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Quiet:
    """``windows`` without drift: how many ``alarms`` there were, and in how many windows some p was below 0.05."""

    windows: int
    rows: int
    alarms: int
    usual_rule: int


@dataclass(frozen=True, slots=True)
class Shifted:
    """``runs`` in which one feature moved by ``shift`` deviations: how many were detected, and named it alone."""

    shift: float
    scale: str
    rows: int
    runs: int
    detected: int
    named_alone: int


@dataclass(frozen=True, slots=True)
class Real:
    """Day 2 of the card data against day 1: windows with an alarm, and the largest D of the day, of which feature."""

    order: str
    windows: int
    alarming: int
    largest: float
    feature: str


def baseline_of(rng: np.random.Generator, rows: int) -> Baseline:
    """The baseline of a week without drift: independent normal features, scores, and a volume that has its hours."""
    times = np.sort(rng.integers(0, 7 * DAY + DAY // 100, rows))
    seen, scores = quiet_rows(rng, rows), None
    period = Period(
        "simulation", NAMES, times, _hashes(rng, rows), None, seen[:, :-1], seen[:, -1], scores, busy(0, 7 * DAY)
    )
    return build(period, "simulated", "1", {})


def quiet(rng: np.random.Generator, baseline: Baseline, rows: int, windows: Iterable[int]) -> Quiet:
    """Windows like the baseline, through the whole of ``examine``."""
    reports = []
    for number in windows:
        start, end = number * PANE.length, (number + 1) * PANE.length
        window = window_of(rng, quiet_rows(rng, rows), PANE)
        volume = int(busy(start, end).events.sum())
        reports.append(examine(replace(window, start=start, end=end, volume=volume), baseline, RULE))
    return Quiet(
        windows=len(reports),
        rows=rows,
        alarms=sum(len(report.alarms) for report in reports),
        usual_rule=sum(any(test.p_value < 0.05 for test in _distributions(report)) for report in reports),
    )


def shifted(
    rng: np.random.Generator, baseline: Baseline, shift: float, scale: Scale, rows: int, runs: Iterable[int], most: int
) -> Shifted:
    """Runs of at most so many windows in which the first feature has moved; all of them, for what else they name."""
    named = []
    for _ in runs:
        reports = [examine(window_of(rng, quiet_rows(rng, rows, shift), scale), baseline, RULE) for _ in range(most)]
        named.append({alarm.subject for report in reports for alarm in report.alarms})
    detected, alone = sum(NAMES[0] in subjects for subjects in named), sum(subjects == {NAMES[0]} for subjects in named)
    return Shifted(shift, scale.name, rows, len(named), detected, alone)


def real(dataset: Dataset, *, shuffled: bool) -> Real:
    """The second day of the card data, in windows, against the first; in order of time or with the rows shuffled."""
    whole = period_of(dataset, "card data", dataset.features, None)
    if shuffled:
        whole = replace(whole, rows=np.random.default_rng(7).permutation(whole.rows))
    middle = int(np.searchsorted(whole.times, DAY))
    baseline = build(_part(whole, slice(0, middle)), "card-fraud", "1", {})
    reports = [examine(window, baseline, RULE) for window in _windows(_part(whole, slice(middle, None)))]
    day = max(reports, key=lambda report: report.rows)
    worst = max(_distributions(day), key=lambda test: test.statistic)
    alarming = sum(report.severity.is_alarm for report in reports)
    order = "shuffled" if shuffled else "in time order"
    return Real(order, len(reports), alarming, worst.statistic, worst.subject)


def busy(start: int, end: int) -> Traffic:
    """Traffic of about 1,000 events a minute, ten times as many by day as by night; one day differs by 10 %."""
    minutes = np.arange(start, end, MINUTE)
    days = {day: np.random.default_rng(int(day)).lognormal(0, 0.1) for day in np.unique(minutes // DAY)}
    rates = 1_000 * (1.0 + 0.82 * np.sin(2 * np.pi * minutes / DAY)) * [days[day] for day in minutes // DAY]
    return Traffic(start, np.random.default_rng([start, 1]).poisson(rates))


def _distributions(report: DriftReport) -> list[DriftTest]:
    return [test for test in report.tests if test.kind in (Kind.DISTRIBUTION, Kind.SCORE)]


def quiet_rows(rng: np.random.Generator, rows: int, shift: float = 0.0) -> Rows:
    """(rows, FEATURES + 1): rows like those of the baseline but for ``shift`` in the first feature, the scores last."""
    columns = np.empty((rows, FEATURES + 1), np.float32)
    columns[:, :-1] = rng.standard_normal((rows, FEATURES), dtype=np.float32)
    columns[:, 0] += shift
    columns[:, -1] = rng.beta(1, 50, rows)
    return columns


def _hashes(rng: np.random.Generator, count: int) -> NDArray[np.uint64]:
    return rng.integers(0, int(NO_LIMIT), count, dtype=np.uint64)


def window_of(rng: np.random.Generator, columns: Rows, scale: Scale) -> Window:
    """A window with these rows."""
    return _of(_hashes(rng, len(columns)), columns, scale, 0, NAMES)


def _of(hashes: NDArray[np.uint64], columns: Rows, scale: Scale, start: int, names: tuple[str, ...]) -> Window:
    sketch = Sketch(scale.capacity, columns.shape[1])
    sketch.add(hashes, hashes, columns)
    watched = Watched("simulated", "1", "champion")
    return Window(watched, scale, start, start + scale.length, names, sketch, Counts(), ())


def _part(period: Period, rows: slice) -> Period:
    return replace(period, times=period.times[rows], hashes=period.hashes[rows], rows=period.rows[rows])


def _windows(day: Period) -> Iterator[Window]:
    """Every pane with enough rows, and all of it as the window of a day."""
    for scale in SCALES:
        for start in range(DAY, 2 * DAY, scale.length):
            here = slice(*np.searchsorted(day.times, [start, start + scale.length]).tolist())
            if here.stop - here.start >= scale.least:
                yield _of(day.hashes[here], day.rows[here], scale, start, day.features)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="the whole card data set; the bundled sample if not given")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    console = Console(stderr=True)
    rng = np.random.default_rng(20_000)
    baseline = baseline_of(rng, 20_000)
    without = quiet(rng, baseline, 5_000, track(range(3 * WEEK), "without drift", console=console))
    cases = ((0.25, PANE, 5_000, 2), (0.5, PANE, 5_000, 2), (0.1, TODAY, 20_000, 1))
    moved = [
        shifted(rng, baseline, shift, scale, rows, track(range(40), f"shift of {shift}", console=console), most)
        for shift, scale, rows, most in cases
    ]
    dataset = read_dataset(options.data or sample_path())
    cards = [real(dataset, shuffled=shuffled) for shuffled in (True, False)]
    if options.json:
        found = {
            "quiet": asdict(without),
            "shifted": [asdict(row) for row in moved],
            "real": [asdict(row) for row in cards],
        }
        sys.stdout.write(json.dumps(found) + "\n")
        return
    for title, rows in (
        ("without drift", [without]),
        ("one feature moved", moved),
        ("card data, day 2 against day 1", cards),
    ):
        table = Table(*(name.replace("_", " ") for name in asdict(rows[0])), title=title)
        for row in rows:
            table.add_row(
                *(f"{value:.3f}" if isinstance(value, float) else f"{value}" for value in asdict(row).values())
            )
        Console().print(table)


if __name__ == "__main__":
    main()
