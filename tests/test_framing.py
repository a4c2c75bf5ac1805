"""A payload is read with the schema that its first bytes name, and refused with a reason if they name none."""

import io
import json
import struct

import fastavro
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import framing
from schemas.columns import Reason
from schemas.errors import ConfigurationError
from schemas.load import load, load_file
from schemas.sources import PinnedSchemas

OLD = {
    "type": "record",
    "name": "T",
    "fields": [{"name": "id", "type": "string"}, {"name": "amount", "type": "int"}, {"name": "x", "type": "double"}],
}
NEW = {
    "type": "record",
    "name": "T",
    "fields": [
        {"name": "amount", "type": "double"},
        {"name": "id", "type": ["null", "string"]},
        {"name": "x", "type": ["null", "double"]},
        {"name": "kind", "type": {"type": "enum", "name": "K", "symbols": ["a", "b"]}, "default": "b"},
    ],
}


def value(schema, **record):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, record)
    return out.getvalue()


def old(identity, amount, x=0.5):
    return framing.confluent_prefix(7) + value(OLD, id=identity, amount=amount, x=x)


def new(identity, amount, x=0.5):
    return framing.confluent_prefix(70_000) + value(NEW, id=identity, amount=amount, x=x, kind="a")


PINNED = PinnedSchemas({7: OLD, 70_000: NEW})


def ids_and_amounts(columns):
    return columns.columns["id"].to_list(), columns.columns["amount"].values.tolist()


def test_confluent_payloads_are_read_with_the_schema_of_their_id():
    columns = framing.confluent(PINNED, ["id", "amount"]).read([old("a", 3), old("b", 4)])

    assert columns.reason.tolist() == [0, 0]
    assert ids_and_amounts(columns) == ([b"a", b"b"], [3, 4])


def test_payloads_of_several_schemas_in_one_batch_keep_their_places():
    payloads = [old("a", 3), new("b", 4.5), old("c", 5), new(None, 6.5, None)]

    columns = framing.confluent(PINNED, ["id", "amount", "x"]).read(payloads)

    assert columns.reason.tolist() == [0, 0, 0, 0]
    assert ids_and_amounts(columns) == ([b"a", b"b", b"c", None], [3, 4.5, 5, 6.5])
    assert np.array_equal(columns.matrix(["x"])[:, 0], [0.5, 0.5, 0.5, np.nan], equal_nan=True)


def test_with_a_reader_schema_every_version_has_its_columns():
    columns = framing.confluent(PINNED, reader=NEW).read([old("a", 3), new("b", 4.5)])

    kind = columns.columns["kind"]
    assert [kind.symbols[index] for index in kind.values] == ["b", "a"]
    assert columns.columns["amount"].values.dtype == np.float64


def test_a_default_text_of_one_version_stands_beside_the_texts_of_another():
    shop = {"name": "shop", "type": "string", "default": "none"}
    newest = {**OLD, "fields": [*OLD["fields"], shop]}
    payload = framing.confluent_prefix(8) + value(newest, id="b", amount=4, x=0.5, shop="corner")

    columns = framing.confluent(PinnedSchemas({7: OLD, 8: newest}), reader=newest).read([old("a", 3), payload])

    assert columns.columns["shop"].to_list() == [b"none", b"corner"]
    assert columns.columns["id"].to_list() == [b"a", b"b"]


def test_nulls_of_two_versions_of_one_layout_are_kept_apart_from_nan():
    kind = {"type": "record", "name": "T", "fields": [{"name": "x", "type": ["null", "double"]}]}
    payloads = [framing.confluent_prefix(at) + value(kind, x=x) for at, x in ((1, None), (2, 0.5), (1, float("nan")))]

    column = framing.confluent(PinnedSchemas({1: kind, 2: kind})).read(payloads).columns["x"]

    assert column.null.tolist() == [True, False, False]
    assert np.array_equal(column.values, [np.nan, 0.5, np.nan], equal_nan=True)


def test_enums_of_two_versions_are_merged_by_symbol():
    first, second = (
        {"type": "record", "name": "T", "fields": [{"name": "e", "type": {"type": "enum", "name": "E", "symbols": s}}]}
        for s in (["a", "b"], ["c", "b", "a"])
    )
    reader = framing.confluent(PinnedSchemas({1: first, 2: second}))
    payloads = [
        framing.confluent_prefix(1 + (s is second)) + value(s, e=e)
        for s, e in ((first, "b"), (second, "a"), (second, "c"))
    ]

    column = reader.read(payloads).columns["e"]

    assert [column.symbols[index] for index in column.values] == ["b", "a", "c"]


def test_fields_that_differ_in_kind_between_two_versions_are_a_matter_of_configuration():
    other = {"type": "record", "name": "T", "fields": [{"name": "id", "type": "long"}]}
    reader = framing.confluent(PinnedSchemas({7: OLD, 8: other}), ["id"])

    with pytest.raises(ConfigurationError, match="id is a number in one"):
        reader.read([old("a", 3), framing.confluent_prefix(8) + value(other, id=1)])


BAD = [
    (None, Reason.MISSING_VALUE),
    (b"\0\0\0\0", Reason.TRUNCATED),
    (b"", Reason.TRUNCATED),  # and not judged by the first byte of what follows
    (b'{"id": "a"}', Reason.WRONG_MAGIC),
    (b"\1", Reason.WRONG_MAGIC),
    (framing.confluent_prefix(8) + b"abc", Reason.UNKNOWN_SCHEMA),
    (framing.confluent_prefix(7), Reason.TRUNCATED),
    (old("a", 3) + b"\0", Reason.TRAILING_BYTES),
]


@pytest.mark.parametrize("others", [[], [new("n", 1.5)]])
@pytest.mark.parametrize(("payload", "reason"), BAD)
def test_a_bad_payload_is_told_apart_and_disturbs_no_other(payload, reason, others):
    columns = framing.confluent(PINNED, ["id", "amount"]).read([old("a", 3), payload, *others, old("b", 4)])

    assert columns.reason.tolist() == [0, reason, *(0 for _ in others), 0]
    ids, amounts = ids_and_amounts(columns)
    assert (ids[0], amounts[0]) == (b"a", 3)
    assert (ids[-1], amounts[-1]) == (b"b", 4)
    assert (ids[1], np.nan_to_num(amounts[1])) == (b"", 0)


def test_a_batch_of_nothing_but_bad_payloads_has_its_columns_all_the_same():
    columns = framing.confluent(PINNED, ["id", "amount"]).read([payload for payload, _ in BAD])

    assert columns.reason.tolist() == [reason for _, reason in BAD]
    assert columns.columns["id"].to_list() == [b""] * len(BAD)


def test_pinned_schemas_are_checked_before_the_first_record():
    with pytest.raises(ConfigurationError, match="no field V1"):
        framing.confluent(PINNED, ["V1"])


def test_nested_schemas_are_told_by_the_reader():
    nested = {"type": "record", "name": "N", "fields": [{"name": "a", "type": {"type": "array", "items": "int"}}]}

    assert framing.confluent(PINNED).columnar
    assert not framing.confluent(PinnedSchemas({7: OLD, 9: nested})).columnar


# From the specification of Avro 1.12, "Schema Fingerprints": CRC-64-AVRO of the canonical form, written out bit by bit.
def crc_64_avro(data):
    empty = 0xC15D213AA4D7A795
    crc = empty
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (empty & -(crc & 1))
    return crc


def test_the_single_object_prefix_is_the_magic_and_the_little_endian_fingerprint_of_the_canonical_form():
    canonical = b'{"name":"a.T","type":"record","fields":[{"name":"id","type":"string"}]}'
    schema = {
        "type": "record",
        "name": "T",
        "namespace": "a",
        "doc": "not part of it",
        "fields": [{"name": "id", "type": {"type": "string"}, "doc": "nor this"}],
    }

    assert framing.single_object_prefix(schema) == b"\xc3\x01" + struct.pack("<Q", crc_64_avro(canonical))
    assert framing.single_object_prefix({"type": "record", "name": "Empty", "fields": []})[2:] == struct.pack(
        "<Q", crc_64_avro(b'{"name":"Empty","type":"record","fields":[]}')
    )


def test_single_objects_are_read_with_the_schema_of_their_fingerprint():
    payloads = [framing.single_object_prefix(s) + v for s, v in ((OLD, old("a", 3)[5:]), (NEW, new("b", 4.5)[5:]))]
    bad = [b"\xc3\x02" + payloads[0][2:], b"\xc3\x01" + b"?" * 8, payloads[0][:9], None]

    columns = framing.single_object([OLD, NEW], ["id", "amount"]).read([*payloads, *bad])

    reasons = [Reason.OK, Reason.OK, Reason.WRONG_MAGIC, Reason.UNKNOWN_SCHEMA, Reason.TRUNCATED, Reason.MISSING_VALUE]
    assert columns.reason.tolist() == reasons
    assert columns.columns["id"].to_list()[:2] == [b"a", b"b"]


def test_an_id_stands_in_the_prefix_in_four_bytes_big_endian():
    assert framing.confluent_prefix(258) == b"\0\0\0\1\2"


EVERYTHING = {
    "type": "record",
    "name": "J",
    "fields": [
        {"name": "class", "type": "string"},
        {"name": "number", "type": ["null", "double"]},
        {"name": "small", "type": "int", "default": 3},
        {"name": "big", "type": ["long", "null"]},
        {"name": "yes", "type": ["null", "boolean"], "default": None},
        {"name": "kind", "type": ["null", {"type": "enum", "name": "K", "symbols": ["a", "b"]}]},
        {"name": "raw", "type": ["null", "bytes"]},
        {"name": "four", "type": ["null", {"type": "fixed", "name": "F", "size": 4}]},
        {"name": "single", "type": ["null", "float"]},
    ],
}


def test_json_objects_become_the_same_columns():
    full = {
        "class": "é",
        "number": 2,
        "small": -5,
        "big": 1 << 62,
        "yes": True,
        "kind": "b",
        "raw": "\xff",
        "four": "abcd",
    }
    full["single"] = 0.1
    columns = framing.json(EVERYTHING).read([json.dumps(full).encode(), b'{"class": "b", "unknown": [1]}'])

    assert columns.reason.tolist() == [0, 0]
    found = columns.columns
    assert found["class"].to_list() == ["é".encode(), b"b"]
    assert found["raw"].to_list() == [b"\xff", None]
    assert found["four"].to_list() == [b"abcd", None]
    assert found["small"].values.tolist() == [-5, 3]
    assert (found["big"].values.tolist(), found["big"].null.tolist()) == ([1 << 62, 0], [False, True])
    assert (found["yes"].values.tolist(), found["yes"].null.tolist()) == ([True, False], [False, True])
    assert (found["kind"].symbols[found["kind"].values[0]], found["kind"].null.tolist()) == ("b", [False, True])
    assert (found["number"].values[0], found["number"].null.tolist()) == (2.0, [False, True])
    assert found["single"].values.dtype == np.float32
    assert np.array_equal(columns.matrix(["number", "small"]), [[2, -5], [np.nan, 3]], equal_nan=True)


BAD_JSON = [
    (None, Reason.MISSING_VALUE),
    (b"", Reason.BAD_JSON),
    (b'{"class": "a"', Reason.BAD_JSON),
    (b'{"class": "a"} {}', Reason.BAD_JSON),
    (b'{"class": "a", "number": NaN}', Reason.BAD_JSON),
    (b'{"class": "a", "x": ' + b"[" * 100_000, Reason.BAD_JSON),
    (b'{"class": "\\ud800"}', Reason.BAD_JSON),
    (b'{"class": "\xff"}', Reason.BAD_UTF8),
    (b'{"number": 1}', Reason.WRONG_TYPE),
    (b'{"class": 1}', Reason.WRONG_TYPE),
    (b'{"class": "a", "number": "1"}', Reason.WRONG_TYPE),
    (b'{"class": "a", "number": 1e400}', Reason.WRONG_TYPE),
    (b'{"class": "a", "small": 2147483648}', Reason.WRONG_TYPE),
    (b'{"class": "a", "big": 9223372036854775808}', Reason.WRONG_TYPE),
    (b'{"class": "a", "small": null}', Reason.WRONG_TYPE),
    (b'{"class": "a", "kind": "z"}', Reason.WRONG_TYPE),
    (b'{"class": "a", "four": "abc"}', Reason.WRONG_TYPE),
    ('{"class": "a", "raw": "\u0100"}'.encode(), Reason.WRONG_TYPE),
    (b"[]", Reason.WRONG_TYPE),
]


@pytest.mark.parametrize(("payload", "reason"), BAD_JSON)
def test_a_bad_json_payload_is_told_apart_and_disturbs_no_other(payload, reason):
    good = b'{"class": "a", "big": 1}'

    columns = framing.json(EVERYTHING).read([good, payload, good])

    assert columns.reason.tolist() == [0, reason, 0]
    assert [value or b"" for value in columns.columns["class"].to_list()] == [b"a", b"", b"a"]
    assert columns.columns["big"].values.tolist() == [1, 0, 1]


NUMBERS = {"number", "single", "small", "big", "yes", "kind"}


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("number", b'"1"'), ("number", b"1e400"), ("number", b"[[1]]"), ("single", b'"\xff"'), ("small", b"null")),
        *(("small", b"2147483648"), ("big", b"1.5"), ("yes", b'"yes"'), ("kind", b'"z"'), ("kind", b"{}")),
    ],
)
def test_a_wrong_number_that_stands_apart_is_infinite_and_nothing_else_is_lost(field, value):
    bad = b'{"class": "b", "small": -7, "%s": %s}' % (field.encode(), value)
    good = b'{"class": "a", "number": 2, "single": 0.5, "small": 3, "big": 1, "yes": true, "kind": "b"}'

    columns = framing.json(EVERYTHING, apart=NUMBERS).read([good, bad, good])

    names = sorted(NUMBERS)
    clean = framing.json(EVERYTHING).read([good, b'{"class": "b", "small": -7}', good]).matrix(names)
    clean[1, names.index(field)] = np.inf
    assert columns.reason.tolist() == [0, 0, 0]
    assert np.array_equal(columns.matrix(names), clean, equal_nan=True)
    assert columns.columns["class"].to_list() == [b"a", b"b", b"a"]
    null = columns.columns[field].null
    assert null is None or not null[1], "it was sent, so it is not missing"


def test_a_number_that_stands_apart_and_is_not_there_is_infinite_unless_it_may_be_left_out():
    fields = [{"name": "must", "type": "double"}, {"name": "may", "type": ["null", "double"]}]
    schema = {"type": "record", "name": "R", "fields": [*fields, {"name": "other", "type": "double", "default": 3}]}

    columns = framing.json(schema, apart={"must", "may", "other"}).read([b"{}", b'{"must": 1}'])

    expected = [[np.inf, np.nan, 3], [1, np.nan, 3]]
    assert np.array_equal(columns.matrix(["must", "may", "other"]), expected, equal_nan=True)


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b'{"number": "1", "class": 1}', Reason.WRONG_TYPE),
        (b'{"number": "1", "class": "\xff"}', Reason.BAD_UTF8),
        (b'{"class": "a", "number": "1"', Reason.BAD_JSON),
        (b'{"class": "a", "number": "1", "x": ' + b"[" * 100_000, Reason.BAD_JSON),
    ],
)
def test_what_is_wrong_beside_a_number_that_stands_apart_is_wrong_with_the_payload(payload, reason):
    assert framing.json(EVERYTHING, apart=NUMBERS).read([payload]).reason.tolist() == [reason]


def test_no_json_payloads_give_empty_columns():
    columns = framing.json(load("transaction")).read([])

    assert columns.matrix(["V1"]).shape == (0, 1)
    assert columns.columns["card_id"].to_list() == []


def test_of_a_key_that_is_given_twice_the_last_counts():
    assert framing.json(EVERYTHING).read([b'{"class": "a", "class": "b"}']).columns["class"].to_list() == [b"b"]


@given(st.lists(st.none() | st.binary(max_size=40), max_size=8))
def test_whatever_comes_in_there_is_one_reason_a_payload(payloads):
    for reader in (framing.confluent(PINNED, ["id"]), framing.single_object([OLD], ["id"]), framing.json(OLD, ["id"])):
        columns = reader.read([old("a", 3), *payloads])

        assert len(columns.reason) == len(columns.columns["id"].to_list()) == len(payloads) + 1


def test_a_schema_file_that_is_missing_or_no_schema_is_a_matter_of_configuration(tmp_path):
    (tmp_path / "broken.avsc").write_text("{")
    (tmp_path / "list.avsc").write_text("[]")

    for name, why in (("none.avsc", "cannot be read"), ("broken.avsc", "not JSON"), ("list.avsc", "not hold")):
        with pytest.raises(ConfigurationError, match=why):
            load_file(tmp_path / name)
