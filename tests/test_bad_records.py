"""A stream that is bad throughout is not emptied into the dead letters; single bad records are no reason to stop."""

import numpy as np
import pytest

from consumer.bad_records import BadRecords, TooManyBadRecordsError


class Stream:
    """Batches of one partition after another, each record good (.) or bad (x)."""

    def __init__(self, limit, share):
        self.records, self.next = BadRecords(limit, share), 0

    def check(self, text, *, partition=0, first=None):
        first = self.next if first is None else first
        self.next = first + len(text)
        offsets = np.arange(first, self.next)
        self.records.check(np.full(len(text), partition, np.int32), offsets, np.array([each == "x" for each in text]))


@pytest.mark.parametrize(
    ("text", "stops"),
    [("xxxx", True), ("..xxxx..", True), ("xxx.xxx", False), ("xxx", False), ("", False), (".x.x.x.x", False)],
)
def test_a_batch_stops_when_all_of_so_many_in_a_row_are_bad(text, stops):
    stream = Stream(limit=4, share=1.0)

    if stops:
        with pytest.raises(TooManyBadRecordsError, match="4 of 4 records in a row"):
            stream.check(text)
    else:
        stream.check(text)


def test_small_batches_are_counted_together_and_what_was_refused_is_not_counted():
    stream = Stream(limit=4, share=1.0)
    for _ in range(3):
        stream.check("x")

    for _ in range(2):
        with pytest.raises(TooManyBadRecordsError):
            stream.check("x", first=3)
    stream.check(".", first=3)
    stream.check("xxx")
    with pytest.raises(TooManyBadRecordsError):
        stream.check("x")


def test_what_comes_again_after_a_rewind_counts_once():
    stream = Stream(limit=4, share=1.0)
    stream.check("xx")
    stream.check("x", partition=1, first=9)

    for _ in range(5):
        stream.check("x", first=1)
    with pytest.raises(TooManyBadRecordsError):
        stream.check("x", partition=1, first=10)


def test_of_a_batch_of_several_partitions_each_counts_from_its_first_record():
    records = BadRecords(limit=6, share=1.0)
    partitions, offsets = np.array([1, 0, 1, 0], np.int32), np.array([7, 2, 8, 3])

    for _ in range(3):
        records.check(partitions, offsets, np.ones(4, np.bool_))
    records.check(partitions[:1], offsets[:1] + 2, np.ones(1, np.bool_))
    with pytest.raises(TooManyBadRecordsError, match="6 of 6"):
        records.check(partitions[1:2], offsets[1:2] + 2, np.ones(1, np.bool_))


def test_the_share_says_how_many_of_them_must_be_bad():
    stream = Stream(limit=10, share=0.8)

    stream.check("x..xxxxx.x")
    with pytest.raises(TooManyBadRecordsError, match="8 of 10"):
        stream.check("x..xxxxxxx")


def test_without_a_limit_all_may_be_bad():
    Stream(limit=0, share=1.0).check("x" * 1_000)
