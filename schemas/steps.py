"""Decode one field of a record for all rows: a number, a text, or what no column holds."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from schemas.columns import Block, BytesColumn, Column, Mask, NumberColumn, Reason
from schemas.cursor import Cursor
from schemas.nested import MalformedError, Skip

NUMBERS: dict[str, np.dtype[Any]] = {
    "boolean": np.dtype(np.bool_),
    "int": np.dtype(np.int32),
    "long": np.dtype(np.int64),
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
    "enum": np.dtype(np.int32),
}
"""The column of each kind of field that is a number."""


@dataclass(frozen=True, slots=True)
class Target:
    """The column that a field becomes.

    ``dtype`` of a number, None for bytes. ``text``: the bytes must be UTF-8. ``nullable``: a null may stand in it.
    ``symbols`` of an enum, and the index in them (or -1) of each of the writer's in ``remap``, None if they agree.
    """

    name: str
    dtype: np.dtype[Any] | None
    nullable: bool = True
    text: bool = False
    symbols: tuple[str, ...] | None = None
    remap: NDArray[np.int64] | None = None


@dataclass(slots=True)
class Found:
    """The columns decoded so far."""

    columns: dict[str, Column] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)

    def add(self, block: Block) -> None:
        """Take the block and each of its columns."""
        self.blocks.append(block)
        self.columns.update(block.columns())


class Step(Protocol):
    """Moves the cursor over its stretch of the record and adds the columns that it holds."""

    def run(self, cursor: Cursor, found: Found) -> None:
        """Do so for every row."""


def refuse_nulls(cursor: Cursor, null: Mask | None, target: Target | None) -> None:
    """Fail the rows that are null where the reader has no place for it."""
    if null is not None and target is not None and not target.nullable:
        cursor.fail(null, Reason.WRONG_TYPE)


@dataclass(frozen=True, slots=True)
class Varint:
    """An int, a long or an enum; a value outside ``bounds`` (both included) is the ``complaint``."""

    null_index: int | None
    bounds: tuple[int, int] | None
    complaint: Reason
    target: Target | None

    def run(self, cursor: Cursor, found: Found) -> None:
        """Decode it for every row."""
        null = cursor.tag(self.null_index)
        values = cursor.varint(null)
        if self.bounds is not None:
            low, high = self.bounds
            if np.count_nonzero(bad := (values < low) | (values > high)):
                values[bad] = 0
                cursor.fail(bad, self.complaint)
        refuse_nulls(cursor, null, self.target)
        if self.target is None:
            return
        if self.target.remap is not None:
            values = self.target.remap[values]
            unknown = values < 0 if null is None else (values < 0) & ~null
            cursor.fail(unknown, Reason.BAD_ENUM_INDEX)
        assert self.target.dtype is not None
        numbers = values.astype(self.target.dtype)
        if null is not None:
            numbers[null] = np.nan if numbers.dtype.kind == "f" else 0
        found.columns[self.target.name] = NumberColumn(numbers, null, self.target.symbols)


@dataclass(frozen=True, slots=True)
class Bytes:
    """A string, bytes or fixed; ``size`` is that of a fixed, None where a length stands before the bytes."""

    null_index: int | None
    size: int | None
    target: Target | None

    def run(self, cursor: Cursor, found: Found) -> None:
        """Decode it for every row."""
        null = cursor.tag(self.null_index)
        if self.size is None:
            length = cursor.varint(null)
            cursor.fail(length < 0, Reason.NEGATIVE_LENGTH)
        else:
            length = np.full(len(cursor.position), self.size, np.int64)
            if null is not None:
                length[null] = 0
        bad = (length < 0) | (length > cursor.end - cursor.position)
        if np.count_nonzero(bad):
            length[bad] = 0
            cursor.fail(bad, Reason.TRUNCATED)
        start = cursor.position
        cursor.position = start + length
        if self.target is None:
            return
        if self.target.text:
            cursor.check_text(start, length)
        refuse_nulls(cursor, null, self.target)
        found.columns[self.target.name] = BytesColumn(cursor.data, start, length, null, self.target.text)


@dataclass(frozen=True, slots=True)
class Nested:
    """What no column can hold is walked over, one row after the other."""

    skip: Skip

    def run(self, cursor: Cursor, found: Found) -> None:  # noqa: ARG002
        """Decode it for every row."""
        data = cursor.data.tobytes()
        after = cursor.position.copy()
        complaints: dict[int, Reason] = {}
        for row, (at, end) in enumerate(zip(cursor.position.tolist(), cursor.end.tolist(), strict=True)):
            try:
                after[row] = self.skip(data, at, end)
            except MalformedError as error:
                complaints[row] = error.reason
        cursor.position = after
        for row, reason in complaints.items():
            cursor.fail(np.arange(len(after)) == row, reason)
