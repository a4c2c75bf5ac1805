"""Every statistic of drift equals that of SciPy, or of a loop that is too slow to be wrong."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from drift import categories, clusters, effect, ks, shares, volume
from drift.columns import observe

# Few different values, so that samples tie within themselves and with each other.
TIED = st.lists(st.sampled_from([-2.5, -1.0, 0.0, 0.1, 0.5, 3.0, 7.25]), min_size=3, max_size=40)
ANY = st.lists(st.floats(-100, 100, width=32), min_size=3, max_size=40)
COUNTS = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 200)), min_size=2, max_size=12)


def rising(values):
    return np.sort(np.array(values, np.float32))


@given(TIED | ANY, TIED | ANY)
def test_the_distance_is_that_of_scipy_with_ties(baseline, window):
    ours = ks.distance(rising(baseline), rising(window))

    theirs = stats.ks_2samp(rising(baseline).astype(float), rising(window).astype(float), method="asymp").statistic
    assert ours == pytest.approx(theirs, abs=1e-12)


def test_the_distance_of_large_samples_is_that_of_scipy_with_and_without_drift():
    rng = np.random.default_rng(3)
    baseline = rng.normal(size=10_000).round(2).astype(np.float32)
    for shift in (0.0, 0.1, 0.5, 20.0):
        window = (rng.normal(size=5_000) + shift).round(2).astype(np.float32)

        theirs = stats.ks_2samp(baseline.astype(float), window.astype(float), method="asymp").statistic
        assert ks.distance(rising(baseline), rising(window)) == pytest.approx(theirs, abs=1e-12)


def test_a_float64_baseline_would_be_far_from_a_float32_window_of_the_same_values():
    values = np.tile([0.1, 0.2, 0.3], 1_000)

    assert ks.distance(rising(values), rising(values)) == 0.0
    assert ks.distance(np.sort(values), rising(values)) > 0.3


def test_golden_distance_and_p_value_never_change():
    baseline, window = rising([0, 1, 1, 2, 3, 5, 8, 13]), rising([1, 4, 4, 9, 9])

    assert ks.distance(baseline, window) == 0.425
    assert ks.p_value(0.05, 10_000, 5_000) == 1.1555497038838225e-07
    assert ks.critical(1e-6, 20_000, 5_000) == 0.042586174015935355


@given(st.floats(1e-9, 0.5), st.integers(10, 20_000), st.integers(10, 20_000))
def test_the_critical_distance_is_the_one_whose_p_value_is_alpha(alpha, rows, others):
    assert ks.p_value(ks.critical(alpha, rows, others), rows, others) == pytest.approx(alpha, rel=1e-6)


def test_the_limit_law_is_on_the_safe_side_of_the_exact_one():
    for rows, others in ((40, 30), (400, 300)):
        for distance in (0.1, 0.2, 0.35):
            at = round(distance * rows * others) / (rows * others)
            exact = stats.ks_2samp(*_apart(rows, others, at), method="exact")

            assert ks.p_value(exact.statistic, rows, others) >= exact.pvalue


def _apart(rows, others, distance):
    """Two samples without ties that are about this far apart."""
    return np.arange(rows) / rows, np.arange(others) / others + distance + 1e-9


@given(st.integers(0, 60), st.integers(1, 60), st.integers(0, 60), st.integers(1, 60))
def test_two_shares_are_compared_as_by_fishers_exact_test_of_the_likelier_side_doubled(hits, rest, new_hits, new_rest):
    table = [[hits, rest], [new_hits, new_rest]]
    sides = [stats.fisher_exact(table, alternative=side).pvalue for side in ("less", "greater")]
    ours = shares.p_value((hits, hits + rest), (new_hits, new_hits + new_rest))

    assert ours == pytest.approx(min(1.0, 2 * min(sides)), rel=1e-9)


def test_a_share_that_was_never_seen_is_found_out_by_a_dozen_rows():
    assert shares.p_value((0, 10_000), (12, 5_000)) < 5e-6
    assert shares.p_value((0, 10_000), (1, 5_000)) > 0.3
    assert shares.p_value((0, 10_000), (0, 5_000)) == 1.0
    assert shares.p_value((10_000, 10_000), (5_000, 5_000)) == 1.0


def test_the_critical_difference_of_shares_is_exceeded_by_chance_as_often_as_alpha_says():
    rng = np.random.default_rng(4)
    hits, new_hits = rng.binomial(4_000, 0.2, 20_000), rng.binomial(1_000, 0.2, 20_000)
    beyond = [
        abs(new / 1_000 - old / 4_000) > shares.critical(0.05, (old, 4_000), (new, 1_000))
        for old, new in zip(hits.tolist(), new_hits.tolist(), strict=True)
    ]

    assert np.mean(beyond) == pytest.approx(0.05, abs=0.006)


@given(st.integers(0, 80), st.integers(1, 200))
def test_the_chance_of_exceeding_a_limit_is_the_binomial_tail(hits, rows):
    hits = min(hits, rows)

    assert shares.beyond(0.1, (hits, rows)) == pytest.approx(stats.binom.sf(hits - 1, rows, 0.1), rel=1e-9)


@settings(deadline=None)
@given(st.integers(0, 300), st.integers(1, 300), st.integers(1, 50))
def test_two_counts_are_compared_as_by_the_binomial_test_of_one_side_doubled(events, known, times):
    chance = volume.p_value(events, known / times, known)
    sides = [
        stats.binomtest(events, events + known, 1 / (times + 1), alternative=side).pvalue
        for side in ("less", "greater")
    ]

    assert chance == pytest.approx(min(1.0, 2 * min(sides)), rel=1e-6, abs=1e-300)


def test_chance_exceeds_the_critical_volume_as_often_as_alpha_says():
    rng = np.random.default_rng(8)
    known = rng.poisson(60_000, 20_000)
    found = abs(np.log(rng.poisson(1_000, 20_000) / (known / 60)))

    assert (found > volume.critical(0.05, 1_000, 60_000)).mean() == pytest.approx(0.05, abs=0.01)


def test_what_is_expected_of_a_stretch_is_the_sum_over_the_hours_that_it_touches():
    usual = volume.Hours(events=tuple(60 * hour for hour in range(24)), minutes=(60,) * 24)
    hour = 3_600_000

    assert volume.expected(usual, 48 * hour, 72 * hour) == (60 * 276, 60 * 276)
    assert volume.expected(usual, 22 * hour + hour // 2, 25 * hour) == (30 * 22 + 60 * 23, 60 * (22 + 23))
    assert volume.expected(replace(usual, minutes=(0,) + (60,) * 23), 0, hour) == (0.0, 0)


@given(TIED, TIED)
def test_cells_count_each_known_value_and_everything_else(baseline, window):
    known = np.unique(np.float32(baseline))

    counted = [sum(np.float32(value) == each for value in window) for each in known]
    assert categories.cells(known, rising(window)).tolist() == [*counted, len(window) - sum(counted)]


def pooled(table):
    """The columns of the (2, k) table, the rare ones in one, by a loop."""
    share = table.sum(axis=1).min() / table.sum()
    columns = sorted((column for column in table.T.tolist()), key=sum)
    rare, rest = np.zeros(2), []
    for column in columns:
        if sum(column) * share < 5 or (rare.sum() and rare.sum() * share < 5):
            rare += column
        else:
            rest.append(column)
    return np.array([*([rare] if rare.sum() else []), *rest]).T


@given(COUNTS)
def test_categories_are_compared_as_by_the_chi_square_test_with_rare_cells_pooled(counts):
    table = np.array(counts, np.float64).T
    if not table.sum(axis=1).all():
        return
    expected = pooled(table)
    ours = categories.p_value(*table)

    if expected.shape[1] < 2:
        assert ours == 1.0
    else:
        assert ours == pytest.approx(stats.chi2_contingency(expected, correction=False).pvalue, rel=1e-6, abs=1e-300)


def test_a_category_that_the_baseline_never_saw_is_found():
    before, now = np.array([6_000.0, 4_000.0, 0.0]), np.array([2_850.0, 1_900.0, 250.0])

    assert categories.p_value(before, now) < 1e-100
    assert categories.total_variation(before, now) == pytest.approx(0.05)


def test_rare_categories_do_not_raise_alarms_by_their_number():
    rng = np.random.default_rng(5)
    probabilities = np.r_[0.9, np.full(200, 0.1 / 200)]
    p_values = [
        categories.p_value(*(rng.multinomial(rows, probabilities).astype(float) for rows in (2_000, 1_000)))
        for _ in range(2_000)
    ]

    assert np.mean(np.array(p_values) < 0.01) < 0.02


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=2, max_size=12))
def test_psi_is_what_a_loop_over_the_cells_adds_up(counts):
    before, now = (np.array(column) for column in zip(*counts, strict=True))
    total = 0.0
    for one, two in counts:
        share, other = ((count + 0.5) / (both.sum() + len(counts) / 2) for count, both in ((one, before), (two, now)))
        total += (other - share) * np.log(other / share)

    assert effect.psi(before, now) == pytest.approx(total, abs=1e-9)


@given(TIED | ANY)
def test_counts_between_cuts_are_those_of_a_histogram_closed_on_the_right(values):
    cuts = rising([-1.0, 0.0, 0.5])
    edges = [-np.inf, *cuts.tolist(), np.inf]

    expected = [sum(low < np.float32(each) <= high for each in values) for low, high in zip(edges, edges[1:])]  # noqa: B905, RUF007
    assert effect.between(cuts, rising(values)).tolist() == expected


def test_percentiles_run_from_the_least_to_the_greatest_value():
    assert effect.percentiles(np.arange(1_001, dtype=np.float32)) == tuple(np.arange(0.0, 1_001.0, 10.0))
    assert effect.percentiles(np.array([3.0], np.float32)) == (3.0,) * 101


@given(st.lists(st.sampled_from([np.nan, np.inf, -np.inf, -1.0, 0.0, 2.5]), min_size=1, max_size=30))
def test_a_column_is_taken_apart_into_finite_missing_and_infinite_values(values):
    column = np.array(values, np.float32)
    found, others = observe(np.stack([column, np.zeros(len(column), np.float32)], axis=1))

    assert found.values.tolist() == sorted(column[np.isfinite(column)].tolist())
    assert (found.rows, found.missing, found.infinite) == (len(values), np.isnan(column).sum(), np.isinf(column).sum())
    assert others.values.tolist() == [0.0] * len(column)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=40))
def test_rows_per_card_are_the_companions_that_a_row_has_on_average(units):
    expected = np.mean([units.count(unit) for unit in units])

    assert clusters.rows_per_card(np.array(units, np.uint64)) == pytest.approx(expected)


def test_rows_that_are_copies_of_each_other_are_worth_one_row_a_card():
    """The variance of the share below a value, over many samples of cards with four rows each."""
    rng = np.random.default_rng(6)
    cards = rng.normal(size=(4_000, 100))
    of_copies = np.var((np.repeat(cards, 4, axis=1) < 0).mean(axis=1))
    per_card = clusters.rows_per_card(np.repeat(np.arange(100, dtype=np.uint64), 4))

    assert per_card == 4
    assert of_copies == pytest.approx(0.25 / (400 / per_card), rel=0.1)


def test_rows_per_card_of_all_events_follow_from_those_of_a_sample():
    rng = np.random.default_rng(7)
    units = np.repeat(np.arange(20_000, dtype=np.uint64), rng.integers(1, 40, 20_000))
    sampled = units[rng.random(len(units)) < 0.05]

    estimate = clusters.among_all(clusters.rows_per_card(sampled), len(sampled) / len(units))
    assert estimate == pytest.approx(clusters.rows_per_card(units), rel=0.05)
