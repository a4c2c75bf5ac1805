"""Every shipped schema has an example that a person can read, and it goes through Avro unchanged."""

import io
import json
from pathlib import Path

import fastavro
import numpy as np
import pytest

from schemas import framing
from schemas.columns import BytesColumn
from schemas.load import load, load_file, load_plain

SCHEMAS = Path(__file__).parent.parent / "schemas"
NAMES = sorted(path.stem for path in SCHEMAS.glob("*.avsc"))


def native(schema, value, names):
    """A value of an example (bytes as the characters U+0000 to U+00FF, unions plain) as fastavro wants it."""
    if isinstance(schema, list):
        return None if value is None else native(next(branch for branch in schema if branch != "null"), value, names)
    schema = names.get(schema, schema) if isinstance(schema, str) else schema
    kind = schema["type"] if isinstance(schema, dict) else schema
    if isinstance(schema, dict) and "name" in schema:
        names[schema["name"]] = schema
    if kind == "record":
        return {field["name"]: native(field["type"], value[field["name"]], names) for field in schema["fields"]}
    if kind == "array":
        return [native(schema["items"], item, names) for item in value]
    return value.encode("latin-1") if kind in ("bytes", "fixed") else value


def example(name):
    return native(load(name), json.loads((SCHEMAS / "examples" / f"{name}.json").read_text()), {})


def encode(name):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, load(name), example(name), strict=True)
    return out.getvalue()


def test_there_is_an_example_of_each_schema_and_a_schema_of_each_example():
    assert sorted(path.stem for path in (SCHEMAS / "examples").glob("*.json")) == NAMES
    assert {"transaction", "decision", "dead_letter", "feature_sample", "label", "drift_report"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_example_is_a_complete_record_that_avro_gives_back_unchanged(name):
    assert load_file(SCHEMAS / f"{name}.avsc") == load(name)
    assert json.loads((SCHEMAS / "examples" / f"{name}.json").read_text()).keys() == example(name).keys()

    read = fastavro.schemaless_reader(io.BytesIO(encode(name)), load_plain(name))

    assert read == example(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_flat_fields_of_each_example_are_decoded_into_columns(name):
    schema = load(name)
    columns = framing.single_object([schema]).read([framing.single_object_prefix(schema) + encode(name)])

    assert columns.reason.tolist() == [0]
    assert len(columns.columns) > 0
    for field, column in columns.columns.items():
        expected = example(name)[field]
        if isinstance(column, BytesColumn):
            assert column.to_list() == [expected.encode() if isinstance(expected, str) else expected]
        elif column.symbols:
            assert column.symbols[column.values[0]] == expected
        elif expected is None:
            assert column.null is not None
            assert column.null[0]
        else:
            assert column.values[0] == expected


def test_the_example_of_a_transaction_reads_the_same_from_json():
    schema = load("transaction")
    payload = (SCHEMAS / "examples" / "transaction.json").read_bytes()
    names = [f"V{at}" for at in range(1, 29)] + ["amount"]

    from_json = framing.json(schema).read([payload])
    from_avro = framing.single_object([schema]).read([framing.single_object_prefix(schema) + encode("transaction")])

    assert np.array_equal(from_json.matrix(names), from_avro.matrix(names), equal_nan=True)
    assert from_json.columns["card_id"].to_list() == from_avro.columns["card_id"].to_list()
