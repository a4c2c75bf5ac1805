"""Cells of data sets, whatever their type, become the numbers, texts and times that they mean."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.decide import Roles
from fraudstream.batch import convert
from fraudstream.batch.layout import layout_of
from producer import sample_path
from producer.transactions import FEATURES, SEPTEMBER_2013, from_frame
from schemas.arrow import number_column, string_array
from schemas.columns import Reason
from schemas.dataset import read_dataset
from schemas.errors import ConfigurationError

ROLES = Roles("transaction_id", "card_id", "event_time", "amount")
NEVER = None


def told(converted):
    """Each value, None where it is null, "bad" where it is something else."""
    column, bad = converted
    if hasattr(column, "values"):
        null = np.zeros(len(bad), np.bool_) if column.null is None else column.null
        values = [None if gone else value for value, gone in zip(column.values.tolist(), null, strict=True)]
    else:
        values = column.to_list()
    return ["bad" if wrong else value for value, wrong in zip(values, bad.tolist(), strict=True)]


KINDS = [
    *(pa.int8(), pa.uint8(), pa.int16(), pa.uint16(), pa.int32(), pa.uint32(), pa.int64(), pa.uint64()),
    *(pa.float16(), pa.float32(), pa.float64(), pa.decimal128(21, 2), pa.dictionary(pa.int8(), pa.int64())),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_numbers_of_every_type_keep_their_values_and_their_nulls(kind):
    array = pa.array([7, 0, 1, 100, None]).cast(pa.float32() if kind == pa.float16() else pa.int64())
    array = array.dictionary_encode() if pa.types.is_dictionary(kind) else array.cast(kind)

    column = number_column(array[1:])

    assert column.values[:3].tolist() == [0, 1, 100]
    assert column.values.dtype in ("int32", "int64", "float32", "float64")
    assert column.null.tolist() == [False, False, False, True]
    assert number_column(array[:2]).null is None


def test_booleans_are_numbers():
    column = number_column(pa.array([True, None, False])[1:])

    assert (column.values.tolist(), column.null.tolist()) == ([False, False], [True, False])


def test_large_integers_are_not_rounded_because_another_row_is_null():
    assert number_column(pa.array([2**62 + 1, None])).values[0] == 2**62 + 1


@given(st.lists(st.none() | st.text(max_size=5), max_size=9), st.integers(0, 9), st.booleans())
def test_texts_of_every_layout_come_through_and_back(texts, start, encoded):
    arrays = [pa.array(texts, kind) for kind in (pa.string(), pa.large_string(), pa.string_view())]
    arrays.append(arrays[0].dictionary_encode() if encoded else arrays[0].cast(pa.binary()))
    expected = [None if text is None else text.encode() for text in texts[start:]]

    for array in arrays:
        column, bad = convert.text(array[start:])
        assert column.to_list() == expected
        assert not bad.any()
        assert string_array(column).to_pylist() == [text or "" for text in texts[start:]]


def test_a_text_that_is_no_utf8_is_told_apart_in_every_layout():
    raw = pa.array([b"ok", b"\xff\xfe", None, b"\xc3\xa9"])

    for array in (raw, raw.view(pa.string()), raw.cast(pa.large_binary()).view(pa.large_string())):
        assert told(convert.text(array)) == [b"ok", "bad", None, "\N{LATIN SMALL LETTER E WITH ACUTE}".encode()]


def test_integers_are_ids_as_they_are_written():
    assert told(convert.text(pa.array([12, None, -3]))) == [b"12", None, b"-3"]


def test_texts_of_numbers_are_numbers_and_other_texts_are_bad():
    texts = [" 1.5", "-2e3", "+3", ".5", "7.", "1e999", "-inf", None, "", "1_000", "0x10", "1,5", "eins"]

    assert told(convert.number(pa.array(texts))) == [
        *(1.5, -2000.0, 3.0, 0.5, 7.0, np.inf, -np.inf, None),
        *["bad"] * 5,
    ]


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_a_number_that_python_wrote_is_read_to_the_last_bit(numbers):
    assert told(convert.number(pa.array(list(map(repr, numbers))))) == numbers


MIDNIGHT = dt.datetime(2013, 9, 1, tzinfo=dt.UTC)
START = round(MIDNIGHT.timestamp() * 1000)


@pytest.mark.parametrize(
    "array",
    [
        pa.array([START, None]),
        pa.array([float(START), float("nan")]),
        pa.array([START * 1_000 + 999, None]).cast(pa.timestamp("us")),
        pa.array([MIDNIGHT, None], pa.timestamp("ns", "Europe/Berlin")),
        pa.array([MIDNIGHT.date(), None]),
        pa.array([str(START), None]),
        pa.array(["2013-09-01T00:00:00.000999Z", None]),
        pa.array(["2013-09-01", None]),
        pa.array(["2013-09-01 02:00:00+02:00", None]).dictionary_encode(),
    ],
    ids=lambda array: f"{array.type}, {array[0]}",
)
def test_an_event_time_may_be_written_in_many_ways(array):
    assert told(convert.milliseconds(array)) == [START, None]


def test_times_that_are_none_are_bad_among_good_ones():
    texts = ["2013-09-31", "2013-09-01T25:00:00Z", "yesterday", "1e300", str(START), "2013-09-01", "9999-12-31"]

    assert told(convert.milliseconds(pa.array(texts))) == [*["bad"] * 4, START, START, "bad"]
    assert told(convert.milliseconds(pa.array([np.inf, 1e300, 5.4]))) == ["bad", "bad", 5]


def test_seconds_count_from_1970_once_they_are_dates_and_else_from_the_month_of_the_public_data():
    assert told(convert.seconds(pa.array([0.0, 1.0015, 1e9 + 0.25, None]))) == [
        *(SEPTEMBER_2013, SEPTEMBER_2013 + 1_002, 1_000_000_000_250),
        None,
    ]
    assert told(convert.seconds(pa.array(["5", "2013-09-01"]))) == [SEPTEMBER_2013 + 5_000, START]


def layout(types, features=("V1",), roles=ROLES):
    schema = pa.schema(list(types.items()))
    return layout_of(schema, "day.parquet", roles, features, "")


FLAT = {"Time": pa.float64(), "Amount": pa.float64(), "V1": pa.float64(), "Class": pa.int64(), "more": pa.string()}


def test_only_what_is_needed_is_read():
    assert layout(FLAT).read == ["Time", "Amount", "V1"]


def test_ids_times_and_cards_that_are_absent_are_those_that_produce_would_send():
    table = pq.read_table(sample_path()).slice(0, 300)
    produced = from_frame(read_dataset(sample_path()).frame).stretch(0, 300)

    made = layout({name: table.schema.field(name).type for name in table.column_names}, ("V1", "amount"))
    columns = made.columns(table.combine_chunks().to_batches()[0], np.arange(300)).columns

    assert columns["transaction_id"].to_list() == produced.transaction_id.tolist()
    assert columns["card_id"].to_list() == produced.card_id.tolist()
    assert columns["event_time"].values.tolist() == produced.event_time.tolist()
    assert columns["amount"].values.tolist() == produced.amount.tolist()
    assert columns["V1"].values.tolist() == produced.features[:, FEATURES.index("V1")].tolist()


def test_a_feature_that_training_called_amount_is_the_amount_of_the_settings():
    types = {"event_time": pa.int64(), "eur": pa.float64(), "V1": pa.float64()}
    made = layout(types, ("V1", "amount"), Roles("transaction_id", "card_id", "event_time", "eur"))
    batch = pa.RecordBatch.from_pydict({"event_time": [1], "eur": [9.5], "V1": [0.5]})

    assert made.columns(batch, np.arange(1)).matrix(["V1", "amount"]).tolist() == [[0.5, 9.5]]


def test_the_first_cell_that_is_wrong_says_what_a_row_lacks():
    types = dict.fromkeys(("transaction_id", "card_id", "event_time", "amount", "V1"), pa.string())
    rows = {
        "transaction_id": ["a", "b", "c"],
        "card_id": ["k", "k", "k"],
        "event_time": ["1", "2", "3"],
        "amount": ["1", "x", None],
        "V1": ["1", "y", "z"],
    }

    columns = layout(types).columns(pa.RecordBatch.from_pydict(rows), np.arange(3))

    assert columns.reason.tolist() == [Reason.OK, Reason.WRONG_TYPE, Reason.WRONG_TYPE]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"V1": NEVER}, "has no column 'V1'"),
        ({"Time": NEVER}, "has no column 'event_time' or 'time' or 'Time'"),
        ({"Amount": NEVER}, "has no column 'amount' or 'Amount'"),
        ({"V1": pa.string()}, "column 'V1' is of type string, and a number is needed"),
        ({"V1": pa.timestamp("ms")}, "and a number is needed"),
        ({"Time": pa.list_(pa.int64())}, "and a time is needed"),
        ({"card_id": pa.float64()}, "column 'card_id' is of type double, and text is needed"),
    ],
)
def test_a_file_that_lacks_something_is_refused_by_the_name_of_the_column(change, sentence):
    types = {name: kind for name, kind in (FLAT | change).items() if kind is not NEVER}

    with pytest.raises(ConfigurationError, match=f"^day.parquet:? .*{sentence}"):
        layout(types)
