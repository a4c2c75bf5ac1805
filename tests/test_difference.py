"""Two sets of decisions about the same records are compared record by record, whatever order they come in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.difference import QUANTILES, Differences, Scores
from consumer.ranges import Span

SPANS = (Span(0, 100, 200), Span(3, 0, 50))


def scores(*rows):
    """(partition, offset, score, outcome) each."""
    partition, offset, score, outcome = zip(*rows, strict=True) if rows else ((), (), (), ())
    return Scores(
        np.array(partition, np.int64),
        np.array(offset, np.int64),
        np.array(score, np.float64),
        np.array(outcome, np.uint8),
        [f"tx-{p}-{o}".encode() for p, o in zip(partition, offset, strict=True)],
    )


def test_flips_are_counted_by_what_was_and_what_is_decided():
    differences = Differences(SPANS, 10)
    differences.add_live(scores((0, 100, 0.1, 0), (0, 101, 0.5, 1), (3, 0, 0.9, 2), (3, 1, 0.2, 0)))
    differences.add_replayed(scores((3, 1, 0.2, 0), (3, 0, 0.4, 1), (0, 101, 0.95, 2), (0, 100, 0.1, 0)))

    found = differences.result()

    assert found.decisions == ((2, 0, 0), (0, 0, 1), (0, 1, 0))
    assert (found.compared, found.changed, found.only_live, found.only_replayed) == (4, 2, 0, 0)


def test_what_only_one_of_the_two_decided_is_counted_and_not_compared():
    differences = Differences(SPANS, 10)
    differences.add_live(scores((0, 100, 0.1, 0), (0, 199, 0.1, 0)))
    differences.add_replayed(scores((0, 100, 0.2, 0), (3, 49, 0.2, 0), (3, 48, 0.2, 0)))

    found = differences.result()

    assert (found.compared, found.only_live, found.only_replayed) == (1, 1, 2)
    assert differences.undecided_live == 2


def test_what_lies_outside_the_spans_is_left_out():
    differences = Differences(SPANS, 10)
    outside = ((0, 99, 0.9, 2), (0, 200, 0.9, 2), (1, 100, 0.9, 2), (3, 50, 0.9, 2))
    differences.add_live(scores((0, 100, 0.1, 0), *outside))
    differences.add_replayed(scores((0, 100, 0.3, 0), *outside))

    found = differences.result()

    assert (found.compared, found.only_live, found.only_replayed) == (1, 0, 0)
    assert found.quantiles == pytest.approx([0.2] * len(QUANTILES))


def test_the_largest_differences_are_named_in_order_and_equal_scores_are_none():
    differences = Differences(SPANS, 2)
    differences.add_live(scores(*((3, offset, 0.5, 1) for offset in range(5))))
    differences.add_replayed(scores((3, 0, 0.6, 1), (3, 1, 0.1, 0)))
    differences.add_replayed(scores((3, 2, 0.5, 1), (3, 3, 0.8, 2)))

    first, second = differences.result().largest

    assert (first.transaction_id, first.live, first.replayed, round(first.difference, 9)) == (
        "tx-3-1",
        "review",
        "approve",
        -0.4,
    )
    assert (second.partition, second.offset, round(second.difference, 9)) == (3, 3, 0.3)


def test_nothing_to_compare_has_no_quantiles():
    found = Differences(SPANS, 5).result()

    assert (found.compared, found.quantiles, found.largest, found.mean_absolute) == (0, (), (), 0.0)


decided = st.dictionaries(
    st.tuples(st.sampled_from([0, 3]), st.integers(90, 210)), st.tuples(st.floats(0, 1), st.integers(0, 2))
)


@given(live=decided, replayed=decided, cut=st.integers(0, 50))
def test_it_agrees_with_a_dictionary(live, replayed, cut):
    differences = Differences((Span(0, 100, 200), Span(3, 95, 205)), 3)
    differences.add_live(scores(*((*place, *what) for place, what in live.items())))
    rows = [(*place, *what) for place, what in replayed.items()]
    differences.add_replayed(scores(*rows[:cut]))
    differences.add_replayed(scores(*rows[cut:]))

    found = differences.result()

    inside = {(p, o) for p, o in live.keys() & replayed.keys() if (100 <= o < 200 if p == 0 else 95 <= o < 205)}
    expected = np.zeros((3, 3), int)
    for place in inside:
        expected[live[place][1], replayed[place][1]] += 1
    assert found.decisions == tuple(map(tuple, expected.tolist()))
    worst = sorted((abs(replayed[place][0] - live[place][0]) for place in inside), reverse=True)[:3]
    assert [abs(each.difference) for each in found.largest] == [size for size in worst if size > 0]
