"""Hashes of a column of keys are those of its keys, whatever their lengths."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from xxhash import xxh64_intdigest

from models.xxh64 import xxh64
from schemas.columns import BytesColumn

SEEDS = st.integers(0, 2**64 - 1)


def column(keys):
    """The keys as slices of bytes that hold more than the keys."""
    sizes = np.array([len(key or b"") for key in keys], np.int64)
    data = np.frombuffer(b"??" + b"".join(key or b"" for key in keys) + b"?", np.uint8)
    return BytesColumn(data, np.cumsum(sizes) - sizes + 2, sizes, np.array([key is None for key in keys]))


def often(few, times):
    """The column again and again, without its bytes being there more than once."""
    return BytesColumn(few.data, np.tile(few.start, times), np.tile(few.length, times), np.tile(few.null, times))


@given(st.lists(st.binary(max_size=70), max_size=12), SEEDS, st.sampled_from([1, 1000]))
@example([b"x" * length for length in range(20)], 0, 1000)
def test_each_key_has_the_hash_that_it_has_alone(keys, seed, times):
    alone = [xxh64_intdigest(key, seed) for key in keys]

    assert xxh64(often(column(keys), times), seed).tolist() == alone * times


@pytest.mark.parametrize("length", range(100))
def test_keys_of_one_length_have_the_hashes_that_they_have_alone(length):
    keys = [np.random.default_rng(row).bytes(length) for row in range(5)]

    assert xxh64(often(column(keys), 200), 2**64 - 1).tolist() == [xxh64_intdigest(k, 2**64 - 1) for k in keys] * 200


@pytest.mark.parametrize("times", [1, 1000])
def test_a_null_is_hashed_as_nothing(times):
    alone = [xxh64_intdigest(b"", 3), xxh64_intdigest(b"a", 3)]

    assert xxh64(often(column([None, b"a"]), times), 3).tolist() == alone * times
