"""What the monitor reports is a function of what was scored: not of order, repetition, batches or its own deaths."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sampled import SCALES, START, baseline, batches, events, record

from drift.alarm import Severity
from drift.detect import Rule
from drift.intake import Intake
from drift.monitor import Monitor
from drift.place import Memo, Trail, read_memo
from drift.report import Kind, encode
from drift.retrain import Requests
from drift.tally import Counts
from drift.windows import DAY, HOUR, MINUTE, PANE, Timing, Watched
from schemas.errors import InvalidRecordError

EVENTS = events(3_600, minutes=120)
RECORDS = [record(EVENTS, rows) for rows in batches(EVENTS)]
BASELINES = {version: baseline(version) for version in ("7", "8")}
CHAMPION, CHALLENGER = Watched("card-fraud", "7", "champion"), Watched("card-fraud", "8", "challenger")
PATIENT = Timing(lateness=DAY)


def monitor(timing=PATIENT, since=0, baselines=BASELINES, partitions=(0, 1)):
    rule = Rule(scales=SCALES)
    return Monitor("transactions", partitions, lambda watched: baselines.get(watched.version), rule, timing, since, 0)


def reports_of(records, over=None, now=0):
    """The last report of each key, as the compacted topic keeps it."""
    over, kept = over or monitor(), {}
    for each in records:
        over.take(each, now)
        kept |= {report.key: report for report in over.due(now)}
    return kept


def as_bytes(reports):
    return {key: encode(report) for key, report in reports.items()}


REPORTS = as_bytes(reports_of(RECORDS))


def test_each_window_of_each_variant_is_reported_once_it_is_over():
    found = reports_of(RECORDS)

    ends = {report.window_end for report in found.values() if report.watched == CHAMPION and report.scale == "10m"}
    assert ends == {START + minute * MINUTE for minute in range(10, 120, 10)}
    assert {report.watched for report in found.values()} == {CHAMPION, CHALLENGER}
    assert {report.scale for report in found.values()} == {"10m", "1h"}
    assert {report.baseline for report in found.values()} == {baseline.sha256 for baseline in BASELINES.values()}


def test_the_counts_of_a_window_are_those_of_all_its_events_sampled_or_not():
    found = reports_of(RECORDS)

    for report in found.values():
        here = (EVENTS.time // MINUTE * MINUTE >= report.window_start) & (EVENTS.time < report.window_end)
        mine = here & (EVENTS.variant == (report.watched == CHALLENGER)) & (EVENTS.outcome >= 0)
        dead = here & (EVENTS.outcome < 0) if report.watched == CHAMPION else np.zeros(1)
        assert report.counts == Counts(
            scored=mine.sum(),
            reviewed=(mine & (EVENTS.outcome == 1)).sum(),
            declined=(mine & (EVENTS.outcome == 2)).sum(),
            dead_lettered=dead.sum(),
        )


@pytest.mark.parametrize("seed", range(5))
def test_shuffled_and_repeated_records_give_the_same_reports(seed):
    rng = np.random.default_rng(seed)
    order = rng.permutation(np.concatenate([np.arange(len(RECORDS)), rng.integers(0, len(RECORDS), 40)]))

    assert as_bytes(reports_of([RECORDS[at] for at in order])) == REPORTS


@pytest.mark.parametrize("size", [7, 64, 999])
def test_other_batches_give_the_same_reports(size):
    assert as_bytes(reports_of([record(EVENTS, rows) for rows in batches(EVENTS, size)])) == REPORTS


def test_batches_that_are_decided_again_and_end_elsewhere_count_nothing_twice():
    again = [record(EVENTS, rows) for rows in batches(EVENTS, 70)]
    rng = np.random.default_rng(8)
    mixed = [*RECORDS, *(again[at] for at in rng.integers(0, len(again), 30))]

    assert as_bytes(reports_of(rng.permutation(np.array(mixed, object)))) == REPORTS


@pytest.mark.parametrize("seed", range(8))
def test_a_monitor_that_is_killed_anywhere_again_and_again_leaves_the_same_reports(seed):
    rng, timing, kept = np.random.default_rng(seed), Timing(lateness=5 * MINUTE), {}
    offset, read, memo, lives = 0, 0, Memo(), 0

    while read < len(RECORDS):
        over, trail, lives = monitor(timing, memo.since), Trail(), lives + 1
        for at in range(offset, min(len(RECORDS), read + rng.integers(1, len(RECORDS) // 3))):
            over.take(RECORDS[at], 0)
            kept |= as_bytes({report.key: report for report in over.due(0)})
            trail.note(at, newest(RECORDS[at]))
            read = max(read, at + 1)
            if rng.random() < 0.3:  # what was told since is told again by the next
                memo = read_memo(Memo(over.rebuild_from(0)).to_text())
                offset = trail.begin(memo.since, at + 1)

    assert lives > 3
    assert offset > 0
    assert kept == as_bytes(reports_of(RECORDS, monitor(timing)))


def newest(of):
    return int(of.cells["minute"].max()) * MINUTE


def test_a_successor_begins_at_the_first_record_of_a_window_that_may_still_change():
    over, trail = monitor(Timing(lateness=0)), Trail()
    for at, each in enumerate(RECORDS):
        over.take(each, 0)
        list(over.due(0))
        trail.note(at, newest(each))

    since = over.rebuild_from(0)

    begin = trail.begin(since, len(RECORDS))
    assert 0 < begin < len(RECORDS)
    assert all(newest(each) < since for each in RECORDS[:begin])


def test_a_partition_that_lags_is_waited_for():
    fast = [each for each in RECORDS if each.runs["partition"].max() == 0]
    slow = [each for each in RECORDS if each.runs["partition"].max() == 1]
    over = monitor(Timing(lateness=0))

    assert reports_of(fast, over) == {}
    assert as_bytes(reports_of(slow, over)) == REPORTS
    assert over.windows.untimely.late == 0


def test_a_partition_from_which_nothing_comes_holds_nobody_up_once_all_is_read():
    over = monitor(partitions=(0, 1, 2))
    assert reports_of(RECORDS, over) == {}

    over.caught_up()
    over.take(RECORDS[-2], now=100_000)
    over.take(RECORDS[-1], now=100_000)

    assert as_bytes({report.key: report for report in over.due(now=100_000)}) == REPORTS


def test_a_partition_from_which_nothing_comes_does_not_let_a_backlog_pile_up():
    backlog = events(4_800, minutes=2 * 24 * 60)
    records = [record(backlog, rows) for rows in batches(backlog, 10)]
    over, most = monitor(Timing(), partitions=(0, 1, 2)), 0
    for each in records:
        over.take(each, now=0)
        list(over.due(now=0))
        most = max(most, len({start for start, _ in over.windows._panes}))

    assert over.windows.untimely.late == 0
    assert over.rebuild_from(now=0) > START + 2 * DAY - 4 * HOUR
    assert most * PANE.length < 12 * HOUR


def test_a_feature_that_shifts_is_named_in_the_windows_where_it_does():
    shifted = events(6_000, minutes=120, shift=lambda minute: 1.5 if minute >= 60 else 0.0)

    found = reports_of([record(shifted, rows, rate=1.0) for rows in batches(shifted)])

    for report in found.values():
        if report.scale == "10m" and report.watched == CHAMPION:
            named = {test.subject for test in report.alarms}
            assert named == ({"V1"} if report.window_start >= START + 60 * MINUTE else set())


def test_a_canary_that_grows_is_no_drift_of_the_score():
    quiet = events(6_000, minutes=120)
    canary = quiet.variant.astype(bool)
    quiet.scores[canary] = 1 - quiet.scores[canary]  # the challenger scores quite otherwise
    baselines = {"7": BASELINES["7"], "8": None}

    found = reports_of([record(quiet, rows, rate=1.0) for rows in batches(quiet)], monitor(baselines=baselines))

    assert found
    assert not any(test.kind is Kind.SCORE for report in found.values() for test in report.alarms)


def test_a_model_without_a_baseline_is_named_and_the_others_are_judged():
    over = monitor(baselines={"7": BASELINES["7"]})

    found = reports_of(RECORDS, over)

    assert {report.watched for report in found.values()} == {CHAMPION}
    assert over.unjudged == {CHALLENGER}


def test_a_model_without_a_baseline_that_serves_no_more_is_named_as_long_as_a_window_of_it_is_open():
    canary = events(3_600, minutes=240)
    canary = replace(canary, variant=np.where(canary.time < START + HOUR, canary.variant, 0))
    over, named = monitor(Timing(lateness=0), baselines={"7": BASELINES["7"]}), {}

    for each in [record(canary, rows) for rows in batches(canary)]:
        over.take(each, now=0)
        list(over.due(now=0))
        named[over.windows.watermark.at(now=0) or 0] = over.unjudged.copy()

    # Its last pane ends after an hour, and the last window of an hour with that pane after two.
    assert all(found == {CHALLENGER} for at, found in named.items() if START + HOUR < at < START + 2 * HOUR)
    assert all(found == set() for at, found in named.items() if at > START + 2 * HOUR + 10 * MINUTE)
    assert max(named) > START + 3 * HOUR


def test_a_baseline_of_other_features_judges_nothing():
    over = monitor(baselines={"7": None, "8": None})

    assert reports_of(RECORDS, over) == {}


def test_workers_that_sample_at_different_rates_leave_a_fair_sample():
    rates = [0.5, 0.1]
    mixed = [record(EVENTS, rows, rates[at % 2]) for at, rows in enumerate(batches(EVENTS))]
    low = [record(EVENTS, rows, 0.1) for rows in batches(EVENTS)]

    def sizes(records):
        return {report.key: report.rows for report in reports_of(records).values()}

    assert sizes(mixed) == sizes(low)


def test_records_of_another_topic_are_refused():
    with pytest.raises(InvalidRecordError, match="it samples transactions"):
        Intake("payments", lead=0).take(RECORDS[0])


def test_a_model_is_to_be_trained_again_at_its_first_critical_alarm_and_not_for_a_day_after():
    shifted = events(6_000, minutes=120, shift=lambda minute: 3.0 if minute >= 60 else 0.0)
    found = reports_of([record(shifted, rows, rate=1.0) for rows in batches(shifted)]).values()
    critical = sorted((each for each in found if each.severity is Severity.CRITICAL), key=lambda each: each.window_end)
    calm = [each for each in found if each.severity is not Severity.CRITICAL]
    requests = Requests({})

    made = [report for report in [*calm, *critical] if requests.due(report)]

    assert {report.watched for report in made} <= {CHAMPION, CHALLENGER}
    assert len(made) == len({report.watched for report in critical})
    assert made[0] == critical[0]
    assert not Requests(requests.made).due(critical[-1])
    assert Requests({name: end - DAY for name, end in requests.made.items()}).due(critical[0])


@given(st.lists(st.integers(0, 50), min_size=1, max_size=40), st.integers(0, 60))
def test_a_trail_begins_at_the_first_record_that_is_new_enough_and_keeps_few(times, since):
    trail = Trail()
    for offset, newest in enumerate(times):
        trail.note(offset, newest)

    begin = trail.begin(since, len(times))

    assert begin == next((offset for offset, newest in enumerate(times) if newest >= since), len(times))
    assert len(trail) <= len(set(times))


@pytest.mark.parametrize("text", [None, "", "{}x", "[1]", '{"since": "x"}'])
def test_metadata_that_is_not_ours_is_no_memo(text):
    assert read_memo(text) is None


def test_a_memo_comes_back():
    memo = Memo(START, {"card-fraud@7": START})

    assert read_memo(memo.to_text()) == memo
