"""Read the part of UBJSON that XGBoost writes, in memory bounded by the size of the input."""

import struct
from typing import Any

import numpy as np

MAX_DEPTH = 16
MAX_VALUES = 500_000
"""Values in one document: 20,000 trees have as many. Made of the smallest objects they take less than 100 MB."""

_NUMBERS: dict[bytes, np.dtype[Any]] = {
    b"i": np.dtype("i1"),
    b"U": np.dtype("u1"),
    b"I": np.dtype(">i2"),
    b"l": np.dtype(">i4"),
    b"L": np.dtype(">i8"),
    b"d": np.dtype(">f4"),
    b"D": np.dtype(">f8"),
}
"""Types that an array may have as a whole. Those without a width (null, true) are left out: they make bombs."""

_CONSTANTS = {b"Z": None, b"T": True, b"F": False}
_LENGTH = struct.Struct(">q")


class UBJSONError(ValueError):
    """Catch this where bytes may not be UBJSON: its text says what is wrong, and at which byte."""


def decode(data: bytes) -> Any:
    """The document: dicts, lists, str, int, float, bool, None, and a NumPy array for each array of one type.

    Raises UBJSONError where the document is cut off, followed by other bytes, nested deeper than ``MAX_DEPTH``, larger
    than ``MAX_VALUES``, names something twice, or uses what XGBoost never writes.
    """
    reader = _Reader(data)
    value = reader.value(reader.take(1), 0)
    if reader.at != len(data):
        raise UBJSONError(f"{len(data) - reader.at} bytes follow its end")
    return value


class _Reader:
    """A place in the bytes. Every length is checked against what is left before anything is made of it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0
        self.values = 0

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.at:
            raise UBJSONError(f"it is cut off: {count} bytes should follow byte {self.at}")
        self.at += count
        return self.data[self.at - count : self.at]

    def length(self) -> int:
        if self.take(1) != b"L":
            raise UBJSONError(f"no length at byte {self.at - 1}")
        (length,) = _LENGTH.unpack(self.take(8))
        if not 0 <= length <= len(self.data) - self.at:
            raise UBJSONError(f"a length of {length} at byte {self.at - 8}, but {len(self.data) - self.at} bytes left")
        return int(length)

    def text(self) -> str:
        try:
            return self.take(self.length()).decode()
        except UnicodeDecodeError as error:
            raise UBJSONError(f"text before byte {self.at} is not UTF-8") from error

    def value(self, marker: bytes, depth: int) -> Any:
        self.values += 1
        if self.values > MAX_VALUES:
            raise UBJSONError(f"more than {MAX_VALUES} values")
        if depth > MAX_DEPTH:
            raise UBJSONError(f"nested deeper than {MAX_DEPTH}")
        if marker == b"{":
            return self.object(depth)
        if marker == b"[":
            return self.array(depth)
        if marker == b"S":
            return self.text()
        if marker in _NUMBERS:
            return self.numbers(marker, 1)[0].item()
        if marker in _CONSTANTS:
            return _CONSTANTS[marker]
        raise UBJSONError(f"no value at byte {self.at - 1}")

    def object(self, depth: int) -> dict[str, Any]:
        members: dict[str, Any] = {}
        while self.data[self.at : self.at + 1] != b"}":
            name = self.text()
            if name in members:
                raise UBJSONError(f"a name twice in one object before byte {self.at}")
            members[name] = self.value(self.take(1), depth + 1)
        self.take(1)
        return members

    def array(self, depth: int) -> Any:
        marker = self.take(1)
        kind = self.take(1) if marker == b"$" else None
        if (self.take(1) if kind else marker) != b"#":
            raise UBJSONError(f"an array without a count at byte {self.at - 1}")
        count = self.length()
        if kind is None:
            return [self.value(self.take(1), depth + 1) for _ in range(count)]
        if kind not in _NUMBERS:
            raise UBJSONError(f"an array of a type without a width at byte {self.at}")
        return self.numbers(kind, count)

    def numbers(self, kind: bytes, count: int) -> Any:
        dtype = _NUMBERS[kind]
        return np.frombuffer(self.take(count * dtype.itemsize), dtype)
