"""A range of a topic, as a person writes it, becomes offsets: half open, within what is there, never silently less."""

from datetime import UTC, datetime

import pytest

from consumer.ranges import Extreme, Moment, Offset, Offsets, Span, parse_point, resolve
from schemas.errors import FraudstreamError

NOW = 1_800_000_000_000
LIMITS = {0: (100, 1000), 1: (0, 50), 2: (7, 7)}


def at(_milliseconds):
    return {0: 400}


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("beginning", Extreme.BEGINNING),
        ("end", Extreme.END),
        ("0", Offset(0)),
        ("0:1500,3:20", Offsets({0: 1500, 3: 20})),
        ("2:7", Offsets({2: 7})),
        ("-90m", Moment(NOW - 5_400_000)),
        ("-2d", Moment(NOW - 172_800_000)),
        ("2026-01-31T12:00Z", Moment(int(datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp() * 1000))),
        ("2026-01-31T13:00+01:00", Moment(int(datetime(2026, 1, 31, 12, tzinfo=UTC).timestamp() * 1000))),
    ],
)
def test_a_point_is_read_as_it_is_written(text, point):
    assert parse_point(text, NOW) == point


def test_a_time_without_a_zone_is_local():
    local = datetime(2026, 1, 31, 12).astimezone()

    assert parse_point("2026-01-31T12:00", NOW) == Moment(int(local.timestamp() * 1000))


@pytest.mark.parametrize("text", ["", "soon", "-5", "-5w", "0:1,", "0:1,0:2", "1:-1", "٣", "1.5"])
def test_what_is_no_point_is_refused(text):
    with pytest.raises(ValueError, match=r"no point of a topic|names a partition twice"):
        parse_point(text, NOW)


def test_the_whole_topic_is_from_its_beginning_to_its_end():
    spans = resolve("t", Extreme.BEGINNING, Extreme.END, LIMITS, at)

    assert spans == [Span(0, 100, 1000), Span(1, 0, 50), Span(2, 7, 7)]
    assert [len(span) for span in spans] == [900, 50, 0]


def test_only_the_partitions_that_both_points_allow_are_in_the_range():
    spans = resolve("t", Offsets({0: 200, 1: 10}), Offsets({0: 300, 2: 7}), LIMITS, at)

    assert spans == [Span(0, 200, 300)]
    assert resolve("t", Offset(50), Offsets({1: 50}), LIMITS, at) == [Span(1, 50, 50)]


def test_a_range_ends_where_the_topic_ends_now():
    assert resolve("t", Offset(200), Offset(10**9), {0: (100, 1000)}, at) == [Span(0, 200, 1000)]


def test_a_range_turned_around_is_empty():
    assert resolve("t", Offset(300), Offset(200), {0: (100, 1000)}, at) == [Span(0, 300, 300)]


def test_a_time_after_the_last_record_is_the_end_and_one_before_the_first_the_beginning():
    later = resolve("t", Moment(NOW), Extreme.END, LIMITS, at)
    earlier = resolve("t", Moment(NOW), Extreme.END, LIMITS, lambda _milliseconds: {0: 5, 1: 0, 2: 7})

    assert later == [Span(0, 400, 1000), Span(1, 50, 50), Span(2, 7, 7)]
    assert earlier == [Span(0, 100, 1000), Span(1, 0, 50), Span(2, 7, 7)]


@pytest.mark.parametrize("point", [Offset(99), Offsets({0: 99})])
def test_an_offset_that_is_no_longer_there_is_named_and_not_skipped(point):
    with pytest.raises(FraudstreamError, match=r"offset 99 of partition 0 of topic t is no longer there.* 100"):
        resolve("t", point, Extreme.END, {0: (100, 1000)}, at)


def test_a_partition_that_the_topic_does_not_have_is_named():
    with pytest.raises(FraudstreamError, match="topic t has no partition 9"):
        resolve("t", Offsets({9: 0}), Extreme.END, LIMITS, at)
