"""Turn a record schema into a program that decodes many payloads at once."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.columns import BytesColumn, Columns, NumberColumn, Reason, filler
from schemas.cursor import SLACK, Cursor
from schemas.flat import NESTED, Field, Record, parse
from schemas.nested import skipper
from schemas.resolve import Constant, resolve
from schemas.run import WIDTHS, Flat, Run
from schemas.steps import NUMBERS, Bytes, Found, Nested, Step, Target, Varint

_WIDEST_RUN = 4096
"""Bytes; a record of thousands of fields is gathered in pieces."""


@dataclass(frozen=True, slots=True)
class Decoder:
    """Decodes payloads of one schema.

    ``columnar`` is False where nested fields are walked over row by row, at the speed of Python. ``padding`` is the
    number of bytes that should follow the last payload in ``data``, so that it need not be copied.
    """

    columnar: bool
    padding: int
    _steps: tuple[Step, ...]
    _constants: tuple[Constant, ...]

    def decode(
        self,
        data: NDArray[np.uint8],
        start: NDArray[np.int64],
        end: NDArray[np.int64],
        reason: NDArray[np.uint8] | None = None,
    ) -> Columns:
        """The columns of n payloads; row i is ``data[start[i]:end[i]]`` and must be used up exactly.

        ``data`` uint8; ``start`` and ``end`` (n,) int64. Rows that already have a ``reason`` (n,) uint8 keep it and
        are not decoded. A bad row never disturbs another.
        """
        cursor = Cursor.over(data, start, end, reason, self.padding)
        found = Found()
        for step in self._steps:
            step.run(cursor, found)
        cursor.fail(cursor.position < cursor.end, Reason.TRAILING_BYTES)
        for constant in self._constants:
            found.columns[constant.target.name] = constant.column(len(start))
        if (bad := cursor.reason != Reason.OK).any():
            _blank(found, bad)
        return Columns(cursor.reason, found.columns, tuple(found.blocks))


def compile_decoder(
    writer: Mapping[str, Any], fields: Collection[str] | None = None, reader: Mapping[str, Any] | None = None
) -> Decoder:
    """A decoder for records of the schema ``writer``, into the columns ``fields`` (all flat ones if None).

    With a ``reader`` the names, types and defaults are the reader's, by Avro's rules of schema resolution. Avro 1.12,
    "Binary Encoding" and "Schema Resolution". Raises ConfigurationError if a schema is not safe or not valid (see
    :func:`schemas.flat.parse`), or a field cannot be had (see :func:`schemas.resolve.resolve`).
    """
    record = parse(writer)
    resolution = resolve(record, None if reader is None else parse(reader), fields)
    steps = tuple(_steps(record, resolution.targets))
    widest = max((step.width for step in steps if isinstance(step, Run)), default=0)
    columnar = not any(isinstance(step, Nested) for step in steps)
    nulls = tuple(Constant(target, None) for target in _nulls(record, resolution.targets))
    return Decoder(columnar, widest + SLACK, steps, resolution.constants + nulls)


def _steps(record: Record, targets: tuple[Target | None, ...]) -> Iterator[Step]:
    present = [pair for pair in zip(record.fields, targets, strict=True) if pair[0].kind != "null"]
    for of_one_width, group in groupby(present, key=lambda pair: pair[0].kind in WIDTHS):
        if of_one_width:
            yield from _runs([Flat(field.kind, field.null_index, target) for field, target in group])
        else:
            yield from (_step(field, target, record) for field, target in group)


def _runs(flats: list[Flat]) -> Iterator[Run]:
    most = _WIDEST_RUN // max(flat.pitch for flat in flats)
    for at in range(0, len(flats), most):
        yield Run(flats[at : at + most])


def _step(field: Field, target: Target | None, record: Record) -> Step:
    if field.kind == NESTED:
        return Nested(skipper(field.type, record.names))
    if field.kind == "enum":
        return Varint(field.null_index, (0, len(field.symbols) - 1), Reason.BAD_ENUM_INDEX, target)
    if field.kind == "int":
        return Varint(field.null_index, (-(1 << 31), (1 << 31) - 1), Reason.BAD_VARINT, target)
    if field.kind == "long":
        return Varint(field.null_index, None, Reason.BAD_VARINT, target)
    return Bytes(field.null_index, field.size if field.kind == "fixed" else None, target)


def _nulls(record: Record, targets: tuple[Target | None, ...]) -> Iterator[Target]:
    """Fields that hold nothing but null take no bytes, and so no step."""
    for field, target in zip(record.fields, targets, strict=True):
        if field.kind == "null" and target is not None:
            yield Target(target.name, NUMBERS["double"])


def _blank(found: Found, bad: NDArray[np.bool_]) -> None:
    """Leave nothing of the bad rows: no byte of theirs may pass for data."""
    for block in found.blocks:
        block.values[bad] = filler(block.values.dtype)
    in_blocks = {name for block in found.blocks for name in block.names}
    for name, column in found.columns.items():
        if isinstance(column, BytesColumn):
            column.length[bad] = 0
        elif isinstance(column, NumberColumn) and name not in in_blocks:
            column.values[bad] = filler(column.values.dtype)
