"""Alarms can be believed: nearly none where nothing drifts, and the right one, soon, where something does."""

import numpy as np
import pytest

from benchmarks.drift_alarms import WEEK, baseline_of, quiet, real, shifted
from drift.windows import PANE, TODAY
from producer import sample_path
from schemas.dataset import read_dataset

RUNS = range(40)


@pytest.fixture(scope="module")
def baseline():
    return baseline_of(np.random.default_rng(1), 20_000)


@pytest.fixture(scope="module")
def cards():
    return read_dataset(sample_path())


def test_three_weeks_without_drift_raise_two_alarms_at_most(baseline):
    """As few rows as are ever tested: there chance is the whole threshold, and no floor on the effect helps."""
    weeks = quiet(np.random.default_rng(2), baseline, PANE.least, range(3 * WEEK))

    assert weeks.windows == 3_024
    assert baseline.volume is not None, "the volume is judged too"
    assert weeks.alarms <= 2
    assert weeks.usual_rule > 0.6 * weeks.windows  # what p < 0.05 for each feature would have told


@pytest.mark.parametrize("shift", [0.25, 0.5])
def test_a_shift_of_a_quarter_deviation_is_named_alone_within_two_windows(baseline, shift):
    found = shifted(np.random.default_rng(3), baseline, shift, PANE, 5_000, RUNS, most=2)

    assert found.detected >= 38
    assert found.named_alone >= 38


def test_a_shift_of_a_tenth_of_a_deviation_is_named_alone_within_a_day(baseline):
    found = shifted(np.random.default_rng(4), baseline, 0.1, TODAY, 20_000, RUNS, most=1)

    assert found.detected >= 38
    assert found.named_alone >= 38


def test_the_second_day_of_the_card_data_is_loud_in_v3_and_silent_when_shuffled(cards):
    shuffled, in_order = (real(cards, shuffled=shuffled) for shuffled in (True, False))

    assert shuffled.alarming == 0
    assert shuffled.windows >= 1
    assert (in_order.feature, in_order.alarming) == ("V3", in_order.windows)
    assert in_order.largest == pytest.approx(0.52, abs=0.02)
