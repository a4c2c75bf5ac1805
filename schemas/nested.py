"""Find the end of a value that no column can hold, without building it."""

from collections.abc import Callable
from typing import Any

from schemas.columns import Reason
from schemas.flat import Names, kind_of

Skip = Callable[[bytes, int, int], int]
"""``skip(data, at, end)``: the position after the value that starts at ``at``; raises MalformedError."""

_WIDTHS = {"null": 0, "float": 4, "double": 8}


class MalformedError(Exception):
    """Catch this around one row: its bytes are not what the schema says."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.name)
        self.reason = reason


def skipper(schema: Any, names: Names) -> Skip:
    """A function that steps over one value of this (not recursive) schema.

    Its work is bounded by the bytes given: every item of an array takes at least one, which :func:`schemas.flat.parse`
    has made sure of.
    """
    return _compile(schema, names, {})


def _compile(schema: Any, names: Names, known: dict[str, Skip]) -> Skip:
    kind = kind_of(schema)
    if kind in names:
        kind, schema = kind_of(names[kind]), names[kind]
    width = _width(schema, names)
    if width is not None:
        return _skip_bytes(width)
    name = schema.get("name") if isinstance(schema, dict) else None
    if name in known:
        return known[name]
    skip = _variable(kind, schema, names, known)
    if name is not None:
        known[name] = skip
    return skip


def _variable(kind: str, schema: Any, names: Names, known: dict[str, Skip]) -> Skip:
    if kind == "record":
        return _skip_record([_compile(field["type"], names, known) for field in schema["fields"]])
    if kind == "union":
        return _skip_union([_compile(branch, names, known) for branch in schema])
    if kind == "array":
        return _skip_blocks(_compile(schema["items"], names, known), _width(schema["items"], names))
    if kind == "map":
        return _skip_blocks(_skip_record([_skip_text, _compile(schema["values"], names, known)]), None)
    if kind == "enum":
        return _skip_enum(len(schema["symbols"]))
    return {"boolean": _skip_boolean, "int": _skip_varint, "long": _skip_varint}.get(kind, _skip_text)


def _width(schema: Any, names: Names) -> int | None:
    """Bytes of a type whose values all take the same; nested ones count as variable."""
    kind = kind_of(schema)
    if kind in names and kind_of(names[kind]) == "fixed":
        return int(names[kind]["size"])
    return int(schema["size"]) if kind == "fixed" else _WIDTHS.get(kind)


def varint(data: bytes, at: int, end: int) -> tuple[int, int]:
    """The zigzag varint at ``at`` and the position after it."""
    value = shift = 0
    while True:
        if at >= end:
            raise MalformedError(Reason.TRUNCATED)
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
        if shift > 63:
            raise MalformedError(Reason.BAD_VARINT)
    if value >= 1 << 64:
        raise MalformedError(Reason.BAD_VARINT)
    return (value >> 1) ^ -(value & 1), at


def _skip_varint(data: bytes, at: int, end: int) -> int:
    return varint(data, at, end)[1]


def _skip_text(data: bytes, at: int, end: int) -> int:
    size, at = varint(data, at, end)
    if size < 0:
        raise MalformedError(Reason.NEGATIVE_LENGTH)
    if size > end - at:
        raise MalformedError(Reason.TRUNCATED)
    return at + size


def _skip_boolean(data: bytes, at: int, end: int) -> int:
    if at >= end:
        raise MalformedError(Reason.TRUNCATED)
    if data[at] > 1:
        raise MalformedError(Reason.BAD_BOOLEAN)
    return at + 1


def _skip_nothing(_data: bytes, at: int, _end: int) -> int:
    return at


def _skip_bytes(width: int) -> Skip:
    if width == 0:
        return _skip_nothing

    def skip(_data: bytes, at: int, end: int) -> int:
        if width > end - at:
            raise MalformedError(Reason.TRUNCATED)
        return at + width

    return skip


def _skip_enum(symbols: int) -> Skip:
    def skip(data: bytes, at: int, end: int) -> int:
        index, at = varint(data, at, end)
        if not 0 <= index < symbols:
            raise MalformedError(Reason.BAD_ENUM_INDEX)
        return at

    return skip


def _skip_union(branches: list[Skip]) -> Skip:
    def skip(data: bytes, at: int, end: int) -> int:
        index, at = varint(data, at, end)
        if not 0 <= index < len(branches):
            raise MalformedError(Reason.BAD_UNION_INDEX)
        return branches[index](data, at, end)

    return skip


def _skip_record(fields: list[Skip]) -> Skip:
    # Records of records of nothing could take 2**n steps without a byte.
    fields = [field for field in fields if field is not _skip_nothing]
    if not fields:
        return _skip_nothing

    def skip(data: bytes, at: int, end: int) -> int:
        for field in fields:
            at = field(data, at, end)
        return at

    return skip


def _skip_blocks(item: Skip, width: int | None) -> Skip:
    def skip(data: bytes, at: int, end: int) -> int:
        while True:
            count, at = varint(data, at, end)
            if count == 0:
                return at
            if count < 0:  # a block that also tells its size, which is not to be believed
                count = -count
                _, at = varint(data, at, end)
            if width is not None:
                at += count * width  # beyond the end: the count that must follow is not there
                continue
            for _ in range(count):
                at = item(data, at, end)

    return skip
