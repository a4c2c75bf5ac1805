"""A sample holds the same events however they were batched, and its counts name every record of the batch once."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_decide import BOUNDS, NOW, UNIT_OPTIONAL, rollout, run, transactions

from consumer import sampling
from consumer.sampling import Batch, sample
from models.routing import SAMPLING_SALT_ID, seed_of
from models.xxh64 import hashes_of
from schemas import feature_sample
from schemas.columns import Reason
from schemas.decision import Outcome
from schemas.errors import InvalidRecordError
from schemas.feature_sample import DEAD_LETTER, MINUTE_MS

GOLDEN_EVENTS = [0, 18, 22, 26, 59, 61, 82]
PAYLOAD = b"\0\0\0\0\7..."


def batch(columns, over=None, partitions=None, first_offset=0, bounds=BOUNDS):
    over = over or rollout()
    n = len(columns.reason)
    verdict = run(columns, over, bounds=bounds)
    partitions = np.zeros(n, np.int32) if partitions is None else np.array(partitions, np.int32)
    offsets = np.empty(n, np.int64)
    for partition in np.unique(partitions):
        offsets[partitions == partition] = np.arange(first_offset, first_offset + (partitions == partition).sum())
    return Batch([PAYLOAD] * n, partitions, offsets, columns, verdict, over, NOW - 10 * MINUTE_MS)


def events(numbers, **columns):
    ids = [b"tx-%06d" % number for number in numbers]
    return transactions([number / 1e6 for number in numbers], transaction_id=ids, **columns)


def hashes(made):
    return np.sort(np.concatenate([arm.hashes for arm in made.arms]))


def counted(made):
    """(partition, offset) of every record with what it was counted as: (minute, arm, outcome)."""
    places = [
        (run["partition"].item(), run["first"].item() + step) for run in made.runs for step in range(run["length"])
    ]
    return dict(zip(places, (made.cells[cell].item() for cell in made.records), strict=True))


def test_which_events_are_sampled_never_changes():
    (arm,) = sample(batch(events(range(100))), rate=0.05).arms

    assert np.rint(arm.rows[:, 0] * 1e6).tolist() == GOLDEN_EVENTS


def test_about_as_many_are_sampled_as_the_rate_says():
    for rate in (0.01, 0.05, 0.5):
        made = sample(batch(events(range(10_000))), rate)

        deviation = np.sqrt(10_000 * rate * (1 - rate))
        assert abs(len(hashes(made)) - 10_000 * rate) < 4 * deviation
    assert len(hashes(sample(batch(events(range(100))), rate=1.0))) == 100


@given(cuts=st.sets(st.integers(1, 399), max_size=8), seed=st.integers(0, 99))
def test_the_same_events_are_sampled_in_any_batches_and_any_order(cuts, seed):
    whole = sample(batch(events(range(400))), rate=0.3)
    shuffled = np.random.default_rng(seed).permutation(400)

    parts = [sample(batch(events(part)), rate=0.3) for part in np.split(shuffled, sorted(cuts))]

    assert np.sort(np.concatenate([hashes(part) for part in parts])).tolist() == hashes(whole).tolist()


def test_a_sampled_row_is_what_the_model_saw_and_made_of_it():
    made = sample(batch(transactions([0.95, None, 0.1], amount=[1.5, 2.5, float("inf")])), rate=1.0)

    (arm,) = made.arms
    assert (arm.model_name, arm.model_version, arm.variant, arm.epoch) == ("m", "v0", "champion", 1)
    assert arm.features == ("V1", "amount")
    assert np.array_equal(arm.rows, np.float32([[0.95, 1.5], [np.nan, 2.5]]), equal_nan=True)
    assert arm.scores.tolist() == np.float32([0.95, 0.0]).tolist()
    assert arm.outcomes.tolist() == [Outcome.DECLINE, Outcome.APPROVE]
    assert arm.hashes.tolist() == hashes_of([b"tx-0", b"tx-1"], seed_of(SAMPLING_SALT_ID)).tolist()
    assert arm.units.tolist() == hashes_of([b"card-0", b"card-1"], seed_of(SAMPLING_SALT_ID)).tolist()
    assert arm.event_times.tolist() == [NOW, NOW]
    assert arm.schemas.tolist() == [7]


def test_a_canary_has_its_own_share_of_the_sample():
    made = sample(batch(events(range(20_000)), rollout(challenger_share=0.05)), rate=0.05)

    champion, canary = (len(arm.hashes) for arm in made.arms)
    assert 25 < canary < 75
    assert champion > 800


def test_what_has_no_card_is_sampled_and_counted_as_the_control_s():
    over = rollout(challenger_share=0.5)
    given = batch(transactions([0.6] * 20, card_id=[None] * 20), over, bounds=UNIT_OPTIONAL)

    made = sample(given, rate=1.0)

    assert [len(arm.hashes) for arm in made.arms] == [20, 0]
    assert set(counted(made).values()) == {(NOW // MINUTE_MS, 0, Outcome.REVIEW)}


@given(
    rows=st.lists(
        st.tuples(
            st.sampled_from([0.1, 0.6, 0.95, float("nan")]),
            st.integers(0, 3),
            st.integers(-3, 0),
            st.sampled_from([0, 0, int(Reason.TRUNCATED)]),
        ),
        min_size=1,
        max_size=40,
    )
)
def test_every_record_is_counted_as_what_it_became(rows):
    scores, partitions, minutes, reasons = zip(*rows, strict=True)
    times = [NOW + minute * MINUTE_MS for minute in minutes]
    over = rollout(challenger_share=0.5)
    given = batch(transactions(scores, event_time=times, reason=reasons), over, partitions, first_offset=50)

    made = sample(given, rate=0.05)

    decisions, places = given.verdict.decisions, list(zip(given.partitions, given.offsets, strict=True))
    last = decisions.event_time[-1] if len(decisions) else given.broker_time
    expected = dict.fromkeys(places, (last // MINUTE_MS, DEAD_LETTER, 0))
    for position, row in enumerate(given.verdict.decided):
        minute = decisions.event_time[position] // MINUTE_MS
        expected[places[row]] = (minute, decisions.variant[position], decisions.outcome[position])
    assert counted(made) == expected


def test_a_gap_between_offsets_parts_the_runs():
    given = batch(events(range(5)))
    given.offsets[:] = [7, 8, 11, 12, 13]

    made = sample(given, rate=0.05)

    assert made.runs.tolist() == [(0, 7, 2), (0, 11, 3)]


def test_a_record_takes_no_more_rows_than_brokers_allow_and_says_where_it_stops(monkeypatch):
    monkeypatch.setattr(sampling, "MOST_BYTES", 3700)
    given = batch(events(range(1000)))

    made = sample(given, rate=0.5)

    everything = np.sort(hashes_of([b"tx-%06d" % number for number in range(1000)], seed_of(SAMPLING_SALT_ID)))
    assert len(hashes(made)) == 100
    assert hashes(made).tolist() == everything[:100].tolist()
    assert made.threshold == everything[99]


@pytest.mark.parametrize("minutes", [1, 300, 70_000], ids=["one byte", "two bytes", "four bytes"])
def test_a_sample_comes_back_from_its_bytes(minutes):
    times = [NOW - number % minutes * MINUTE_MS for number in range(minutes + 10)]
    made = sample(batch(events(range(len(times)), event_time=times), rollout(challenger_share=0.5)), rate=0.01)

    back = feature_sample.decode(feature_sample.encode(made))

    assert counted(back) == counted(made)
    for name in ("sampled_at", "topic", "salt", "threshold"):
        assert getattr(back, name) == getattr(made, name)
    for one, other in zip(back.arms, made.arms, strict=True):
        for name in feature_sample.SampledArm.__slots__:
            assert np.array_equal(getattr(one, name), getattr(other, name)), name


@pytest.mark.parametrize(
    "spoil", [lambda _: None, lambda b: b"{}", lambda b: b[:-9], lambda b: b[:40] + b"\xff" + b[41:]]
)
def test_bytes_that_are_no_sample_are_refused(spoil):
    value = feature_sample.encode(sample(batch(events(range(50))), rate=0.5))

    with pytest.raises(InvalidRecordError):
        feature_sample.decode(spoil(value))


def test_counts_that_contradict_each_other_are_refused():
    made = sample(batch(events(range(50))), rate=0.5)
    made.runs["length"] += 1

    with pytest.raises(InvalidRecordError, match="contradict each other"):
        feature_sample.decode(feature_sample.encode(made))


def test_a_batch_with_no_decision_counts_its_dead_letters_by_the_time_of_the_broker():
    made = sample(batch(transactions([0.1, 0.2], reason=[1, 2])), rate=1.0)

    assert set(counted(made).values()) == {(NOW // MINUTE_MS - 10, DEAD_LETTER, 0)}
    assert len(hashes(made)) == 0
