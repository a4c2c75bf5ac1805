"""Samples become windows of event time, the same ones whatever the order in which they come."""

import random
from dataclasses import replace

import numpy as np
import pytest
from drift_traffic import bytes_of

from drift.tally import Counts
from drift.watermark import Watermark
from drift.windows import DAY, HOUR, MINUTE, PANE, TODAY, Minute, Sample, Scale, Timing, Watched, Windows, scales_of
from schemas.errors import ConfigurationError, InvalidRecordError

NOON = 1_700_049_600_000
CHAMPION = Watched("card-fraud", "7", "champion")
TIMING = Timing(disorder=0, idle_after=MINUTE, lateness=HOUR, lead=MINUTE)


def sample(
    *times, watched=CHAMPION, first_id=0, sampled_at=None, counts=None, features=("V1", "amount"), schemas=("12",)
):
    """One event at each of the times; they bear the ids from ``first_id`` on, and are counted as well."""
    ids = np.arange(first_id, first_id + len(times), dtype=np.uint64)
    minutes = tuple(Minute(time // MINUTE * MINUTE, counts or Counts(scored=20, declined=1)) for time in times)
    return Sample(
        watched=watched,
        sampled_at=max(times, default=NOON) if sampled_at is None else sampled_at,
        schemas=schemas,
        features=features,
        hashes=ids * np.uint64(0x9E3779B97F4A7C15),
        units=ids // np.uint64(2),
        event_times=np.array(times, np.int64),
        rows=np.outer(ids, np.ones(len(features))).astype(np.float32),
        scores=(ids / 1000).astype(np.float32),
        minutes=minutes,
    )


def fed(samples, until, **settings):
    """Windows that have seen the samples, with all partitions at ``until``."""
    windows = Windows(**{"timing": TIMING} | settings)
    for each in samples:
        windows.add(each, now=0)
    windows.watermark.saw(0, until, now=0)
    return windows


def told(windows):
    return {(window.scale.name, window.start): window for window in windows.due(now=0)}


def ids(window):
    return sorted(window.sketch.rows[:, 0].astype(int).tolist())


def test_a_pane_is_told_when_the_watermark_has_passed_its_end_and_holds_its_events_alone():
    samples = [sample(NOON, NOON + 10 * MINUTE - 1), sample(NOON + 10 * MINUTE, first_id=2)]

    assert told(fed(samples, until=NOON + 10 * MINUTE - 1)) == {}
    window = told(fed(samples, until=NOON + 10 * MINUTE))["10m", NOON]
    assert (window.start, window.end) == (NOON, NOON + 10 * MINUTE)
    assert ids(window) == [0, 1]
    assert window.counts == Counts(scored=40, declined=2)
    assert window.features == ("V1", "amount")
    assert window.sketch.rows[:, -1] == pytest.approx(window.sketch.rows[:, 0] / 1000)


def test_a_window_is_told_once():
    windows = fed([sample(NOON)], until=NOON + HOUR)

    assert told(windows)
    assert told(windows) == {}


def test_a_day_hops_by_the_hour_and_is_made_of_its_panes():
    hours = [sample(NOON + hour * HOUR, first_id=hour) for hour in range(30)]
    windows = told(fed(hours, until=NOON + 30 * HOUR))

    days = {start: window for (scale, start), window in windows.items() if scale == "24h"}
    assert sorted(days) == [NOON + hour * HOUR for hour in range(-23, 7)]
    assert ids(days[NOON]) == list(range(24))
    assert ids(days[NOON + 6 * HOUR]) == list(range(6, 30))
    assert days[NOON].counts.scored == 24 * 20
    assert days[NOON].end == NOON + DAY


def test_a_day_holds_a_larger_sample_than_its_panes():
    small = replace(PANE, capacity=50), replace(TODAY, capacity=400)
    busy = [sample(*[NOON + pane * 10 * MINUTE] * 100, first_id=100 * pane) for pane in range(20)]
    windows = told(fed(busy, until=NOON + DAY, scales=small))

    assert len(windows["10m", NOON].sketch) == 50
    assert 200 < len(windows["24h", NOON].sketch) <= 400


def test_models_and_variants_are_watched_apart():
    canary = replace(CHAMPION, version="8", variant="canary")
    windows = fed([sample(NOON), sample(NOON, watched=canary, first_id=1)], until=NOON + 10 * MINUTE)

    assert [(each.watched, ids(each)) for each in windows.due(now=0)] == [(CHAMPION, [0]), (canary, [1])]


def test_any_order_and_repetition_of_events_gives_the_same_bytes_and_the_same_counts_by_minute():
    shuffler = random.Random(8)
    samples = [
        sample(*(NOON + shuffler.randrange(3 * HOUR) for _ in range(40)), first_id=40 * number) for number in range(50)
    ]
    uncounted = [replace(each, minutes=()) for each in shuffler.sample(samples, 20)]
    shuffled = shuffler.sample([*samples, *uncounted], 70)
    small = replace(PANE, capacity=60), replace(TODAY, capacity=200)

    one, other = (told(fed(order, until=NOON + 2 * DAY, scales=small)) for order in (samples, shuffled))
    assert one.keys() == other.keys()
    for key, window in one.items():
        assert bytes_of(window.sketch) == bytes_of(other[key].sketch)
        assert window.counts == other[key].counts


def test_what_comes_late_revises_the_windows_that_it_belongs_to_and_is_counted():
    windows = fed([sample(NOON)], until=NOON + 59 * MINUTE)
    before = told(windows)
    windows.add(sample(NOON + MINUTE, first_id=1), now=0)
    after = told(windows)

    assert ids(before["10m", NOON]) == [0]
    assert after.keys() == {("10m", NOON)}
    assert ids(after["10m", NOON]) == [0, 1]
    assert after["10m", NOON].counts.scored == 40
    assert (windows.untimely.revising, windows.untimely.late) == (1, 0)


def test_what_comes_after_the_allowed_lateness_is_in_no_window_and_is_counted():
    windows = fed([sample(NOON)], until=NOON + 10 * MINUTE + TIMING.lateness)
    told(windows)
    windows.add(sample(NOON + MINUTE, first_id=1), now=0)

    assert told(windows) == {}
    assert (windows.untimely.revising, windows.untimely.late) == (0, 1)


def test_an_event_from_the_future_of_its_worker_is_in_no_window_and_is_counted():
    ahead = sample(NOON, NOON + 2 * MINUTE, NOON + DAY, sampled_at=NOON)
    windows = fed([ahead], until=NOON + 3 * DAY, scales=(PANE,))
    found = told(windows)

    assert found.keys() == {("10m", NOON)}
    assert ids(found["10m", NOON]) == [0]
    assert found["10m", NOON].counts.scored == 20
    assert windows.untimely.future == 2


def test_a_successor_tells_every_window_that_could_still_change_and_none_in_part():
    hours = [sample(NOON + hour * HOUR, first_id=hour) for hour in range(60)]
    first = fed(hours, until=NOON + 60 * HOUR)
    everything = told(first)
    since = first.rebuild_from(now=0)

    reread = [each for each in hours if each.event_times[0] >= since]
    again = told(fed(reread, until=NOON + 60 * HOUR, since=since))

    changeable = {key for key, window in everything.items() if window.end + TIMING.lateness > NOON + 60 * HOUR}
    assert changeable <= again.keys()
    assert len(reread) < len(hours)
    for key, window in again.items():
        assert bytes_of(window.sketch) == bytes_of(everything[key].sketch)


def test_panes_that_no_window_needs_are_forgotten():
    windows = fed([sample(NOON + hour * HOUR, first_id=hour) for hour in range(60)], until=NOON + 60 * HOUR)
    list(windows.due(now=0))

    assert min(start for start, _ in windows._panes) >= NOON + 60 * HOUR - TIMING.lateness - DAY


def test_a_window_that_was_not_taken_is_told_again():
    """The reader may fail between two windows, and goes on with the one that it failed on."""
    windows = fed([sample(NOON), sample(NOON + 10 * MINUTE, first_id=1)], until=NOON + 59 * MINUTE)
    reading = windows.due(now=0)
    first = next(reading)
    reading.close()

    assert [window.start for window in windows.due(now=0)] == [first.start, NOON + 10 * MINUTE]


def test_a_worker_that_samples_less_sets_the_limit_for_its_pane():
    half = np.uint64(2**63)
    full = sample(*[NOON] * 100)
    sparse = replace(sample(*[NOON] * 100, first_id=100), limit=half)
    below = sparse.hashes < half
    columns = {name: getattr(sparse, name)[below] for name in ("hashes", "units", "event_times", "rows", "scores")}
    windows = told(fed([full, replace(sparse, **columns)], until=NOON + HOUR))

    hashes = windows["10m", NOON].sketch.hashes
    assert hashes.max() < half
    assert len(hashes) == (full.hashes < half).sum() + below.sum()


def test_a_sample_with_columns_of_different_lengths_or_other_features_is_refused():
    windows = Windows(timing=TIMING)
    windows.add(sample(NOON), now=0)

    with pytest.raises(InvalidRecordError, match="different lengths"):
        windows.add(replace(sample(NOON), scores=np.zeros(2, np.float32)), now=0)
    with pytest.raises(InvalidRecordError, match="other features"):
        windows.add(sample(NOON, features=("V1",)), now=0)


def test_the_volume_of_a_window_is_that_of_all_models_and_variants_and_dead_letters_too():
    canary = replace(CHAMPION, version="8", variant="canary")
    counts = Counts(scored=5, dead_lettered=2)
    windows = fed([sample(NOON), sample(NOON, watched=canary, first_id=1, counts=counts)], until=NOON + 10 * MINUTE)

    assert [(window.watched, window.volume) for window in windows.due(now=0)] == [(CHAMPION, 27), (canary, 27)]


def test_what_comes_late_for_one_variant_revises_the_volume_of_the_others():
    canary = replace(CHAMPION, version="8", variant="canary")
    windows = fed([sample(NOON), sample(NOON + 20 * MINUTE, watched=canary, first_id=1)], until=NOON + 59 * MINUTE)
    told(windows)
    windows.add(sample(NOON, watched=canary, first_id=2), now=0)

    assert [(each.start, each.watched, each.volume) for each in windows.due(now=0)] == [
        (NOON, CHAMPION, 40),
        (NOON, canary, 40),
    ]


def test_windows_of_other_lengths_have_other_names_and_are_made_of_their_own_panes():
    hours = [sample(NOON + hour * HOUR, first_id=hour) for hour in range(9)]
    windows = told(fed(hours, until=NOON + 9 * HOUR, scales=scales_of(15 * MINUTE, 6 * HOUR, 3 * HOUR)))

    assert {scale for scale, _ in windows} == {"15m", "6h"}
    assert sorted(start for scale, start in windows if scale == "6h") == [NOON + hour * HOUR for hour in (-3, 0, 3)]
    assert ids(windows["6h", NOON]) == list(range(6))
    assert windows["15m", NOON].end == NOON + 15 * MINUTE


@pytest.mark.parametrize("later", [(5, 24 * 60, 60), (60, 24 * 60, 60), (20, 36 * 60, 180), (10, 6 * 60, 30)])
def test_a_successor_with_windows_of_other_lengths_tells_its_own_and_none_in_part(later):
    spread = [sample(NOON + at * 7 * MINUTE, first_id=at) for at in range(600)]
    now, until = NOON + 60 * HOUR, NOON + 70 * HOUR
    first = fed([each for each in spread if each.event_times[0] < now], until=now)
    told(first)
    since, scales = first.rebuild_from(now=0), scales_of(*(minutes * MINUTE for minutes in later))

    reread = [each for each in spread if each.event_times[0] >= since]
    taken_over = told(fed(reread, until=until, scales=scales, since=since))
    from_scratch = told(fed(spread, until=until, scales=scales))

    assert taken_over.keys() == {key for key in from_scratch if key[1] >= since}
    assert taken_over
    for key, window in taken_over.items():
        assert bytes_of(window.sketch) == bytes_of(from_scratch[key].sketch)
        assert (window.counts, window.volume) == (from_scratch[key].counts, from_scratch[key].volume)


def test_lengths_that_do_not_fit_each_other_are_a_configuration_error():
    with pytest.raises(ConfigurationError, match="multiples"):
        Windows(scales=(PANE, Scale("odd", 25 * MINUTE, 25 * MINUTE, 1_000, 100, 0.05)))


def test_the_watermark_is_the_slowest_partition_less_the_disorder():
    watermark = Watermark(disorder=MINUTE, idle_after=MINUTE, silent_after=HOUR)
    watermark.watch(0, now=0)
    watermark.watch(1, now=0)
    watermark.saw(0, NOON, now=0)
    assert watermark.at(now=0) is None

    watermark.saw(1, NOON - HOUR, now=0)
    assert watermark.at(now=0) == NOON - HOUR - MINUTE


def test_the_watermark_never_goes_back():
    watermark = Watermark(disorder=0, idle_after=MINUTE, silent_after=HOUR)
    watermark.saw(0, NOON, now=0)
    watermark.at(now=0)
    watermark.saw(0, NOON - HOUR, now=0)
    watermark.saw(1, NOON - HOUR, now=0)

    assert watermark.at(now=0) == NOON


def test_a_partition_that_was_read_to_its_end_and_stays_silent_is_not_waited_for():
    watermark = Watermark(disorder=0, idle_after=MINUTE, silent_after=HOUR)
    for partition in (0, 1):
        watermark.watch(partition, now=0)
    watermark.saw(0, NOON, now=0)
    assert watermark.at(now=10 * MINUTE) is None  # not read to its end: it is only slow

    watermark.ended(1)
    assert watermark.at(now=MINUTE - 1) is None
    assert watermark.at(now=MINUTE) == NOON


def test_a_partition_that_wakes_up_is_waited_for_again():
    watermark = Watermark(disorder=0, idle_after=MINUTE, silent_after=HOUR)
    watermark.watch(0, now=0)
    watermark.watch(1, now=0)
    watermark.ended(1)
    watermark.saw(0, NOON, now=0)
    watermark.at(now=MINUTE)
    watermark.saw(1, NOON + HOUR, now=MINUTE)
    watermark.saw(0, NOON + 2 * HOUR, now=MINUTE)

    # However long that takes, its end has not been seen again.
    assert watermark.at(now=10 * MINUTE) == NOON + HOUR


def test_a_partition_that_is_silent_while_others_are_written_to_is_not_waited_for_even_before_all_is_read():
    watermark = Watermark(disorder=0, idle_after=MINUTE, silent_after=HOUR)
    for partition in (0, 1, 2):
        watermark.watch(partition, now=0)
    for minute in range(100):
        watermark.written(DAY + minute * MINUTE)
        watermark.saw(0, NOON + minute * HOUR, now=0)
        if minute <= 30:
            watermark.saw(1, NOON + minute * HOUR, now=0)
        if minute == 59:
            assert watermark.at(now=0) is None
        if minute == 60:
            assert watermark.at(now=0) == NOON + 30 * HOUR, "without the one that was never heard"
    assert watermark.at(now=0) == NOON + 99 * HOUR, "nor for the one that fell silent"

    watermark.saw(2, NOON + 100 * HOUR, now=0)
    watermark.saw(0, NOON + 110 * HOUR, now=0)
    assert watermark.at(now=0) == NOON + 100 * HOUR, "heard at last, it is waited for"


def test_while_nobody_writes_no_partition_is_taken_for_silent():
    """After an outage the partitions are caught up with one by one: the first one must not overtake the rest."""
    watermark = Watermark(disorder=0, idle_after=MINUTE, silent_after=HOUR)
    for partition in (0, 1):
        watermark.watch(partition, now=0)
    watermark.written(0)
    watermark.written(DAY)
    watermark.saw(0, NOON, now=0)

    assert watermark.at(now=0) is None


def test_when_all_partitions_are_idle_the_watermark_stands_still():
    watermark = Watermark(disorder=0, idle_after=MINUTE, silent_after=HOUR)
    watermark.saw(0, NOON, now=0)
    watermark.at(now=0)
    watermark.ended(0)

    assert watermark.at(now=DAY) == NOON


def test_a_partition_that_somebody_else_reads_is_not_waited_for():
    watermark = Watermark(disorder=0, idle_after=MINUTE, silent_after=HOUR)
    watermark.watch(0, now=0)
    watermark.watch(1, now=0)
    watermark.saw(0, NOON, now=0)
    watermark.forget(1)

    assert watermark.at(now=0) == NOON
