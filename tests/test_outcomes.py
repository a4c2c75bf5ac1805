"""Decisions read back as columns are what was written, in each framing; what is no decision is told apart."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.assignments import Assignments
from consumer.dead_letters import source_of
from consumer.outcomes import Named, outcome_reader
from consumer.settings import WorkerSettings
from consumer.wire import decision_encoder
from models.routing import BUCKETS, Experiment, Variant, buckets_of
from schemas.columns import BytesColumn
from schemas.decision import Decisions, Lineage, ReasonCode

CHAMPION = Lineage("p1", 0.2, 0.8, "m", "1", bytes(32), "xgboost", "checkout", 3, "champion", "checkout-1", 0.6)
CHALLENGER = replace(CHAMPION, variant="challenger", probability=0.4)
SPLIT = Experiment(
    "checkout", 3, "checkout-1", (Variant("champion", ((0, 600_000),)), Variant("challenger", ((600_000, 1_000_000),)))
)
CARDS = [b"card-%d" % number for number in range(40)]


def column(values):
    length = np.array([len(value) for value in values], np.int64)
    return BytesColumn(np.frombuffer(b"".join(values) or b"?", np.uint8), np.cumsum(length) - length, length, None)


def decided(cards, **given):
    """Decisions of these cards, assigned as the split says, with reasons on every third and two shadows."""
    size, rows = len(cards), np.arange(len(cards))
    buckets = buckets_of(cards, SPLIT.seed)
    columns = {
        "topic": "transactions",
        "partition": (rows % 3).astype(np.int32),
        "offset": rows * 1000,
        "event_time": np.full(size, 1_380_000_000_000),
        "decided_at": 1_700_000_000_123,
        "score": np.linspace(0, 1, size),
        "outcome": np.zeros(size, np.uint8),
        "variant": SPLIT.variant_of(buckets),
        "bucket": buckets,
        "lineages": (CHAMPION, CHALLENGER),
        "reasons": {row: [ReasonCode("V1", 0.5)] * (row % 4) for row in range(0, size, 3)},
        "shadows": {"a": np.where(rows % 2, np.nan, 0.5), "b": np.full(size, 0.1)},
    }
    return Decisions(column([b"tx-%d" % row for row in range(size)]), column(cards), **columns | given)


@pytest.mark.parametrize("output_format", ["confluent", "single_object", "json"])
@pytest.mark.parametrize("replay", [None, "night"])
def test_decisions_read_back_as_they_were_written(output_format, replay):
    settings = WorkerSettings(output_format=output_format)
    copies = np.where(np.arange(40) % 5, -1, np.arange(40) * 7)
    written = decided(CARDS, replay=replay, duplicate_of=copies)

    read = outcome_reader(settings)(decision_encoder(settings)(written))

    assert read.readable.all()
    assert list(read.topic) == [b"transactions"] * 40
    assert list(read.replay) == [None if replay is None else b"night"] * 40
    assert np.array_equal(read.partition, written.partition)
    assert np.array_equal(read.offset, written.offset)
    assert np.array_equal(read.bucket, written.bucket)
    assert np.array_equal(read.duplicate_of, copies)
    assert read.transaction_id == [b"tx-%d" % row for row in range(40)]
    assert read.decided_at.tolist() == [1_700_000_000_123] * 40
    assert list(read.unit) == CARDS
    names = [b"challenger" if bucket >= 600_000 else b"champion" for bucket in written.bucket]
    assert list(read.named) == [Named(b"checkout", 3, b"checkout-1", name) for name in names]


NO_DECISIONS = [None, b"", b"\0", b"\0\0\0\0\7rest", b"{}", b'{"unit": 1}', b"\xff" * 40]


@pytest.mark.parametrize("output_format", ["confluent", "single_object", "json"])
def test_what_is_no_decision_is_not_readable_and_its_neighbours_are(output_format):
    settings = WorkerSettings(output_format=output_format)
    good = decision_encoder(settings)(decided(CARDS[:2]))
    read = outcome_reader(settings)

    assert not read(NO_DECISIONS).readable.any()
    assert not read([value[:-1] for value in good]).readable.any()
    assert read([good[0], *NO_DECISIONS, good[1]]).readable.tolist() == [True] + [False] * len(NO_DECISIONS) + [True]
    assert read([good[0], *NO_DECISIONS, good[1]]).offset[[0, -1]].tolist() == [0, 1000]


@given(values=st.lists(st.binary(max_size=60)))
@pytest.mark.parametrize("output_format", ["confluent", "single_object", "json"])
def test_no_bytes_break_the_reader(output_format, values):
    settings = WorkerSettings(output_format=output_format)
    head = {"confluent": b"\0\0\0\0\2", "single_object": b"", "json": b'{"unit": "'}[output_format]

    assert len(outcome_reader(settings)([*values, *(head + value for value in values)])) == 2 * len(values)


def test_decisions_that_follow_from_their_cards_and_their_rollout_are_right():
    read = outcome_reader(WorkerSettings())(decision_encoder(WorkerSettings())(decided(CARDS)))

    for split_of in (None, {3: SPLIT}.get):
        assert not Assignments(split_of).wrong(read.unit, read.bucket, read.named).any()


def test_a_bucket_that_is_not_that_of_the_card_is_wrong_by_itself():
    read = outcome_reader(WorkerSettings())(decision_encoder(WorkerSettings())(decided(CARDS)))
    read.bucket[[3, 7]] += 1
    read.bucket[9] = -1

    assert np.flatnonzero(Assignments().wrong(read.unit, read.bucket, read.named)).tolist() == [3, 7, 9]


def test_a_card_in_the_buckets_of_another_variant_is_wrong_where_the_rollout_is_known():
    read = outcome_reader(WorkerSettings())(decision_encoder(WorkerSettings())(decided(CARDS)))
    swapped = [each._replace(variant=b"champion") for each in read.named]
    theirs = np.flatnonzero(read.bucket >= 600_000)

    assert not Assignments().wrong(read.unit, read.bucket, swapped).any()
    assert len(theirs) > 5
    assert np.array_equal(np.flatnonzero(Assignments({3: SPLIT}.get).wrong(read.unit, read.bucket, swapped)), theirs)


@pytest.mark.parametrize(
    "change", [{"epoch": 4}, {"experiment": b"other"}, {"salt_id": b"checkout-2"}, {"variant": b"nobody"}]
)
def test_a_decision_that_names_what_its_rollout_does_not_say_is_wrong(change):
    each = Named(b"checkout", 3, b"checkout-1", b"champion")._replace(**change)
    bucket = buckets_of([b"card-1"], replace(SPLIT, salt_id=each.salt_id.decode()).seed)

    assert Assignments({3: SPLIT}.get).wrong([b"card-1"], bucket, [each]).tolist() == [True]
    assert Assignments().wrong([b"card-1"], bucket, [each]).tolist() == [False]


def test_a_transaction_without_a_card_belongs_to_the_control_and_to_no_bucket():
    last = Experiment("checkout", 3, "checkout-1", (Variant("rest", ((1, BUCKETS),)), Variant("first", ((0, 1),))))
    control, other = (Named(b"checkout", 3, b"checkout-1", name) for name in (b"rest", b"first"))
    units, buckets = [b"", b"", b"card-1", b""], np.array([-1, -1, -1, 5])

    wrong = Assignments({3: last}.get).wrong(units, buckets, [control, other, control, control])

    assert wrong.tolist() == [False, True, True, True]


def test_the_headers_of_a_dead_letter_say_where_its_record_stands():
    ours = [("trace", b"t"), *((f"__connect.errors.{name}", value) for name, value in PLACE)]

    assert source_of(ours) == ("transactions", 3, 1200)


PLACE = [("topic", b"transactions"), ("partition", b"3"), ("offset", b"1200")]


@pytest.mark.parametrize("spoilt", [0, 1, 2])
@pytest.mark.parametrize("value", [None, b"-1", b"x", b""])
def test_headers_that_are_not_ours_name_no_record(spoilt, value):
    headers = [(f"__connect.errors.{name}", value if at == spoilt else good) for at, (name, good) in enumerate(PLACE)]

    if spoilt == 0 and value is not None:
        headers.pop(0)
    assert source_of(headers) is None
