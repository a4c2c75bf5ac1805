"""What is written is read back as the same float32, and of an answer nothing is believed that is not sound."""

import io
import json

import numpy as np
import pytest
from fake_endpoint import parse
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from models.endpoint_text import BadAnswerError, parts_of, rows_of, scores_in

FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=False)


@given(arrays.arrays(np.float32, st.tuples(st.integers(1, 8), st.integers(2, 5)), elements=FLOATS))
def test_the_container_reads_the_very_float32_by_way_of_a_double(features):
    read = parse(b"".join(rows_of(features)), "text/csv")

    np.testing.assert_array_equal(read.astype(np.float32), features)


def test_every_bit_pattern_of_a_random_million_comes_back():
    bits = np.random.default_rng(7).integers(0, 2**32, (25_000, 40), np.uint32).view(np.float32)
    features = np.where(np.isfinite(bits), bits, np.float32("nan"))

    read = np.genfromtxt(io.BytesIO(b"".join(rows_of(features))), delimiter=",")

    np.testing.assert_array_equal(read.astype(np.float32), features)


def test_missing_is_empty():
    assert rows_of(np.array([[1.5, np.nan], [np.nan, -0.25]], np.float32)) == [b"1.5,\n", b",-0.25\n"]
    assert rows_of(np.empty((0, 3), np.float32)) == []


def test_a_missing_value_that_is_alone_in_its_row_is_not_an_empty_line_which_the_container_drops():
    features = np.array([[np.nan], [1.5], [np.nan]], np.float32)

    read = parse(b"".join(rows_of(features)), "text/csv")

    np.testing.assert_array_equal(read, features)


def test_requests_are_as_large_as_they_may_be_and_no_larger():
    sizes = np.array([4, 4, 4, 9, 20, 1])

    assert list(parts_of(sizes, 100, 12)) == [slice(0, 3), slice(3, 4), slice(4, 5), slice(5, 6)]
    assert list(parts_of(sizes, 2, 1000)) == [slice(0, 2), slice(2, 4), slice(4, 6)]
    assert list(parts_of(sizes[:0], 2, 10)) == []


@given(st.lists(st.integers(1, 50)), st.integers(1, 7), st.integers(1, 120))
def test_no_row_is_lost_or_sent_twice_and_only_a_row_alone_is_larger_than_a_request(sizes, rows, size):
    parts = list(parts_of(np.array(sizes, np.int64), rows, size))

    assert [row for part in parts for row in range(part.start, part.stop)] == list(range(len(sizes)))
    for part in parts:
        mine = sizes[part]
        assert 1 <= len(mine) <= rows
        assert sum(mine) <= size or len(mine) == 1


SCORES = [0.25, 1e-7, 1.0]
ANSWERS = {
    "by commas": (b"0.25,1e-07,1.0", "text/csv; charset=utf-8"),
    "by lines": (b"0.25\n1e-07\n1.0\n", "text/csv"),
    "by lines of Windows": (b"0.25\r\n1e-07\r\n1.0", "text/csv"),
    "without a type": (b"0.25,1e-07,1.0", None),
    "a list": (b"[0.25, 1e-07, 1]", "application/json"),
    "predictions": (json.dumps({"predictions": [{"score": each} for each in SCORES]}).encode(), "application/json"),
    "selected": (
        json.dumps({"predictions": [{"predicted_label": 1, "probability": each} for each in SCORES]}).encode(),
        "application/json",
    ),
    "JSON lines": (b'{"score": 0.25}\n{"score": 1e-07}\n{"score": 1.0}\n', "application/jsonlines; charset=utf-8"),
    "bare JSON lines": (b"0.25\n1e-07\n1.0", "application/jsonlines"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_read_in_each_of_its_forms(name):
    assert scores_in(*ANSWERS[name], 3).tolist() == SCORES


BAD = {
    "one too few": (b"0.25,0.5", "text/csv", "2 scores for 3 rows"),
    "one too many": (b"0.25,0.5,0.5,0.5", "text/csv", "4 scores for 3 rows"),
    "two columns": (b"1,0.25\n1,0.5\n1,0.5", "text/csv", "6 scores"),
    "nothing": (b"", "text/csv", "0 scores"),
    "NaN": (b"0.25,nan,0.5", "text/csv", "not a finite number"),
    "NaN in JSON": (b"[0.25, NaN, 0.5]", "application/json", "not a finite number"),
    "infinite": (b"0.25,1e999,0.5", "text/csv", "not a finite number"),
    "a percentage": (b"0.25,25,0.5", "text/csv", "no probability"),
    "negative": (b"0.25,-0.1,0.5", "text/csv", "no probability"),
    "a gap": (b"0.25,,0.5", "text/csv", "cannot be read"),
    "a page": (b"<html>", "text/html", "neither CSV nor JSON"),
    "a page as CSV": (b"<html>", "text/csv", "cannot be read"),
    "underscores": (b"0.25,0.1_0,0.5", "text/csv", "cannot be read"),
    "no UTF-8": (b"\xff\xfe", "application/json", "cannot be read"),
    "a text": (b'["0.25", "0.5", "0.5"]', "application/json", "cannot be read"),
    "a truth": (b"[true, false, true]", "application/json", "cannot be read"),
    "a number": (b"1", "application/json", "cannot be read"),
    "two lists": (b'{"a": [1, 1, 1], "b": [1, 1, 1]}', "application/json", "cannot be read"),
    "two scores a row": (b'[{"score": 0.1, "probability": 0.2}]', "application/json", "cannot be read"),
    "an integer without end": (b"[0.25, " + b"9" * 1000 + b", 0.5]", "application/json", "not a finite number"),
    "a deep nest": (b"[" * 100_000, "application/json", "cannot be read"),
    "half a line": (b'{"score": 0.25}\n{"score"', "application/jsonlines", "cannot be read"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_answer_that_is_none_is_refused_whole(name):
    body, kind, why = BAD[name]

    with pytest.raises(BadAnswerError, match=why):
        scores_in(body, kind, 3)
