"""A table of decisions says what the decisions say, field by field, and so does the parquet file made of it."""

import io
from dataclasses import replace
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schemas.columns import BytesColumn
from schemas.decision import Decisions, Invocation, Lineage, ReasonCode, to_records
from schemas.decision_table import REPEATED, SCHEMA, decision_batch
from schemas.load import load

ONE = Lineage("p1", 0.25, 0.75, "m", "1", bytes(range(32)), "xgboost", "e", 3, "champion", "s", 0.9)
TWO = replace(ONE, model_version="2", variant="challenger", probability=0.1, fallback_reason="m@3 does not load")


def text(*values):
    sizes = np.array([len(value) for value in values])
    return BytesColumn(np.frombuffer(b"".join(values), np.uint8), np.cumsum(sizes) - sizes, sizes, None)


@pytest.fixture
def decisions():
    return Decisions(
        transaction_id=text(b"a", "b\N{LATIN SMALL LETTER E WITH ACUTE}".encode(), b"", b"dddd"),
        unit=text(b"k1", b"k22", b"k1", b"k1"),
        topic="day.parquet",
        partition=np.zeros(4, np.int32),
        offset=np.array([0, 5, 2**40, 7]),
        event_time=np.array([0, 1, -1, 1_700_000_000_000]),
        decided_at=1_700_000_000_001,
        score=np.array([0.0, 0.5, 1.0, np.nextafter(0.5, 1)]),
        outcome=np.array([0, 1, 2, 1], np.uint8),
        variant=np.array([0, 1, 0, 1], np.uint8),
        bucket=np.array([0, 999_999, 5, 7]),
        lineages=(ONE, TWO),
        reasons={3: [ReasonCode("V1", 0.5)], 1: [ReasonCode("AMOUNT", 2.0), ReasonCode("V1", -0.0)], 2: []},
        replay="batch",
    )


def plain(record):
    """A row of the table as ``to_records`` gives it."""
    times = {name: round(record[name].timestamp() * 1000) for name in ("event_time", "decided_at")}
    return record | times | {"decision_id": str(record["decision_id"]), "shadow": [], "duplicate_of": None}


def stored(batch):
    file = io.BytesIO()
    with pq.ParquetWriter(file, SCHEMA, use_dictionary=REPEATED) as writer:
        writer.write_batch(batch)
    return pq.ParquetFile(file)


def test_each_row_is_the_record_of_its_decision(decisions):
    assert [plain(record) for record in decision_batch(decisions).to_pylist()] == to_records(decisions)


def test_what_is_read_back_from_parquet_is_what_was_decided(decisions):
    file = stored(decision_batch(decisions))

    assert [plain(record) for record in file.read().to_pylist()] == to_records(decisions)
    assert file.read()["decision_id"][0].as_py() == UUID(to_records(decisions)[0]["decision_id"])


def test_each_row_bears_the_request_that_scored_it(decisions):
    invocations = (Invocation("blue", 0.25), Invocation(None, 0.5))
    remote = replace(decisions, invoked=np.array([1, -1, 0, 1], np.int16), invocations=invocations)

    table = stored(decision_batch(remote)).read()

    assert table["invoked_variant"].to_pylist() == [None, None, "blue", None]
    assert [plain(record) for record in table.to_pylist()] == to_records(remote)


def test_rows_taken_out_of_a_column_keep_their_own_texts(decisions):
    rows = np.array([3, 0])
    ids = replace(decisions.transaction_id, start=decisions.transaction_id.start[rows], length=np.array([4, 1]))
    few = {name: getattr(decisions, name)[rows] for name in ("partition", "offset", "event_time", "score", "outcome")}
    some = replace(
        decisions,
        transaction_id=ids,
        unit=text(b"x", b"y"),
        variant=decisions.variant[rows],
        bucket=decisions.bucket[rows],
        reasons={},
        **few,
    )

    assert [record["transaction_id"] for record in decision_batch(some).to_pylist()] == ["dddd", "a"]


def test_no_decisions_are_an_empty_table(decisions):
    nothing = {
        name: getattr(decisions, name)[:0]
        for name in ("partition", "offset", "event_time", "score", "outcome", "variant", "bucket")
    }

    batch = decision_batch(replace(decisions, transaction_id=text(), unit=text(), reasons={}, **nothing))

    assert (len(batch), batch.schema) == (0, SCHEMA)


def test_the_fields_are_those_of_the_topic_but_what_no_data_set_has():
    def names(fields):
        return [
            (field["name"], names(field["type"]["fields"]))
            if isinstance(field["type"], dict) and "fields" in field["type"]
            else field["name"]
            for field in fields
            if field["name"] not in {"shadow", "duplicate_of"}
        ]

    def names_in_arrow(fields):
        return [
            (field.name, names_in_arrow(field.type)) if pa.types.is_struct(field.type) else field.name
            for field in fields
        ]

    assert names_in_arrow(SCHEMA) == names(load("decision")["fields"])


def test_every_column_that_is_said_to_repeat_is_one(decisions):
    metadata = stored(decision_batch(decisions)).metadata.row_group(0)
    paths = {metadata.column(at).path_in_schema for at in range(metadata.num_columns)}

    assert set(REPEATED) < paths
