"""An alarm is what a budget of false alarms allows, and its order within a window is Holm's."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drift.alarm import Budget, Severity, beyond, holm, severity, threshold, with_chance, worst
from drift.windows import DAY, PANE, SCALES, TODAY


def test_the_budget_is_shared_by_all_tests_of_the_horizon():
    # 90 days have 12,960 windows of ten minutes and 2,160 that hop by an hour.
    assert Budget().alpha(SCALES, hypotheses=92) == pytest.approx(1 / ((12_960 + 2_160) * 92))
    assert Budget(alarms=2, horizon=7 * DAY).alpha((PANE,), 10) == pytest.approx(2 / (1_008 * 10))
    assert Budget().alpha((TODAY,), 1) == pytest.approx(1 / 2_160)


def test_the_threshold_is_the_largest_of_chance_effect_and_season():
    assert threshold(critical=0.04, floor=0.05, own=0.01) == 0.05
    assert threshold(critical=0.08, floor=0.05, own=0.01) == 0.08
    assert threshold(critical=0.04, floor=0.05, own=0.2) == pytest.approx(0.25)


def test_what_chance_did_is_taken_out_of_a_difference_and_put_back_for_another_size():
    assert beyond(0.05, noise=0.05) == 0.0
    assert beyond(0.02, noise=0.05) == 0.0
    assert beyond(0.13, noise=0.05) == pytest.approx(0.12)
    assert with_chance(0.12, noise=0.05) == pytest.approx(0.13)
    assert with_chance(beyond(0.3, 0.1), 0.1) == pytest.approx(0.3)


def test_an_alarm_is_critical_from_twice_the_threshold_on_but_never_below_a_grave_change():
    assert severity(0.05, threshold=0.05, grave=0.1) is Severity.OK
    assert severity(0.051, threshold=0.05, grave=0.1) is Severity.WARN
    assert severity(0.1, threshold=0.05, grave=0.1) is Severity.CRITICAL
    assert severity(0.07, threshold=0.03, grave=0.1) is Severity.WARN
    assert severity(0.07, threshold=0.03, grave=0.0) is Severity.CRITICAL


def test_too_few_rows_are_neither_good_nor_an_alarm():
    assert worst([]) is Severity.INSUFFICIENT
    assert worst([Severity.INSUFFICIENT, Severity.OK]) is Severity.OK
    assert worst([Severity.OK, Severity.CRITICAL, Severity.WARN]) is Severity.CRITICAL
    assert [each.is_alarm for each in Severity] == [False, False, True, True]
    assert [each.lowered for each in (Severity.CRITICAL, Severity.WARN)] == [Severity.WARN, Severity.OK]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holms_p_values_are_those_of_the_closed_test_with_bonferroni(p_values):
    """Each hypothesis is rejected where Bonferroni rejects every set that it is in: the definition, over all sets."""
    expected = []
    for at in range(len(p_values)):
        others = [other for other in range(len(p_values)) if other != at]
        sets = [(at, *chosen) for size in range(len(p_values)) for chosen in itertools.combinations(others, size)]
        expected.append(max(min(1.0, len(chosen) * min(p_values[other] for other in chosen)) for chosen in sets))

    assert holm(np.array(p_values)) == pytest.approx(expected)
