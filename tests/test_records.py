"""A batch of records tells of each partition what is asked of it."""

from types import SimpleNamespace

import numpy as np

from consumer.records import RecordBatch


def message(milliseconds):
    return SimpleNamespace(timestamp=lambda: (1, milliseconds))


def test_the_last_time_of_each_partition_is_that_of_its_last_record():
    messages = [message(ms) for ms in (1_000, 5_000, 2_000, 3_000)]
    nothing = [None] * 4
    batch = RecordBatch("t", messages, nothing, nothing, np.array([0, 2, 0, 2], np.int32), np.arange(4))

    assert batch.last_times() == {0: 2.0, 2: 3.0}
