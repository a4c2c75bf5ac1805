"""Read JSON objects into the columns that an Avro schema describes."""

from collections.abc import Collection, Sequence
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec.structs import astuple
from numpy.typing import NDArray

from schemas.columns import Block, BytesColumn, Column, Columns, NumberColumn, Reason
from schemas.flat import Field, Record
from schemas.resolve import resolve
from schemas.steps import NUMBERS

_TYPES: dict[str, Any] = {
    "null": None,
    "boolean": bool,
    "int": Annotated[int, msgspec.Meta(ge=-(1 << 31), lt=1 << 31)],
    "long": Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)],
    "float": float,
    "double": float,
    "string": str,
    "bytes": Annotated[str, msgspec.Meta(pattern="^[\x00-\xff]*$")],
}
_FLOATING = ("float", "double")


class JsonReader:
    """Reads JSON objects: one key a field, timestamps and dates as integers, an enum as its symbol.

    bytes and fixed are strings of the characters U+0000 to U+00FF, as in Avro's own JSON. A union is written as its
    plain value. A nullable field may be left out, and so may one with a default. Other keys are ignored; of a key
    that is given twice the last counts. NaN and infinities are refused, as JSON has none.
    """

    __slots__ = ("_decode", "_fields", "_nothing")

    columnar = True

    def __init__(self, record: Record, fields: Collection[str] | None) -> None:
        targets = resolve(record, None, fields).targets
        wanted = [field for field, target in zip(record.fields, targets, strict=True) if target is not None]
        # Fields of one kind lie side by side, so that all floats are converted at once.
        self._fields = sorted(wanted, key=lambda field: field.kind)
        row = msgspec.defstruct(
            "Row",
            [_member(at, field) for at, field in enumerate(self._fields)],
            rename={f"f{at}": field.name for at, field in enumerate(self._fields)},
            kw_only=True,
            gc=False,
        )
        self._decode = msgspec.json.Decoder(row).decode
        self._nothing: Any = row(**{f"f{at}": None for at in range(len(self._fields))})

    def read(self, payloads: Sequence[bytes | None]) -> Columns:
        """The columns of a batch of payloads; None is a tombstone."""
        reason = np.zeros(len(payloads), np.uint8)
        values = list(zip(*map(astuple, self._rows(payloads, reason)), strict=True)) or [()] * len(self._fields)
        columns: dict[str, Column] = {}
        blocks = []
        for kind in _FLOATING:
            inside = [at for at, field in enumerate(self._fields) if field.kind == kind]
            if inside:
                blocks.append(_block([self._fields[at] for at in inside], [values[at] for at in inside], kind))
                columns.update(blocks[-1].columns())
        for field, column in zip(self._fields, values, strict=True):
            if field.kind not in _FLOATING:
                columns[field.name] = _column(field, column)
        return Columns(reason, columns, tuple(blocks))

    def _rows(self, payloads: Sequence[bytes | None], reason: NDArray[np.uint8]) -> list[Any]:
        rows = []
        decode = self._decode
        for at, payload in enumerate(payloads):
            try:
                rows.append(decode(payload))  # type: ignore[arg-type]
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError) as error:
                reason[at] = Reason.MISSING_VALUE if payload is None else _reason(error)
                rows.append(self._nothing)
        return rows


def _reason(error: Exception) -> Reason:
    if isinstance(error, msgspec.ValidationError):
        return Reason.WRONG_TYPE
    return Reason.BAD_UTF8 if isinstance(error, UnicodeDecodeError) else Reason.BAD_JSON


def _member(at: int, field: Field) -> tuple[str, Any] | tuple[str, Any, Any]:
    kind: Any = _TYPES.get(field.kind)
    if field.kind == "enum":
        kind = Literal[field.symbols]
    elif field.kind == "fixed":
        kind = Annotated[str, msgspec.Meta(pattern="^[\x00-\xff]*$", min_length=field.size, max_length=field.size)]
    name = f"f{at}"
    if field.null_index is None:
        return (name, kind, field.declaration["default"]) if "default" in field.declaration else (name, kind)
    return name, kind | None, field.declaration.get("default")


def _block(fields: Sequence[Field], values: Sequence[Sequence[float | None]], kind: str) -> Block:
    numbers = np.array(values, NUMBERS["double"]).reshape(len(fields), -1).T  # None becomes NaN
    null = np.isnan(numbers)
    with np.errstate(over="ignore"):
        numbers = np.ascontiguousarray(numbers, NUMBERS[kind])
    return Block(tuple(field.name for field in fields), numbers, null if null.any() else None)


def _column(field: Field, values: Sequence[Any]) -> Column:
    null = np.fromiter((value is None for value in values), np.bool_, len(values)) if None in values else None
    if field.kind in ("string", "bytes", "fixed"):
        encoding = "utf-8" if field.kind == "string" else "latin-1"
        return _slices([(value or "").encode(encoding) for value in values], null)
    if field.kind == "null":
        return NumberColumn(np.full(len(values), np.nan), null)
    symbols = field.symbols if field.kind == "enum" else None
    if symbols is not None:
        index = {symbol: at for at, symbol in enumerate(symbols)}
        values = [index.get(value, 0) for value in values]
    elif null is not None:
        values = [value or 0 for value in values]
    return NumberColumn(np.array(values, NUMBERS[field.kind]), null, symbols)


def _slices(values: Sequence[bytes], null: NDArray[np.bool_] | None) -> BytesColumn:
    length = np.fromiter(map(len, values), np.int64, len(values))
    data = np.frombuffer(b"".join(values), np.uint8)
    return BytesColumn(data, length.cumsum() - length, length, null)
