"""Hash many short keys at once: XXH64, the same as a hash of each, a fifth of the time.

The source is the specification of Yann Collet, "xxHash fast digest algorithm", version 0.2.0; ``xxhash`` is the oracle
in the tests. Numbers wrap at 64 bits, as NumPy's do.
"""

from collections.abc import Iterable
from itertools import repeat

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh64_digest

from schemas.columns import BytesColumn, windows

Words = NDArray[np.uint64]

_P1, _P2, _P3, _P4, _P5 = (
    np.uint64(prime)
    for prime in (0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5)
)
_WRAP = (1 << 64) - 1
_FEW_A_LENGTH = 1_000
"""Where keys of each length are fewer, they are hashed one by one: 80 calls of NumPy a length take longer."""


def xxh64(keys: BytesColumn, seed: int) -> Words:
    """The hash of each key, (n,) uint64; that of the empty key for a null."""
    lengths = np.unique(keys.length).tolist()
    if len(keys.length) < _FEW_A_LENGTH * len(lengths):
        return hashes_of((key or b"" for key in keys.to_list()), seed)
    if len(lengths) == 1:
        return _of_one_length(_bytes(keys.data, keys.start, lengths[0]), seed)
    hashes = np.empty(len(keys.length), np.uint64)
    for length in lengths:
        rows = np.flatnonzero(keys.length == length)
        hashes[rows] = _of_one_length(_bytes(keys.data, keys.start[rows], length), seed)
    return hashes


def hashes_of(values: Iterable[bytes], seed: int) -> Words:
    """The hash of each value, (n,) uint64."""
    return np.frombuffer(b"".join(map(xxh64_digest, values, repeat(seed))), ">u8").astype(np.uint64)


def _bytes(data: NDArray[np.uint8], start: NDArray[np.int64], length: int) -> NDArray[np.uint8]:
    """(n, length) the bytes of each key."""
    if length == 0:
        return np.empty((len(start), 0), np.uint8)
    return windows(data, length)[start].view(np.uint8).reshape(len(start), length)


def _of_one_length(keys: NDArray[np.uint8], seed: int) -> Words:
    count, length = keys.shape
    long = length - length % 32
    hashes = _stripes(keys[:, :long], seed) if long else np.full(count, (seed + int(_P5)) & _WRAP, np.uint64)
    hashes += np.uint64(length)
    for at in range(long, length - 7, 8):
        hashes = _rotated(hashes ^ _round(np.uint64(0), _lane(keys, at, "<u8")), 27) * _P1 + _P4
    if length % 8 >= 4:
        hashes = _rotated(hashes ^ (_lane(keys, length - length % 8, "<u4") * _P1), 23) * _P2 + _P3
    for at in range(length - length % 4, length):
        hashes = _rotated(hashes ^ (keys[:, at] * _P5), 11) * _P1
    hashes = (hashes ^ (hashes >> np.uint64(33))) * _P2
    hashes = (hashes ^ (hashes >> np.uint64(29))) * _P3
    return hashes ^ (hashes >> np.uint64(32))


def _stripes(keys: NDArray[np.uint8], seed: int) -> Words:
    """What the first bytes of long keys come to, a multiple of 32 of them, in four lanes side by side."""
    starts = [(seed + offset) & _WRAP for offset in (int(_P1) + int(_P2), int(_P2), 0, -int(_P1))]
    lanes = [np.full(len(keys), start, np.uint64) for start in starts]
    for at in range(0, keys.shape[1], 32):
        lanes = [_round(lane, _lane(keys, at + 8 * number, "<u8")) for number, lane in enumerate(lanes)]
    one, two, three, four = lanes
    hashes = _rotated(one, 1) + _rotated(two, 7) + _rotated(three, 12) + _rotated(four, 18)
    for lane in lanes:
        hashes = (hashes ^ _round(np.uint64(0), lane)) * _P1 + _P4
    return hashes


def _round(lane: "Words | np.uint64", data: Words) -> Words:
    return _rotated(lane + data * _P2, 31) * _P1


def _rotated(words: Words, by: int) -> Words:
    return (words << np.uint64(by)) | (words >> np.uint64(64 - by))


def _lane(keys: NDArray[np.uint8], at: int, kind: str) -> Words:
    width = np.dtype(kind).itemsize
    return np.ascontiguousarray(keys[:, at : at + width]).view(kind).ravel().astype(np.uint64)
