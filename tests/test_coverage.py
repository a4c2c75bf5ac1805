"""Every record counts once, however the batches that tell of it are cut, repeated and ordered."""

from hypothesis import given
from hypothesis import strategies as st

from drift.coverage import Coverage, Stretch


def parts(coverage, first, end, key="p0", newest=0):
    return coverage.take(key, Stretch(first, end, newest))


def test_batches_that_tile_a_partition_are_new_and_leave_one_stretch():
    coverage = Coverage()

    assert [parts(coverage, first, first + 10) for first in (0, 20, 10)] == [[(0, 10)], [(20, 30)], [(10, 20)]]
    assert len(coverage) == 1


def test_of_a_batch_that_ends_elsewhere_the_second_time_only_the_rest_is_new():
    coverage = Coverage()

    assert parts(coverage, 0, 100) == [(0, 100)]
    assert parts(coverage, 0, 150) == [(100, 150)]
    assert parts(coverage, 50, 150) == []


def test_what_lies_between_and_around_known_stretches_is_new():
    coverage = Coverage()
    parts(coverage, 10, 20)
    parts(coverage, 30, 40)

    assert parts(coverage, 0, 50) == [(0, 10), (20, 30), (40, 50)]


def test_partitions_have_nothing_to_do_with_each_other():
    coverage = Coverage()
    parts(coverage, 0, 10, key="p0")

    assert parts(coverage, 0, 10, key="p1") == [(0, 10)]


def test_what_cannot_be_counted_any_more_is_forgotten():
    coverage = Coverage()
    parts(coverage, 0, 10, newest=1_000)
    parts(coverage, 20, 30, newest=2_000)

    coverage.forget(before=1_001)

    assert len(coverage) == 1
    assert parts(coverage, 20, 30) == []


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=30))
def test_each_offset_is_new_exactly_once(told):
    coverage, counted = Coverage(), set()
    for first, length in told:
        fresh = {offset for start, end in parts(coverage, first, first + length) for offset in range(start, end)}

        assert fresh == set(range(first, first + length)) - counted
        counted |= fresh
