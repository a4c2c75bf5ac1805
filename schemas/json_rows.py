"""Read JSON objects into the columns that an Avro schema describes."""

import math
from collections.abc import Collection, Mapping, Sequence
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

    The numbers named in ``apart`` are right or wrong each by itself: what the schema does not allow there, or the want
    of a value, is an infinity, and the rest of the row may be used. Whatever else is wrong makes the payload wrong.
    """

    __slots__ = ("_apart", "_decode", "_decode_apart", "_fields", "_nothing")

    columnar = True

    def __init__(self, record: Record, fields: Collection[str] | None, apart: Collection[str] = ()) -> None:
        targets = resolve(record, None, fields).targets
        wanted = [field for field, target in zip(record.fields, targets, strict=True) if target is not None]
        # Fields of one kind lie side by side, so that all floats are converted at once.
        self._fields = sorted(wanted, key=lambda field: field.kind)
        members = {f"f{at}": _member(field) for at, field in enumerate(self._fields)}
        row = _struct(self._fields, members)
        self._decode = msgspec.json.Decoder(row).decode
        self._nothing: Any = row(**dict.fromkeys(members))
        self._apart = {
            name: msgspec.json.Decoder(members[name][0]).decode
            for name, field in zip(members, self._fields, strict=True)
            if field.name in apart and field.kind in NUMBERS
        }
        encode = msgspec.json.encode
        unread = {name: (msgspec.Raw, msgspec.Raw(*map(encode, members[name][1:]))) for name in self._apart}
        self._decode_apart = msgspec.json.Decoder(_struct(self._fields, members | unread)).decode

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
                try:
                    rows.append(decode(payload))  # type: ignore[arg-type]
                except msgspec.ValidationError:
                    rows.append(self._with_infinities(payload))  # type: ignore[arg-type]
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, TypeError) as error:
                reason[at] = Reason.MISSING_VALUE if payload is None else _reason(error)
                rows.append(self._nothing)
        return rows

    def _with_infinities(self, payload: bytes) -> Any:
        """The row with an infinity in the place of each wrong value that stands apart; raises if that is not all."""
        row = self._decode_apart(payload)
        for name, decode in self._apart.items():
            try:
                value = decode(getattr(row, name))
            except msgspec.DecodeError:
                value = math.inf
            setattr(row, name, value)
        return row


def _reason(error: Exception) -> Reason:
    if isinstance(error, msgspec.ValidationError):
        return Reason.WRONG_TYPE
    return Reason.BAD_UTF8 if isinstance(error, UnicodeDecodeError) else Reason.BAD_JSON


def _struct(fields: Sequence[Field], members: Mapping[str, tuple[Any, ...]]) -> type[msgspec.Struct]:
    """A type of rows with these members, a type and perhaps a default each, that have the names of the fields."""
    names = {name: field.name for name, field in zip(members, fields, strict=True)}
    given = [(name, *member) for name, member in members.items()]
    return msgspec.defstruct("Row", given, rename=names, kw_only=True, gc=False)


def _member(field: Field) -> tuple[Any] | tuple[Any, Any]:
    """The type of a field, and what it holds where it is left out, if it may be."""
    kind: Any = _TYPES.get(field.kind)
    if field.kind == "enum":
        kind = Literal[field.symbols]
    elif field.kind == "fixed":
        kind = Annotated[str, msgspec.Meta(pattern="^[\x00-\xff]*$", min_length=field.size, max_length=field.size)]
    if field.null_index is None:
        return (kind, field.declaration["default"]) if "default" in field.declaration else (kind,)
    return kind | None, field.declaration.get("default")


def _block(fields: Sequence[Field], values: Sequence[Sequence[float | None]], kind: str) -> Block:
    numbers = np.array(values, NUMBERS["double"]).reshape(len(fields), -1).T  # None becomes NaN
    null = np.isnan(numbers)
    with np.errstate(over="ignore"):
        numbers = np.ascontiguousarray(numbers, NUMBERS[kind])
    return Block(tuple(field.name for field in fields), numbers, null if null.any() else None)


def _column(field: Field, values: Sequence[Any]) -> Column:
    null = np.fromiter((value is None for value in values), np.bool_, len(values)) if None in values else None
    if field.kind in ("string", "bytes", "fixed"):
        text = field.kind == "string"
        encoding = "utf-8" if text else "latin-1"
        return _slices([(value or "").encode(encoding) for value in values], null, text)
    if field.kind == "null":
        return NumberColumn(np.full(len(values), np.nan), null)
    symbols = field.symbols if field.kind == "enum" else None
    if symbols is not None:
        index = {symbol: at for at, symbol in enumerate(symbols)}
        values = [index.get(value, value) for value in values]
    if null is not None:
        values = [value or 0 for value in values]
    dtype = NUMBERS["double"] if math.inf in values else NUMBERS[field.kind]
    return NumberColumn(np.array(values, dtype), null, symbols)


def _slices(values: Sequence[bytes], null: NDArray[np.bool_] | None, text: bool) -> BytesColumn:
    length = np.fromiter(map(len, values), np.int64, len(values))
    data = np.frombuffer(b"".join(values), np.uint8)
    return BytesColumn(data, length.cumsum() - length, length, null, text)
