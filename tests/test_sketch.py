"""A sketch holds the same events in whatever order, how often and in how many parts they come."""

import hashlib

import numpy as np
from drift_traffic import bytes_of
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from drift.sketch import NO_LIMIT, Sketch, merge

WIDTH = 2
GOLDEN = "c44a9a39e0d401a5"

# Few different hashes and values, so that the same hash comes again, with the same row and with another one.
EVENTS = st.lists(
    st.tuples(
        st.integers(0, 40),
        st.integers(0, 2),
        st.tuples(*[st.sampled_from([0.0, -0.0, 1.5, np.nan, np.inf])] * WIDTH),
    ),
    max_size=60,
)


def sketch(events, capacity, parts=1):
    made = Sketch(capacity, WIDTH)
    step = max(1, len(events) // parts)
    for at in range(0, len(events), step):
        hashes, units, rows = zip(*events[at : at + step], strict=True)
        made.add(np.array(hashes, np.uint64), np.array(units, np.uint64), np.array(rows, np.float32))
    return made


def slow(events, capacity):
    """(hash, unit, row bytes) that a dictionary keeps, and the limit below which nothing is missing."""
    kept = {}
    for key, unit, row in events:
        value = (unit, np.array(row, np.float32).tobytes())
        kept[key] = min(kept.get(key, value), value)
    ordered = sorted(kept)
    limit = ordered[capacity] if len(ordered) > capacity else int(NO_LIMIT)
    return [(key, *kept[key]) for key in ordered[:capacity]], limit


def held(made):
    rows = zip(made.hashes.tolist(), made.units.tolist(), made.rows, strict=True)
    return [(key, unit, row.tobytes()) for key, unit, row in rows], int(made.limit)


def uniform(rng, count):
    return rng.integers(0, int(NO_LIMIT), count, dtype=np.uint64)


@given(EVENTS, st.integers(1, 12), st.integers(1, 5))
def test_a_sketch_holds_what_a_sorted_dictionary_would(events, capacity, parts):
    assert held(sketch(events, capacity, parts)) == slow(events, capacity)


@given(EVENTS, st.randoms(use_true_random=False), st.integers(1, 12))
def test_order_and_repetition_leave_no_trace_in_the_bytes(events, random, capacity):
    again = [*events, *random.sample(events, len(events) // 2)]
    random.shuffle(again)

    assert bytes_of(sketch(again, capacity, parts=4)) == bytes_of(sketch(events, capacity))


@given(EVENTS, EVENTS, EVENTS, st.integers(1, 12))
def test_merging_is_commutative_associative_and_idempotent(one, two, three, capacity):
    a, b, c = (sketch(events, capacity) for events in (one, two, three))
    whole = bytes_of(merge([a, b, c], capacity))

    assert bytes_of(merge([c, a, b], capacity)) == whole
    assert bytes_of(merge([merge([a, b], capacity), c], capacity)) == whole
    assert bytes_of(merge([a, merge([b, c], capacity)], capacity)) == whole
    assert bytes_of(merge([merge([a, b, c], capacity), a, c], capacity)) == whole
    assert bytes_of(sketch([*one, *two, *three], capacity)) == whole


@given(EVENTS, EVENTS, st.integers(1, 6))
def test_a_merged_sketch_holds_every_event_below_its_limit_and_has_room_for_more_than_its_parts(one, two, capacity):
    merged, limit = held(merge([sketch(one, capacity), sketch(two, capacity)], 3 * capacity))

    everything, _ = slow([*one, *two], capacity=1_000)
    assert merged == [event for event in everything if event[0] < limit]
    assert len(merged) >= min(capacity, len(everything))


@given(EVENTS, EVENTS, st.integers(0, 41))
def test_lowering_the_limit_leaves_what_a_sampler_with_that_limit_would_have_sent(before, after, limit):
    lowered = sketch(before, capacity=100)
    lowered.lower(np.uint64(limit))
    for key, unit, row in after:
        lowered.add(np.array([key], np.uint64), np.array([unit], np.uint64), np.array([row], np.float32))

    kept, _ = slow([*before, *after], capacity=100)
    assert held(lowered) == ([event for event in kept if event[0] < limit], limit)


@given(EVENTS, st.integers(1, 12), st.integers(0, 41))
def test_lowering_the_limit_never_raises_it(events, capacity, limit):
    lowered = sketch(events, capacity)
    lowered.lower(np.uint64(limit))

    kept, was = slow(events, capacity)
    assert held(lowered) == ([event for event in kept if event[0] < limit], min(limit, was))


def test_golden_bytes_never_change():
    made = sketch([(7, 1, (1.5, np.nan)), (3, 2, (0.0, -2.0)), (9, 1, (4.0, 5.0))], capacity=2)

    assert hashlib.sha256(bytes_of(made)).hexdigest()[:16] == GOLDEN


def test_a_sketch_stays_within_its_capacity_and_is_compacted_only_when_it_has_doubled():
    rng = np.random.default_rng(1)
    made = Sketch(100, 1)
    for _ in range(50):
        made.add(uniform(rng, 30), uniform(rng, 30), np.zeros((30, 1), np.float32))
        assert made._waiting + len(made._hashes) < 100 + 100

    assert len(made) == 100


def test_a_sketch_of_a_skewed_stream_is_a_uniform_sample_of_it():
    rng = np.random.default_rng(2)
    values = rng.exponential(size=200_000).astype(np.float32)
    panes = [Sketch(1_000, 1) for _ in range(10)]
    # One pane has half of all events: a sample of as many rows from each would be anything but uniform.
    parts = np.split(np.sort(values), [2_000 * at for at in range(1, 9)] + [100_000])
    for pane, part in zip(panes, parts, strict=True):
        pane.add(uniform(rng, len(part)), uniform(rng, len(part)), part[:, None])

    sample = merge(panes, 5_000).rows[:, 0]

    assert 1_800 <= len(sample) <= 5_000
    assert stats.kstest(sample, "expon").pvalue > 0.01


def test_a_sketch_keeps_no_view_of_the_message_it_was_fed_from():
    message = np.arange(8, dtype=np.uint64)
    made = Sketch(10, 1)
    made.add(message[:4], message[:4], message[4:].view(np.float32)[:4, None])
    before = bytes_of(made)
    message[:] = 0

    assert bytes_of(made) == before
