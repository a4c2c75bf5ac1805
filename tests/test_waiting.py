"""The age of what waits is never told as less than it is, and as nothing where nothing waits."""

import pytest

from consumer.waiting import Waiting


@pytest.fixture
def waiting():
    return Waiting()


def test_nothing_waits_where_nothing_is_known(waiting):
    assert waiting.seconds(0, now=100.0) == 0


def test_what_waits_is_no_older_than_what_was_decided_before_it(waiting):
    waiting.decided(0, 40.0)
    waiting.behind(0, 7, now=100.0)

    assert waiting.seconds(0, now=101.0) == 61


def test_it_ages_while_nobody_tells_anything(waiting):
    waiting.decided(0, 40.0)
    waiting.behind(0, 7, now=100.0)

    assert waiting.seconds(0, now=500.0) == 460


def test_on_a_quiet_partition_a_new_record_is_not_taken_for_an_old_one(waiting):
    waiting.decided(0, 40.0)
    waiting.behind(0, 0, now=3600.0)
    waiting.behind(0, 1, now=3605.0)

    assert waiting.seconds(0, now=3606.0) == 6


def test_before_the_first_decision_it_counts_from_when_it_was_seen(waiting):
    waiting.behind(0, 5, now=100.0)
    waiting.behind(0, 9, now=105.0)

    assert waiting.seconds(0, now=106.0) == 6


def test_a_clock_behind_that_of_the_brokers_gives_no_negative_age(waiting):
    waiting.decided(0, 110.0)
    waiting.behind(0, 1, now=100.0)

    assert waiting.seconds(0, now=100.0) == 0


def test_partitions_do_not_know_of_each_other_and_are_forgotten_alone(waiting):
    for partition in (0, 1):
        waiting.decided(partition, 40.0)
        waiting.behind(partition, 1, now=100.0)

    waiting.forget(0)

    assert (waiting.seconds(0, now=100.0), waiting.seconds(1, now=100.0)) == (0, 60)
