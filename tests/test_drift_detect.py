"""What is found in a window: every way in which traffic can change, and nothing where it has not."""

import io
import json
from dataclasses import replace

import fastavro
import numpy as np
import pytest
from drift_traffic import CHAMPION, baseline_of, window_of

from drift import ks
from drift.alarm import SURE, Severity
from drift.baseline import OwnWindows
from drift.detect import Rule, Unit, examine
from drift.report import Kind, encode, from_record, to_record
from drift.tally import Counts
from drift.volume import Hours
from drift.windows import DAY, HOUR, MINUTE, PANE, TODAY, scales_of
from schemas.errors import ConfigurationError
from schemas.load import load

NONE = Counts(scored=100_000, reviewed=300, declined=100)
RULE = Rule()


def traffic(rng, rows):
    """A continuous feature, a discrete one, a constant and one with a fifth of its values missing."""
    holed = rng.normal(size=rows)
    holed[rng.random(rows) < 0.2] = np.nan
    columns = (rng.normal(size=rows), rng.integers(0, 4, rows), np.full(rows, 7.0), holed)
    return np.stack(columns, axis=1), rng.beta(1, 50, rows)


@pytest.fixture(scope="module")
def baseline():
    rng = np.random.default_rng(1)
    rows, scores = traffic(rng, 20_000)
    return baseline_of(rows, scores, believed={"f0": (-8.0, 8.0)}, alerts=rng.binomial(20, 0.004, 20_000))


@pytest.fixture
def seen():
    return traffic(np.random.default_rng(2), 4_000)


def alarms(report):
    return [(test.subject, test.kind) for test in report.alarms]


def found(report, subject, kind):
    return next(test for test in report.tests if (test.subject, test.kind) == (subject, kind))


def test_traffic_as_usual_raises_nothing(baseline, seen):
    report = examine(window_of(*seen, counts=NONE), baseline, RULE)

    assert report.severity is Severity.OK
    assert alarms(report) == []
    assert len(report.tests) == 16
    assert report.alpha == pytest.approx(1 / (15_120 * 16))
    assert (report.rows, report.counts, report.watched, report.scale) == (4_000, NONE, CHAMPION, "10m")
    assert report.independent_rows == 4_000


def test_a_feature_that_moved_is_named_with_how_far_it_moved_and_nothing_else_is(baseline, seen):
    rows, scores = seen
    rows[:, 0] += 0.5
    report = examine(window_of(rows, scores, counts=NONE), baseline, RULE)

    assert alarms(report) == [("f0", Kind.DISTRIBUTION)]
    (alarm,) = report.alarms
    assert report.severity is alarm.severity is Severity.CRITICAL
    assert alarm.statistic == pytest.approx(0.197, abs=0.03)
    assert alarm.wasserstein == pytest.approx(0.5, abs=0.05)
    assert alarm.psi == pytest.approx(0.25, abs=0.08)
    assert alarm.adjusted_p < 1e-50
    assert len(alarm.shape) == 101
    assert alarm.shape[50] == pytest.approx(0.5, abs=0.06)


def test_a_feature_that_turned_to_nan_is_an_alarm(baseline, seen):
    rows, scores = seen
    rows[:, 0] = np.nan
    report = examine(window_of(rows, scores, counts=NONE), baseline, RULE)

    assert alarms(report) == [("f0", Kind.MISSING)]
    missing = found(report, "f0", Kind.MISSING)
    assert (missing.reference, missing.observed, missing.severity) == (0.0, 1.0, Severity.CRITICAL)
    values = found(report, "f0", Kind.DISTRIBUTION)
    assert (values.severity, values.reason) == (Severity.INSUFFICIENT, "0 values are too few to compare")


def test_a_value_that_is_missing_more_often_or_less_often_is_an_alarm(baseline, seen):
    rows, scores = seen
    filled, emptied = rows.copy(), rows.copy()
    filled[:, 3] = np.nan_to_num(rows[:, 3], nan=np.random.default_rng(3).normal())
    emptied[: len(rows) // 50, 0] = np.nan

    assert ("f3", Kind.MISSING) in alarms(examine(window_of(filled, scores, counts=NONE), baseline, RULE))
    report = examine(window_of(emptied, scores, counts=NONE), baseline, RULE)
    assert alarms(report) == [("f0", Kind.MISSING)]
    assert report.severity is Severity.WARN  # two percent: worth a look, and no more


def test_infinities_are_an_alarm_of_their_own(baseline, seen):
    rows, scores = seen
    rows[:200, 0] = np.inf
    report = examine(window_of(rows, scores, counts=NONE), baseline, RULE)

    assert alarms(report) == [("f0", Kind.INFINITE)]


def test_values_that_the_model_does_not_believe_are_an_alarm(baseline, seen):
    rows, scores = seen
    rows[:100, 0] = 100.0
    report = examine(window_of(rows, scores, counts=NONE), baseline, RULE)

    assert alarms(report) == [("f0", Kind.RANGE)]
    assert found(report, "f0", Kind.RANGE).observed == pytest.approx(0.025)


def test_a_constant_that_is_none_any_more_is_an_alarm(baseline, seen):
    rows, scores = seen
    rows[:80, 2] = 8.0
    report = examine(window_of(rows, scores, counts=NONE), baseline, RULE)

    assert alarms(report) == [("f2", Kind.CONSTANT)]


def test_a_category_that_was_never_seen_is_an_alarm(baseline, seen):
    rows, scores = seen
    rows[:400, 1] = 9.0
    report = examine(window_of(rows, scores, counts=NONE), baseline, RULE)

    assert alarms(report) == [("f1", Kind.CATEGORIES)]
    (alarm,) = report.alarms
    assert alarm.shape == pytest.approx([0.225] * 4 + [0.1], abs=0.02)
    assert alarm.statistic == pytest.approx(0.1, abs=0.01)


def test_a_score_that_moved_is_an_alarm(baseline, seen):
    rows, scores = seen
    report = examine(window_of(rows, scores * 2, counts=NONE), baseline, RULE)

    assert alarms(report) == [("score", Kind.SCORE)]
    assert len(report.alarms[0].shape) == 101


def test_an_alert_rate_that_doubled_is_an_alarm_although_the_scores_hardly_moved(baseline, seen):
    rows, scores = seen
    scores[:16] = 0.99
    doubled = replace(NONE, reviewed=600, declined=200)
    report = examine(window_of(rows, scores, counts=doubled), baseline, RULE)

    assert alarms(report) == [("alerts", Kind.RATE)]
    assert report.alarms[0].observed == pytest.approx(0.008)
    assert report.alarms[0].reference == pytest.approx(0.004, rel=0.1)
    assert found(report, "score", Kind.SCORE).statistic < 0.03


def test_dead_letters_beyond_one_percent_are_an_alarm(baseline, seen):
    few = examine(window_of(*seen, counts=replace(NONE, dead_lettered=1_000)), baseline, RULE)
    many = examine(window_of(*seen, counts=replace(NONE, dead_lettered=1_500)), baseline, RULE)

    assert alarms(few) == []
    assert alarms(many) == [("dead_letters", Kind.RATE)]


WEEKDAY = Hours(events=(60_000,) * 24, minutes=(600,) * 24)
"""A hundred events a minute, so a thousand in ten."""


@pytest.mark.parametrize(
    ("events", "severity"),
    [
        (1_000, Severity.OK),
        (520, Severity.OK),
        (480, Severity.WARN),
        (1_950, Severity.OK),
        (2_100, Severity.WARN),
        (1, Severity.WARN),
        (50_000, Severity.WARN),
    ],
)
def test_half_the_volume_or_twice_as_much_is_a_warning_and_never_more(baseline, seen, events, severity):
    window = replace(window_of(*seen, counts=NONE), volume=events)
    report = examine(window, replace(baseline, volume=WEEKDAY), RULE)
    test = found(report, "volume", Kind.RATE)

    assert report.severity is test.severity is severity
    assert (test.reference, test.observed) == (100.0, events / 10)
    assert test.statistic == pytest.approx(abs(np.log(events / 1_000)), abs=0.5 if events == 1 else 1e-3)
    assert report.alpha == pytest.approx(1 / (15_120 * 17)), "it is one more test in the budget"


def test_a_few_events_less_or_more_are_chance_and_no_alarm(baseline, seen):
    calm = replace(baseline, volume=Hours(events=(600,) * 24, minutes=(600,) * 24))
    few = examine(replace(window_of(*seen, counts=NONE), volume=4), calm, RULE)
    many = examine(replace(window_of(*seen, counts=NONE), volume=80), calm, RULE)

    assert alarms(few) == []
    assert alarms(many) == [("volume", Kind.RATE)]


def test_a_volume_that_leaves_too_few_rows_to_compare_is_told_and_nothing_else_is(baseline, seen):
    rows, scores = (column[:40] for column in seen)
    known = replace(baseline, volume=WEEKDAY)
    broken = examine(replace(window_of(rows + 50, scores), volume=100), known, RULE)
    calm = examine(replace(window_of(rows + 50, scores), volume=1_000), known, RULE)

    assert (broken.severity, alarms(broken), len(broken.tests)) == (Severity.WARN, [("volume", Kind.RATE)], 1)
    assert (calm.severity, alarms(calm)) == (Severity.INSUFFICIENT, [])


def test_a_swing_of_the_volume_that_every_week_has_is_no_alarm_and_a_larger_one_is(baseline, seen):
    own = OwnWindows("10m", length=PANE.length, count=100, largest={("volume", Kind.RATE): float(np.log(3))})
    seasonal = replace(baseline, volume=WEEKDAY, own=(own,))
    reports = [examine(replace(window_of(*seen, counts=NONE), volume=events), seasonal, RULE) for events in (300, 200)]

    assert [alarms(report) for report in reports] == [[], [("volume", Kind.RATE)]]


def test_of_a_file_or_at_an_hour_that_was_never_watched_the_volume_is_not_judged(baseline, seen):
    window = replace(window_of(*seen, counts=NONE), volume=1)
    unwatched = replace(baseline, volume=Hours(events=(0,) + (60_000,) * 23, minutes=(0,) + (600,) * 23))

    assert "volume" not in {test.subject for test in examine(window, baseline, RULE).tests}
    assert alarms(examine(window, unwatched, RULE)) == []


def test_windows_that_a_baseline_was_not_made_for_are_judged_by_the_next_shorter_ones(baseline):
    owns = [
        OwnWindows(name, length, 9, {("f0", Kind.DISTRIBUTION): size})
        for name, length, size in (("10m", 10 * MINUTE, 0.3), ("24h", DAY, 0.1))
    ]
    known = replace(baseline, own=tuple(owns))
    found = [
        known.own_windows(scale).of("f0", Kind.DISTRIBUTION)
        for lengths in ((5, 12 * 60, 60), (10, 48 * 60, 60))
        for scale in scales_of(*(minutes * MINUTE for minutes in lengths))
    ]

    assert found == [0.3, 0.3, 0.3, 0.1]
    assert replace(baseline, own=()).own_windows(PANE).count == 0
    (doubt,) = set(known.doubts_at(scales_of(5 * MINUTE, DAY, HOUR))) - set(known.doubts)
    assert doubt.startswith("the baseline was made for windows of 10m and 24h, not of 5m")
    assert known.doubts_at((PANE, TODAY)) == known.doubts


def test_a_window_of_too_few_rows_is_insufficient_and_never_ok(baseline, seen):
    rows, scores = seen
    report = examine(window_of(rows[:499] + 50, scores[:499]), baseline, RULE)

    assert report.severity is Severity.INSUFFICIENT
    assert report.tests == ()
    assert report.rows == 499


def test_a_feature_of_which_too_few_values_are_known_is_insufficient(baseline, seen):
    rows, scores = seen
    rows[501:, 3] = np.nan
    report = examine(window_of(rows[:1_000], scores[:1_000], counts=NONE), baseline, RULE)

    assert found(report, "f3", Kind.DISTRIBUTION).severity is Severity.INSUFFICIENT
    assert ("f3", Kind.MISSING) in alarms(report)


def test_alarms_come_first_the_surest_before_the_others(baseline, seen):
    rows, scores = seen
    rows[:, 0] += 0.2
    rows[:600, 1] = 9.0
    rows[:, 3] += 1.0
    report = examine(window_of(rows, scores, counts=NONE), baseline, RULE)

    assert alarms(report) == [("f3", Kind.DISTRIBUTION), ("f1", Kind.CATEGORIES), ("f0", Kind.DISTRIBUTION)]
    assert [test.severity.is_alarm for test in report.tests] == [True] * 3 + [False] * 13
    assert [test.adjusted_p for test in report.alarms] == sorted(test.adjusted_p for test in report.alarms)


def test_a_smaller_change_is_seen_in_a_day_than_in_ten_minutes(baseline):
    rows, scores = traffic(np.random.default_rng(4), 20_000)
    rows[:, 0] += 0.1

    assert alarms(examine(window_of(rows, scores, TODAY, counts=NONE), baseline, RULE)) == [("f0", Kind.DISTRIBUTION)]
    assert alarms(examine(window_of(rows[:5_000], scores[:5_000], PANE, counts=NONE), baseline, RULE)) == []


def test_a_swing_that_every_day_has_is_no_alarm_and_a_larger_one_is():
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(200_000, 2))
    day = np.arange(200_000) * 7.01 / 200_000
    rows[:, 0] += 0.3 * np.sin(2 * np.pi * day)
    usual = baseline_of(rows)
    evening = rng.normal(size=(5_000, 2))
    evening[:, 0] += 0.3

    assert alarms(examine(window_of(evening), usual, RULE)) == []
    assert alarms(examine(window_of(evening), replace(usual, own=()), RULE)) == [("f0", Kind.DISTRIBUTION)]
    evening[:, 0] += 0.3
    assert alarms(examine(window_of(evening), usual, RULE)) == [("f0", Kind.DISTRIBUTION)]


def test_what_is_usual_is_brought_to_the_size_of_the_window(baseline, seen):
    rows, scores = seen
    own = OwnWindows("10m", length=PANE.length, count=100, largest={("f0", Kind.DISTRIBUTION): 0.1})
    seasonal = replace(baseline, own=(own,))
    thresholds = []
    for count in (600, 4_000):
        report = examine(window_of(rows[:count], scores[:count]), seasonal, RULE)
        thresholds.append(found(report, "f0", Kind.DISTRIBUTION).threshold)

    chance = [ks.critical(SURE / 100, 20_000, count) for count in (600, 4_000)]
    assert thresholds == pytest.approx([1.25 * np.hypot(0.1, each) for each in chance])


def test_a_large_change_of_few_rows_is_no_alarm_while_chance_explains_it(baseline, seen):
    rows, scores = (column[:500] for column in seen)
    rows[:, 1] = np.repeat([0, 1, 2, 3], (155, 115, 115, 115))
    report = examine(window_of(rows, scores, counts=NONE), baseline, RULE)
    test = found(report, "f1", Kind.CATEGORIES)

    assert test.statistic > test.threshold
    assert test.p_value > report.alpha
    assert alarms(report) == []


def test_the_companions_of_a_row_that_were_not_sampled_count_for_the_alert_rate(baseline, seen):
    """A sample of one event in twenty shows one companion where there were twenty."""
    units = np.repeat(np.arange(2_000, dtype=np.uint64), 2)
    counts = Counts(scored=80_000, reviewed=560)
    event, card = (examine(window_of(*seen, counts=counts, units=units), baseline, Rule(unit=unit)) for unit in Unit)

    assert found(card, "alerts", Kind.RATE).p_value > 1e-4
    assert found(event, "alerts", Kind.RATE).p_value < 1e-12
    assert alarms(card) == []


def clustered(rng, cards, of_each):
    """Rows of which those of a card are copies of each other."""
    units = np.repeat(np.arange(cards, dtype=np.uint64), of_each)
    return np.repeat(rng.normal(size=(cards, 8)), of_each, axis=0), units


def test_rows_of_few_cards_raise_alarms_that_are_taken_down_a_step_with_the_reason():
    usual = baseline_of(np.random.default_rng(6).normal(size=(20_000, 8)))
    reports = []
    for seed in range(20):
        rows, units = clustered(np.random.default_rng(seed), cards=250, of_each=20)
        reports.append(examine(window_of(rows, units=units), usual, RULE))
    lowered = [test for report in reports for test in report.tests if test.reason]

    assert reports[0].independent_rows == 250
    assert lowered
    assert {test.severity for test in lowered} <= {Severity.OK, Severity.WARN}
    assert lowered[0].reason == "20.0 rows a card: if only cards are independent, this may be chance"
    assert not [test for report in reports for test in report.tests if test.severity is Severity.CRITICAL]


def test_with_cards_as_the_unit_rows_of_few_cards_raise_no_alarm_and_a_change_of_most_cards_does():
    usual = baseline_of(np.random.default_rng(6).normal(size=(20_000, 8)))
    by_card = Rule(unit=Unit.CARD)
    for seed in range(20):
        rows, units = clustered(np.random.default_rng(seed), cards=250, of_each=20)

        assert alarms(examine(window_of(rows, units=units), usual, by_card)) == []
    assert alarms(examine(window_of(rows + 1, units=units), usual, by_card))


def test_a_float64_training_set_and_a_float32_window_of_the_same_three_values_do_not_differ():
    rng = np.random.default_rng(7)
    prices = np.array([0.1, 0.2, 0.3])
    usual = baseline_of(np.stack([rng.choice(prices, 20_000), rng.normal(size=20_000)], axis=1))
    report = examine(window_of(np.stack([rng.choice(prices, 5_000), rng.normal(size=5_000)], axis=1)), usual, RULE)

    assert alarms(report) == []
    assert found(report, "f0", Kind.CATEGORIES).statistic < 0.03


def test_a_report_is_the_same_record_after_its_encoding(baseline, seen):
    rows, scores = seen
    rows[:, 0] += 0.5
    rows[:400, 1] = 9.0
    report = examine(window_of(rows, scores, counts=NONE), baseline, RULE)
    plain = json.loads(json.dumps(load("drift_report")).replace('"logicalType": "timestamp-millis"', '"at": 1'))

    read = fastavro.schemaless_reader(io.BytesIO(encode(report)), plain)
    assert from_record(read) == report
    assert from_record(json.loads(json.dumps(to_record(report)))) == report
    assert report.key == b"card-fraud@7/champion/10m/0"


def test_a_baseline_of_other_features_is_refused(baseline, seen):
    rows, scores = seen

    with pytest.raises(ConfigurationError, match="card-fraud@7 has other features"):
        examine(window_of(rows[:, :2], scores), baseline, RULE)


def test_golden_report_never_changes():
    usual = baseline_of((np.arange(4_000) * 7 % 4_000)[:, None] / 100)
    report = examine(window_of(((np.arange(1_000) * 3 % 1_000) / 25 + 5)[:, None]), usual, RULE)
    (alarm,) = report.alarms

    assert alarm.subject == "f0"
    assert (alarm.statistic, alarm.threshold) == pytest.approx((0.125, 0.08552490569789217), rel=1e-9)
    assert (alarm.p_value, alarm.adjusted_p) == pytest.approx((2.777588772992725e-11, 1.11103550919709e-10), rel=1e-9)
    assert (alarm.psi, alarm.wasserstein) == pytest.approx((0.6354561510865054, 4.985), rel=1e-6)
