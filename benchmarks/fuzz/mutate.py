"""Damage records as wires, disks, other producers and attackers do, the same way for the same seed."""

import struct
from collections.abc import Callable, Sequence
from random import Random

Mutation = Callable[[Random, bytearray, int, bytes], None]
"""Changes bytes at or behind a position, perhaps with those of another record."""

_BYTES = b"\x00\x01\x02\x7f\x80\xfe\xff"
_NUMBERS = (float("nan"), float("inf"), float("-inf"), 1e300, -1e300, 5e-324, -0.0)
_VARINTS = (b"\x01", b"\xff" * 9 + b"\x01", b"\xfe" + b"\xff" * 8 + b"\x01", b"\xff" * 11, b"\xfe\xff\xff\xff\x0f")
_WORDS = (
    *(b"NaN", b"-Infinity", b"1e400", b"1e300", b"null", b"true", b"-0", b"9223372036854775808", b'""', b"{}", b"[]"),
    *(
        b"[" * 2_000,
        b'{"a":' * 2_000,
        b"\\ud800",
        b"\\u0000",
        b"\xff",
        b"\xed\xa0\x80",
        b'"',
        b",",
        b"}",
        b'"card_id":1,',
    ),
)


def mutated(rng: Random, record: bytes, frame: int, other: bytes) -> bytes:
    """A record with one to four kinds of damage, one in ten of them in the ``frame`` bytes that name its schema."""
    data = bytearray(record)
    start = 0 if rng.random() < 0.1 else frame
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        rng.choice(_MUTATIONS)(rng, data, start, other)
    return bytes(data)


def batch(rng: Random, records: Sequence[bytes], frame: int, size: int) -> list[bytes | None]:
    """So many mutated ``records``, a tombstone now and then."""
    return [
        None if rng.random() < 0.001 else mutated(rng, rng.choice(records), frame, rng.choice(records))
        for _ in range(size)
    ]


def _at(rng: Random, data: bytearray, start: int) -> int:
    return rng.randint(min(start, len(data)), len(data))


def _flip_bits(rng: Random, data: bytearray, start: int, _other: bytes) -> None:
    for _ in range(rng.choice((1, 1, 8))):
        if start < len(data):
            data[rng.randrange(start, len(data))] ^= 1 << rng.randrange(8)


def _set_byte(rng: Random, data: bytearray, start: int, _other: bytes) -> None:
    if start < len(data):
        data[rng.randrange(start, len(data))] = rng.choice(_BYTES)


def _cut(rng: Random, data: bytearray, start: int, _other: bytes) -> None:
    del data[_at(rng, data, start) :]


def _leave_out(rng: Random, data: bytearray, start: int, _other: bytes) -> None:
    at = _at(rng, data, start)
    del data[at : at + rng.choice((1, 2, 8, 64))]


def _insert(rng: Random, data: bytearray, start: int, _other: bytes) -> None:
    at = _at(rng, data, start)
    data[at:at] = rng.randbytes(rng.choice((1, 2, 8, 64)))


def _repeat(rng: Random, data: bytearray, start: int, _other: bytes) -> None:
    at = _at(rng, data, start)
    data[at:at] = data[at : at + rng.choice((1, 8, 64))] * rng.choice((1, 2, 50))


def _splice(rng: Random, data: bytearray, start: int, other: bytes) -> None:
    data[_at(rng, data, start) :] = other[rng.randint(0, len(other)) :]


def _overwrite_number(rng: Random, data: bytearray, start: int, _other: bytes) -> None:
    # At the end of a record in Avro stand 28 doubles, each behind the byte of its union.
    at = max(start, len(data) - 8 - 9 * rng.randrange(28)) if rng.random() < 0.8 else _at(rng, data, start)
    data[at : at + 8] = struct.pack("<d", rng.choice(_NUMBERS))


def _insert_varint(rng: Random, data: bytearray, start: int, _other: bytes) -> None:
    at = _at(rng, data, start)
    data[at : at + rng.choice((0, 1))] = rng.choice(_VARINTS)


def _insert_word(rng: Random, data: bytearray, start: int, _other: bytes) -> None:
    at = _at(rng, data, start)
    data[at : at + rng.choice((0, 4))] = rng.choice(_WORDS)


def _replace_member(rng: Random, data: bytearray, start: int, _other: bytes) -> None:
    at = data.find(b":", _at(rng, data, start)) + 1
    if at:  # it is JSON, as good as always
        end = data.find(b",", at)
        data[at : len(data) if end < 0 else end] = rng.choice(_WORDS)


def _grow(rng: Random, data: bytearray, start: int, _other: bytes) -> None:
    at = _at(rng, data, start)
    data[at:at] = bytes((rng.choice(_BYTES),)) * rng.choice((300, 600, 20_000))


_MUTATIONS: tuple[Mutation, ...] = (
    *(_flip_bits, _flip_bits, _set_byte, _cut, _leave_out, _insert, _repeat, _splice),
    *(_overwrite_number, _overwrite_number, _insert_varint, _insert_word, _replace_member, _grow),
)
