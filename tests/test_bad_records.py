"""A stream that is bad throughout is not emptied into the dead letters; single bad records are no reason to stop."""

import numpy as np
import pytest

from consumer.bad_records import BadRecords, TooManyBadRecordsError


def flags(text):
    return np.array([letter == "x" for letter in text])


@pytest.mark.parametrize(
    ("text", "stops"),
    [("xxxx", True), ("..xxxx..", True), ("xxx.xxx", False), ("xxx", False), ("", False), (".x.x.x.x", False)],
)
def test_a_batch_stops_when_all_of_so_many_in_a_row_are_bad(text, stops):
    records = BadRecords(limit=4, share=1.0)

    if stops:
        with pytest.raises(TooManyBadRecordsError, match="4 of 4 records in a row"):
            records.check(flags(text))
    else:
        records.check(flags(text))


def test_small_batches_are_counted_together_and_what_was_not_published_is_not_counted():
    records = BadRecords(limit=4, share=1.0)
    for _ in range(3):
        records.check(flags("x"))
        records.published(flags("x"))

    for _ in range(2):
        with pytest.raises(TooManyBadRecordsError):
            records.check(flags("x"))
    records.check(flags("."))
    records.published(flags("."))
    records.check(flags("xxx"))


def test_the_share_says_how_many_of_them_must_be_bad():
    records = BadRecords(limit=10, share=0.8)

    records.check(flags("x..xxxxx.x"))
    with pytest.raises(TooManyBadRecordsError, match="8 of 10"):
        records.check(flags("x..xxxxxxx"))


def test_without_a_limit_all_may_be_bad():
    BadRecords(limit=0, share=1.0).check(flags("x" * 1_000))
