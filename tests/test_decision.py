"""Every decision that is written reads back, with plain fastavro, as the record that it should be."""

import io
import json
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import fastavro
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.columns import BytesColumn
from schemas.decision import (
    Decisions,
    Invocation,
    Lineage,
    Outcome,
    ReasonCode,
    decision_id,
    encode,
    encode_json,
    place_of,
    to_records,
)
from schemas.load import load

SCHEMA = fastavro.parse_schema(json.loads((Path(__file__).parents[1] / "schemas" / "decision.avsc").read_text()))


GOLDEN_ID = "08108731-0856-8559-8000-c0000001e240"

CHAMPION = Lineage(
    policy_version="p1",
    review_at=0.2,
    decline_at=0.8,
    model_name="creditcard",
    model_version="v1",
    model_sha256=bytes(range(32)),
    backend="xgboost",
    experiment_id="checkout",
    epoch=3,
    variant="champion",
    salt_id="checkout-1",
    probability=0.95,
)
CHALLENGER = replace(CHAMPION, variant="challenger", model_version="v2-longer", probability=0.05, epoch=-1)


def column(values):
    sizes = np.array([len(value) for value in values], np.int64)
    data = np.frombuffer(b"?" + b"".join(values), np.uint8)
    return BytesColumn(data, np.cumsum(sizes) - sizes + 1, sizes, None)


def decisions(ids, units=None, **columns):
    n = len(ids)
    given = {
        "partition": np.zeros(n, np.int32),
        "offset": np.arange(n, dtype=np.int64),
        "event_time": np.full(n, 1_700_000_000_000, np.int64),
        "score": np.linspace(0, 1, n),
        "outcome": np.arange(n, dtype=np.uint8) % 3,
        "variant": np.zeros(n, np.uint8),
        "bucket": np.arange(n, dtype=np.int64),
        "lineages": (CHAMPION, CHALLENGER),
        "reasons": {},
        "decided_at": 1_700_000_000_500,
        "topic": "transactions",
    } | columns
    return Decisions(transaction_id=column(ids), unit=column(units or ids), **given)


def read(value, prefix=b""):
    stream = io.BytesIO(value.removeprefix(prefix))
    record = fastavro.schemaless_reader(stream, SCHEMA, None)
    assert stream.read() == b""
    return record


def comparable(record):
    """The record as ``to_records`` writes it."""
    return record | {
        "decision_id": str(UUID(bytes=record["decision_id"])),
        "event_time": round(record["event_time"].timestamp() * 1000),
        "decided_at": round(record["decided_at"].timestamp() * 1000),
        "duplicate_of": record["duplicate_of"] and str(UUID(bytes=record["duplicate_of"])),
        "model": record["model"] | {"sha256": record["model"]["sha256"].hex()},
    }


def assert_round_trip(batch, prefix=b""):
    values = encode(batch, prefix)
    assert all(value.startswith(prefix) for value in values)
    assert [comparable(read(value, prefix)) for value in values] == to_records(batch)
    assert [json.loads(value) for value in encode_json(batch)] == to_records(batch)


def test_a_batch_of_one_layout_reads_back():
    assert_round_trip(decisions([b"tx-%04d" % number for number in range(50)]), prefix=b"\0\0\0\0\2")


def test_an_empty_batch_is_no_values():
    assert encode(decisions([]), b"") == []


def test_rows_of_many_layouts_keep_their_order():
    ids = [b"x" * (number % 7 + 1) for number in range(300)]
    batch = decisions(
        ids,
        [b"card-%d" % (number**3) for number in range(300)],
        variant=np.arange(300).astype(np.uint8) % 2,
        partition=np.arange(300).astype(np.int32),
        offset=np.arange(300, dtype=np.int64) ** 5,
        bucket=np.arange(300, dtype=np.int64) * 3333,
        event_time=np.arange(300, dtype=np.int64) * 10_000_000_000,
    )

    assert_round_trip(batch)


def test_reason_codes_stand_on_the_rows_that_have_them():
    codes = [ReasonCode("V14", 2.5), ReasonCode("amount", 0.125)]
    batch = decisions([b"a", b"bb", b"c"], reasons={1: codes, 2: []})

    records = to_records(batch)

    assert [len(record["reason_codes"]) for record in records] == [0, 2, 0]
    assert records[1]["reason_codes"][0] == {"feature": "V14", "contribution": 2.5}
    assert_round_trip(batch)


def test_each_row_bears_the_shadows_that_scored_it():
    nan = np.nan
    shadows = {"next": np.array([0.25, nan, 0.75, nan]), "after": np.array([0.5, 0.125, nan, nan])}
    batch = decisions([b"a", b"b", b"c", b"d"], shadows=shadows)

    records = to_records(batch)

    assert [[(s["variant"], s["score"]) for s in record["shadow"]] for record in records] == [
        [("next", 0.25), ("after", 0.5)],
        [("after", 0.125)],
        [("next", 0.75)],
        [],
    ]
    assert_round_trip(batch)


def test_decisions_of_another_model_than_the_assigned_one_say_why():
    stand_in = replace(CHAMPION, fallback_reason="challenger: card-fraud@2 does not load")
    batch = decisions([b"a", b"b"], variant=np.array([0, 1], np.uint8), lineages=(CHAMPION, stand_in))

    assert [record["degraded"] for record in to_records(batch)] == [False, True]
    assert to_records(batch)[1]["fallback_reason"] == "challenger: card-fraud@2 does not load"
    assert_round_trip(batch)


def test_a_duplicate_names_the_decision_that_counts():
    offsets = np.array([-1, -1, 0, 2**40])
    batch = decisions([b"a", b"b", b"a", b"c"], partition=np.array([3, 3, 3, 5], np.int32), duplicate_of=offsets)

    named = [record["duplicate_of"] for record in to_records(batch)]

    first, far = decision_id("transactions", 3, 0), decision_id("transactions", 5, 2**40)
    assert named == [None, None, str(first), str(far)]
    assert_round_trip(batch)


def test_a_replay_is_named_and_has_ids_of_its_own():
    live, replayed = decisions([b"a"]), decisions([b"a"], replay="backfill-1")

    assert to_records(replayed)[0]["replay"] == "backfill-1"
    assert to_records(replayed)[0]["decision_id"] != to_records(live)[0]["decision_id"]
    assert_round_trip(replayed)


@given(
    rows=st.lists(
        st.tuples(
            st.text(min_size=1, max_size=200),
            st.text(min_size=1, max_size=20),
            st.integers(0, 2**16 - 1),
            st.integers(0, 2**46 - 1),
            st.integers(-(2**40), 2**42),
            st.floats(0, 1),
            st.sampled_from(Outcome),
            st.integers(0, 1),
            st.integers(0, 999_999),
        ),
        min_size=1,
        max_size=40,
    )
)
def test_any_batch_reads_back(rows):
    ids, units, partition, offset, event_time, score, outcome, variant, bucket = zip(*rows, strict=True)
    batch = decisions(
        [text.encode() for text in ids],
        [text.encode() for text in units],
        partition=np.array(partition, np.int32),
        offset=np.array(offset, np.int64),
        event_time=np.array(event_time, np.int64),
        score=np.array(score),
        outcome=np.array(outcome, np.uint8),
        variant=np.array(variant, np.uint8),
        bucket=np.array(bucket, np.int64),
    )

    assert_round_trip(batch)


def test_golden_decision_ids_never_change():
    identity = decision_id("transactions", 3, 123_456)

    assert str(identity) == GOLDEN_ID
    assert identity.version == 8


@pytest.mark.parametrize(("partition", "offset"), [(0, 1), (1, 0), (65_535, 2**46 - 1)])
def test_two_records_of_a_topic_never_share_a_decision_id(partition, offset):
    assert decision_id("transactions", partition, offset) != decision_id("transactions", 0, 0)


@pytest.mark.parametrize(("partition", "offset"), [(0, 0), (0, 1), (1, 0), (65_535, 2**46 - 1)])
def test_a_decision_id_tells_where_its_transaction_stands(partition, offset):
    assert place_of(decision_id("transactions", partition, offset, "a replay")) == (partition, offset)


def test_the_outcomes_are_the_symbols_of_the_schema():
    symbols = next(field["type"]["symbols"] for field in SCHEMA["fields"] if field["name"] == "decision")

    assert symbols == [outcome.name.lower() for outcome in Outcome]


def test_what_an_endpoint_scored_says_who_answered_and_how_long_it_took():
    batch = decisions(
        [b"a", b"b", b"c", b"d"],
        invoked=np.array([0, 1, -1, 0], np.int16),
        invocations=(Invocation("blue", 0.0125), Invocation(None, 0.5)),
        reasons={0: [ReasonCode("V14", 2.5)], 1: [ReasonCode("V1", 1.5)], 2: [ReasonCode("V2", 0.5)]},
    )

    records = to_records(batch)

    assert [(each["invoked_variant"], each["invocation_seconds"]) for each in records] == [
        ("blue", 0.0125),
        (None, 0.5),
        (None, None),
        ("blue", 0.0125),
    ]
    assert [len(each["reason_codes"]) for each in records] == [1, 1, 1, 0]
    assert_round_trip(batch)


def before_endpoints():
    """The schema as it was before decisions told of endpoints."""
    schema = load("decision")
    return fastavro.parse_schema(schema | {"fields": schema["fields"][:-2]})


def test_who_has_the_schema_from_before_there_were_endpoints_pinned_reads_all_that_it_names():
    batch = decisions([b"a"], reasons={0: [ReasonCode("V14", 2.5)]})

    record = fastavro.schemaless_reader(io.BytesIO(encode(batch, b"")[0]), before_endpoints(), None)

    assert comparable(record) | {"invoked_variant": None, "invocation_seconds": None} == to_records(batch)[0]


def test_a_decision_from_before_there_were_endpoints_is_read_as_one_without():
    value = encode(decisions([b"a"]), b"")[0]
    assert value.endswith(b"\0\0")

    record = fastavro.schemaless_reader(io.BytesIO(value[:-2]), before_endpoints(), SCHEMA)

    assert (record["invoked_variant"], record["invocation_seconds"]) == (None, None)
