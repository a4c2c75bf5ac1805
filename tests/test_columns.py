"""Decoding a batch into columns is the same as decoding its rows one by one with fastavro, or stricter."""

import io
import math
import random

import fastavro
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.columns import BytesColumn, Reason
from schemas.compile import compile_decoder
from schemas.errors import ConfigurationError
from schemas.load import load

ENUM = {"type": "enum", "name": "E", "symbols": ["a", "b", "c"]}
TYPES = ["boolean", "int", "long", "float", "double", "string", "bytes", "enum", "fixed"]
VALUES = {
    "null": st.none(),
    "boolean": st.booleans(),
    "int": st.integers(-(1 << 31), (1 << 31) - 1),
    "long": st.integers(-(1 << 63), (1 << 63) - 1),
    "float": st.floats(width=32),
    "double": st.floats(),
    "string": st.text(max_size=20),
    "bytes": st.binary(max_size=20),
    "enum": st.sampled_from(ENUM["symbols"]),
    "fixed": st.binary(min_size=5, max_size=5),
}


def field(at, kind, wrapping, run=1):
    """``run`` neighbours of one type; ``wrapping`` puts null before it, behind it or nowhere."""
    out = []
    for step in range(run):
        name = f"f{at}_{step}"
        declared = {"enum": {**ENUM, "name": f"E{name}"}, "fixed": {"type": "fixed", "name": f"F{name}", "size": 5}}
        schema = declared.get(kind, kind)
        wrapped = {"none": schema, "before": ["null", schema], "behind": [schema, "null"]}[wrapping]
        value = VALUES[kind] if wrapping == "none" else st.none() | VALUES[kind]
        out.append(({"name": name, "type": wrapped}, value))
    return out


NO_MORE = st.nothing()
BAD_TEXT = object()


@st.composite
def batches(draw, extra=NO_MORE):
    """A schema of up to eight kinds of fields, and up to ten records of it."""
    plain = st.tuples(st.sampled_from(TYPES), st.sampled_from(["none", "before", "behind"]), st.integers(1, 4))
    kinds = draw(st.lists(plain, min_size=1, max_size=8))
    fields = [pair for at, (kind, wrapping, run) in enumerate(kinds) for pair in field(at, kind, wrapping, run)]
    fields += [({"name": f"n{at}", "type": schema}, value) for at, (schema, value) in enumerate(draw(st.lists(extra)))]
    fields = draw(st.permutations(fields))
    schema = {"type": "record", "name": "R", "fields": [declaration for declaration, _ in fields]}
    record = st.fixed_dictionaries({declaration["name"]: value for declaration, value in fields})
    return schema, draw(st.lists(record, min_size=1, max_size=10))


def encode(schema, record):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, record)
    return out.getvalue()


def decode(schema, payloads, fields=None, reader=None):
    data = np.frombuffer(b"#" + b"".join(payloads), np.uint8)
    end = np.cumsum([len(payload) for payload in payloads], dtype=np.int64) + 1
    start = end - [len(payload) for payload in payloads]
    return compile_decoder(schema, fields, reader).decode(data, start, end)


def rows(columns):
    """Each usable row as a dict, None in place of the others."""
    lists = {}
    for name, column in columns.columns.items():
        if isinstance(column, BytesColumn):
            lists[name] = column.to_list()
        else:
            null = column.null if column.null is not None else np.zeros(len(column.values), bool)
            lists[name] = [None if n else v for n, v in zip(null.tolist(), column.values.tolist(), strict=True)]
            if column.symbols:
                lists[name] = [v if v is None else column.symbols[v] for v in lists[name]]
    return [
        {name: values[at] for name, values in lists.items()} if reason == Reason.OK else None
        for at, reason in enumerate(columns.reason)
    ]


def alike(value, expected):
    if isinstance(expected, str):
        return value == expected or value == expected.encode()
    if isinstance(expected, float) and math.isnan(expected):
        return math.isnan(value)
    return (
        value == expected and math.copysign(1, value or 0) == math.copysign(1, expected or 0)
        if isinstance(expected, float)
        else value == expected
    )


def same(row, expected):
    return (
        row is not None
        and isinstance(expected, dict)
        and all(alike(value, expected[name]) for name, value in row.items())
    )


def oracle(schema, payload, reader=None):
    """What fastavro makes of a payload, None if it refuses it or leaves bytes behind."""
    source = io.BytesIO(payload)
    try:
        record = fastavro.schemaless_reader(source, schema, reader)
    except UnicodeDecodeError:
        return BAD_TEXT
    except (EOFError, IndexError, ValueError, OverflowError, MemoryError):
        return None
    return record if source.tell() == len(payload) else None


def is_proper(schema, record, payload):
    """Whether these are the very bytes of a valid record: no reader may refuse them."""
    valid = isinstance(record, dict) and fastavro.validate(record, schema, raise_errors=False)
    return valid and encode(schema, record) == payload


@given(batches())
def test_every_valid_row_decodes_to_what_was_written(batch):
    schema, records = batch

    decoded = rows(decode(schema, [encode(schema, record) for record in records]))

    assert all(same(row, record) for row, record in zip(decoded, records, strict=True))
    assert all(row.keys() == record.keys() for row, record in zip(decoded, records, strict=True))


def corrupt(random, payload):
    at = random.randrange(len(payload) + 1)
    how = random.randrange(5)
    if how == 0:
        return payload[:at]
    if how == 1:
        return payload + random.randbytes(random.randrange(1, 4))
    if how == 2:
        return random.randbytes(at)
    if how == 3:
        return payload[:at] + random.randbytes(1) + payload[at:]
    return payload[:at] + random.randbytes(1) + payload[at + 1 :]


@settings(max_examples=300)
@given(batches(), st.randoms(use_true_random=False))
def test_a_corrupt_row_is_refused_or_means_what_fastavro_reads_and_its_neighbours_are_undisturbed(batch, chance):
    schema, records = batch
    payloads = [encode(schema, record) for record in records]
    broken = [chance.random() < 0.5 for _ in records]
    sent = [corrupt(chance, payload) if bad else payload for payload, bad in zip(payloads, broken, strict=True)]

    decoded = rows(decode(schema, sent))

    for row, payload, record, bad in zip(decoded, sent, records, broken, strict=True):
        expected = oracle(schema, payload) if bad else record
        assert same(row, expected) or (row is None and not is_proper(schema, expected, payload))


@given(batches(), st.randoms(use_true_random=False))
def test_a_row_that_is_cut_short_is_truncated_and_one_that_is_longer_has_trailing_bytes(batch, chance):
    schema, records = batch
    payloads = [encode(schema, record) for record in records]

    cut = decode(schema, [payload[: chance.randrange(len(payload))] for payload in payloads]).reason
    longer = decode(schema, [payload + b"\0" for payload in payloads]).reason

    assert set(cut) == {Reason.TRUNCATED}
    assert set(longer) == {Reason.TRAILING_BYTES}


@given(batches(), st.randoms(use_true_random=False))
def test_fields_that_are_not_asked_for_change_nothing_in_the_others(batch, chance):
    schema, records = batch
    names = [declaration["name"] for declaration in schema["fields"] if chance.random() < 0.5]

    decoded = rows(decode(schema, [encode(schema, record) for record in records], names))

    for row, record in zip(decoded, records, strict=True):
        assert row.keys() == set(names)
        assert same(row, record)


NESTED = st.sampled_from(
    [
        ({"type": "array", "items": "double"}, st.lists(st.floats(), max_size=3)),
        ({"type": "array", "items": ["null", "bytes"]}, st.lists(st.none() | st.binary(max_size=3), max_size=3)),
        ({"type": "map", "values": "long"}, st.dictionaries(st.text(max_size=2), VALUES["long"], max_size=3)),
        (["null", "long", "bytes"], st.none() | VALUES["long"] | st.binary(max_size=3)),
        (["int", "boolean"], st.booleans() | VALUES["int"]),
    ]
)


@settings(max_examples=150)
@given(batches(NESTED), st.randoms(use_true_random=False))
def test_nested_fields_are_walked_over_without_disturbing_the_flat_ones(batch, chance):
    schema, records = batch
    payloads = [encode(schema, record) for record in records]
    broken = [chance.random() < 0.3 for _ in records]
    sent = [corrupt(chance, payload) if bad else payload for payload, bad in zip(payloads, broken, strict=True)]

    decoded = rows(decode(schema, sent))

    for row, payload, record, bad in zip(decoded, sent, records, broken, strict=True):
        expected = oracle(schema, payload) if bad else record
        unseen = expected is BAD_TEXT  # the keys of a map are not looked at
        assert same(row, expected) or unseen or (row is None and not is_proper(schema, expected, payload))


def test_a_schema_with_nested_fields_is_not_columnar_and_says_so():
    schema = {"type": "record", "name": "R", "fields": [{"name": "a", "type": {"type": "array", "items": "int"}}]}

    assert not compile_decoder(schema, []).columnar
    assert compile_decoder(load("transaction")).columnar


PROMOTED = {
    "int": ["int", "long", "float", "double"],
    "long": ["long", "float", "double"],
    "float": ["float", "double"],
    "string": ["string", "bytes"],
    "bytes": ["bytes"],
}


@given(batches(), st.randoms(use_true_random=False))
def test_a_reader_schema_reorders_promotes_drops_and_adds_fields_as_fastavro_does(batch, chance):
    schema, records = batch
    fields = []
    for declaration in schema["fields"]:
        kind = declaration["type"]
        if isinstance(kind, str):
            kind = chance.choice(PROMOTED.get(kind, [kind]))
        if chance.random() < 0.8:
            fields.append({"name": declaration["name"], "type": kind})
    fields += [
        {"name": "new_number", "type": "double", "default": 1.5},
        {"name": "new_text", "type": ["null", "string"], "default": None},
        {"name": "new_bytes", "type": "string", "default": "é"},
    ]
    chance.shuffle(fields)
    reader = {"type": "record", "name": "R", "fields": fields}
    payloads = [encode(schema, record) for record in records]

    decoded = rows(decode(schema, payloads, reader=reader))

    for row, payload in zip(decoded, payloads, strict=True):
        expected = oracle(schema, payload, reader)
        assert row.keys() == expected.keys()
        for name, value in row.items():
            if isinstance(value, float) and isinstance(expected[name], float):  # fastavro keeps float at double width
                with np.errstate(over="ignore"):
                    assert alike(float(np.float32(value)), float(np.float32(expected[name])))
            else:
                assert alike(value, expected[name])


def one(kind, **more):
    return {"type": "record", "name": "R", "fields": [{"name": "x", "type": kind, **more}]}


REASONS = [
    ("double", b"1234567", Reason.TRUNCATED),
    ("string", b"\x06ab", Reason.TRUNCATED),
    ("long", b"\xff\xff", Reason.TRUNCATED),
    ("int", b"\x02\x00", Reason.TRAILING_BYTES),
    (["null", "double"], b"\x04", Reason.BAD_UNION_INDEX),
    (["null", "string"], b"\x01", Reason.BAD_UNION_INDEX),
    (ENUM, b"\x06", Reason.BAD_ENUM_INDEX),
    (ENUM, b"\x01", Reason.BAD_ENUM_INDEX),
    ("string", b"\x02\xff", Reason.BAD_UTF8),
    ("string", b"\x06\xed\xa0\x80", Reason.BAD_UTF8),
    ("string", b"\x01", Reason.NEGATIVE_LENGTH),
    ("bytes", b"\x03abc", Reason.NEGATIVE_LENGTH),
    ("long", b"\xff" * 10 + b"\x01", Reason.BAD_VARINT),
    ("long", b"\xff" * 9 + b"\x02", Reason.BAD_VARINT),
    ("int", b"\x80\x80\x80\x80\x10", Reason.BAD_VARINT),
    ("boolean", b"\x02", Reason.BAD_BOOLEAN),
]


@pytest.mark.parametrize(("kind", "payload", "reason"), REASONS)
def test_each_way_of_being_wrong_is_told_apart_and_leaves_nothing_behind(kind, payload, reason):
    good = encode(
        one(kind),
        {
            "x": {"boolean": True, "string": "ab", "bytes": b"c"}.get(
                str(kind), None if isinstance(kind, list) else "a" if kind is ENUM else 1
            )
        },
    )

    columns = decode(one(kind), [good, payload, good])

    column = columns.columns["x"]
    assert columns.reason.tolist() == [Reason.OK, reason, Reason.OK]
    assert column.length[1] == 0 if isinstance(column, BytesColumn) else not np.nan_to_num(column.values[1])


@pytest.mark.parametrize("kind", ["double", "string", "long"])
def test_a_row_that_ends_before_a_union_index_is_truncated_whatever_the_next_row_begins_with(kind):
    fields = [{"name": "first", "type": "bytes"}, {"name": "x", "type": ["null", kind]}]
    schema = {"type": "record", "name": "R", "fields": fields}
    long_row = encode(schema, {"first": bytes(40), "x": None})

    assert decode(schema, [b"\x02a", long_row]).reason.tolist() == [Reason.TRUNCATED, Reason.OK]


def test_null_where_the_reader_wants_a_value_is_of_the_wrong_type():
    for kind in ("double", "string", "long"):
        schema, reader = one(["null", kind]), one(kind)

        assert decode(schema, [b"\0"], reader=reader).reason.tolist() == [Reason.WRONG_TYPE]


def test_enums_are_matched_by_symbol_with_the_readers_default_for_new_ones():
    reader = one({"type": "enum", "name": "E", "symbols": ["z", "c", "a"], "default": "z"})
    strict = one({"type": "enum", "name": "E", "symbols": ["c", "a"]})
    payloads = [encode(one(ENUM), {"x": symbol}) for symbol in "abc"]

    lenient, exact = decode(one(ENUM), payloads, reader=reader), decode(one(ENUM), payloads, reader=strict)

    assert [row["x"] for row in rows(lenient)] == ["a", "z", "c"]
    assert exact.reason.tolist() == [Reason.OK, Reason.BAD_ENUM_INDEX, Reason.OK]


def test_a_field_is_found_by_its_alias():
    reader = one("double", aliases=["old"])
    writer = {"type": "record", "name": "R", "fields": [{"name": "old", "type": "double"}]}

    assert rows(decode(writer, [encode(writer, {"old": 2.5})], reader=reader)) == [{"x": 2.5}]


def test_logical_types_stay_the_numbers_and_bytes_that_they_are():
    kinds = [
        {"type": "long", "logicalType": "timestamp-millis"},
        {"type": "int", "logicalType": "date"},
        {"type": "string", "logicalType": "uuid"},
        {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2},
    ]
    schema = {"type": "record", "name": "R", "fields": [{"name": f"f{at}", "type": t} for at, t in enumerate(kinds)]}
    plain = {
        "type": "record",
        "name": "R",
        "fields": [{"name": f"f{at}", "type": t["type"]} for at, t in enumerate(kinds)],
    }
    record = {"f0": 1_700_000_000_123, "f1": 19_000, "f2": "not checked", "f3": b"\x01\x00"}

    assert same(rows(decode(schema, [encode(plain, record)]))[0], record)


EDGES = sorted({sign * ((1 << bits) + by) for bits in range(0, 63, 7) for by in (-1, 0, 1) for sign in (1, -1)})


def test_varints_of_every_width_are_read_side_by_side():
    values = [*EDGES, -(1 << 63), (1 << 63) - 1, 0]

    column = decode(one("long"), [encode(one("long"), {"x": value}) for value in values]).columns["x"]

    assert column.values.tolist() == values


@pytest.mark.parametrize("length", [0, 1, 7, 8, 9, 63, 64, 65, 255, 256, 257, 5000])
def test_text_of_any_length_is_checked_to_its_last_byte_and_not_beyond(length):
    schema = {
        "type": "record",
        "name": "R",
        "fields": [{"name": "x", "type": "string"}, {"name": "y", "type": "bytes"}],
    }
    text = "é" + "a" * length
    good = encode(schema, {"x": text, "y": b"\xff" * 300})
    bad = encode(schema, {"x": "a" * length + "b", "y": b""}).replace(b"b", b"\xc3")

    columns = decode(schema, [good, bad, good, encode(schema, {"x": "a" * length, "y": b"\xff"})])

    assert columns.reason.tolist() == [Reason.OK, Reason.BAD_UTF8, Reason.OK, Reason.OK]
    assert columns.columns["x"].to_list()[2] == text.encode()


def transactions(count, missing=0.0):
    chance = random.Random(7)
    fields = [f"V{at}" for at in range(1, 29)]
    return [
        {
            "transaction_id": f"t-{chance.randrange(10**at)}",
            "card_id": f"card-{at}",
            "event_time": 1_700_000_000_000 + at,
            "amount": chance.random(),
            **{name: None if chance.random() < missing else chance.gauss(0, 1) for name in fields},
        }
        for at in range(1, count + 1)
    ]


@pytest.mark.parametrize("missing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize(
    "names",
    [
        [f"V{at}" for at in range(1, 29)],
        ["amount", *(f"V{at}" for at in range(28, 0, -1)), "event_time"],
        ["V3", "amount", "V1", "V3"],
        [],
    ],
)
def test_the_matrix_holds_the_columns_in_the_order_asked_for_with_nan_for_null(names, missing):
    records = transactions(17, missing)
    columns = decode(load("transaction"), [encode(load("transaction"), record) for record in records])

    matrix = columns.matrix(names)

    expected = [[np.nan if record[name] is None else record[name] for name in names] for record in records]
    assert matrix.dtype == np.float32
    assert np.array_equal(matrix, np.array(expected, np.float32).reshape(17, len(names)), equal_nan=True)


def test_the_matrix_takes_any_number_and_turns_what_is_too_large_into_infinity():
    kinds = [("b", "boolean"), ("i", ["null", "int"]), ("f", "float"), ("d", "double")]
    schema = {"type": "record", "name": "R", "fields": [{"name": name, "type": kind} for name, kind in kinds]}
    payloads = [encode(schema, {"b": True, "i": None, "f": 0.5, "d": 1e300})]

    assert np.array_equal(decode(schema, payloads).matrix("bifd"), [[1, np.nan, 0.5, np.inf]], equal_nan=True)


def test_a_matrix_of_a_missing_or_textual_column_is_a_matter_of_configuration():
    columns = decode(load("transaction"), [encode(load("transaction"), record) for record in transactions(1)])

    with pytest.raises(ConfigurationError, match="V29 of the input is missing"):
        columns.matrix(["V1", "V29"])
    with pytest.raises(ConfigurationError, match="card_id of the input is not a number"):
        columns.matrix(["card_id"])


def test_a_batch_of_no_rows_has_empty_columns():
    columns = decode(load("transaction"), [])

    assert len(columns) == 0
    assert columns.matrix(["V1", "amount"]).shape == (0, 2)
    assert columns.columns["card_id"].to_list() == []


def test_rows_that_all_fail_leave_every_column_in_place():
    columns = decode(load("transaction"), [b"", b"\x02", b"\xff" * 300])

    assert columns.reason.all()
    assert np.isnan(columns.matrix(["V1", "amount"])).all()
    assert columns.columns["card_id"].to_list() == [b"", b"", b""]


RECURSIVE = one(["null", "R"])
EMPTY = {"type": "record", "name": "Nothing", "fields": []}
UNUSABLE = [
    (RECURSIVE, "recursive"),
    (one({"type": "array", "items": "null"}), "without bytes"),
    (one({"type": "array", "items": EMPTY}), "without bytes"),
    (one({"type": "map", "values": {"type": "array", "items": "null"}}), "without bytes"),
    (one({"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}), "without bytes"),
    (one("strnig"), "not valid"),
    ({"type": "record", "fields": []}, "not valid"),
    (ENUM, "needs a record"),
]


@pytest.mark.parametrize(("schema", "why"), UNUSABLE)
def test_a_schema_that_is_wrong_or_that_bytes_could_abuse_is_refused_when_it_loads(schema, why):
    with pytest.raises(ConfigurationError, match=why):
        compile_decoder(schema, [])


def test_a_schema_of_nothing_within_nothing_takes_no_time_to_walk_over():
    schema = {"type": "record", "name": "R0", "fields": []}
    for depth in range(1, 60):
        fields = [{"name": "a", "type": schema}, {"name": "b", "type": f"R{depth - 1}"}]
        schema = {"type": "record", "name": f"R{depth}", "fields": fields}

    assert decode(schema, [b"", b"1"]).reason.tolist() == [Reason.OK, Reason.TRAILING_BYTES]


WRONG = [
    (one("double"), ["y"], None, "no field y"),
    (one({"type": "array", "items": "int"}), ["x"], None, "nested"),
    (one("string"), None, one("double"), "string where double"),
    (one("long"), None, one("int"), "long where int"),
    (one("long"), None, {"type": "record", "name": "R", "fields": [{"name": "y", "type": "int"}]}, "no default"),
    (one(ENUM), None, one({**ENUM, "name": "Other"}), "another name"),
    (
        one({"type": "fixed", "name": "F", "size": 4}),
        None,
        one({"type": "fixed", "name": "F", "size": 5}),
        "4 bytes where 5",
    ),
]


@pytest.mark.parametrize(("writer", "fields", "reader", "why"), WRONG)
def test_a_field_that_cannot_be_had_is_a_matter_of_configuration(writer, fields, reader, why):
    with pytest.raises(ConfigurationError, match=why):
        compile_decoder(writer, fields, reader)
