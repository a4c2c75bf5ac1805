"""Match the fields that a record was written with to those that are asked for, by name."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.columns import BytesColumn, Column, NumberColumn, filler
from schemas.errors import ConfigurationError
from schemas.flat import NESTED, Field, Record
from schemas.steps import NUMBERS, Target

_PROMOTIONS = {
    "int": {"long", "float", "double"},
    "long": {"float", "double"},
    "float": {"double"},
    "string": {"bytes"},
    "bytes": {"string"},
}


@dataclass(frozen=True, slots=True)
class Constant:
    """A column that holds the same for every row: the default of a field that the writer did not know."""

    target: Target
    value: float | bytes | None

    def column(self, size: int) -> Column:
        """``size`` rows of it."""
        null = np.ones(size, np.bool_) if self.value is None else None
        if self.target.dtype is not None:
            value = filler(self.target.dtype) if self.value is None else self.value
            return NumberColumn(np.full(size, value, self.target.dtype), null, self.target.symbols)
        held = self.value if isinstance(self.value, bytes) else b""
        data = np.frombuffer(held, np.uint8)
        start, length = np.zeros(size, np.int64), np.full(size, len(held), np.int64)
        return BytesColumn(data, start, length, null, self.target.text)


@dataclass(frozen=True, slots=True)
class Resolution:
    """For each field of the writer, in order, the column it becomes (None: skipped); and the columns of defaults."""

    targets: tuple[Target | None, ...]
    constants: tuple[Constant, ...]


def resolve(writer: Record, reader: Record | None, wanted: Collection[str] | None) -> Resolution:
    """What to do with each field of the writer. Without a reader the writer's own names and types count.

    Raises ConfigurationError if a wanted field is missing in both, has no default, is nested, or changes its type in
    a way that Avro does not allow.
    """
    asked = {field.name: field for field in (reader or writer).fields}
    if wanted is None:
        wanted = [name for name, field in asked.items() if field.kind != NESTED]
    for name in wanted:
        if name not in asked:
            raise ConfigurationError(f"The schema {(reader or writer).name} has no field {name}.")
    sources = {field.name: _source(field, writer) for name, field in asked.items() if name in wanted}
    becomes = {source.name: _target(source, asked[name]) for name, source in sources.items() if source}
    missing = [asked[name] for name, source in sources.items() if source is None]
    targets = tuple(becomes.get(field.name) for field in writer.fields)
    return Resolution(targets, tuple(_default(field, writer) for field in missing))


def _source(field: Field, writer: Record) -> Field | None:
    by_name = {source.name: source for source in writer.fields}
    names = (field.name, *field.declaration.get("aliases", ()))
    return next((by_name[name] for name in names if name in by_name), None)


def _target(source: Field, field: Field) -> Target:
    if NESTED in (source.kind, field.kind):
        raise ConfigurationError(f"The field {field.name} is nested; only a flat field can be a column.")
    if source.kind != field.kind and field.kind not in _PROMOTIONS.get(source.kind, ()):
        raise ConfigurationError(f"The field {field.name} is {source.kind} where {field.kind} is expected.")
    if source.kind in {"enum", "fixed"} and not _same_name(source.type, field.type):
        raise ConfigurationError(f"The field {field.name} is a {source.kind} of another name than is expected.")
    if source.kind == "fixed" and source.size != field.size:
        raise ConfigurationError(f"The field {field.name} has {source.size} bytes where {field.size} are expected.")
    nullable = field.null_index is not None or field.kind == "null"
    if source.kind != "enum":
        return Target(field.name, NUMBERS.get(field.kind), nullable, "string" in (source.kind, field.kind))
    remap = _remap(source.symbols, field.symbols, field.type.get("default"))
    return Target(field.name, NUMBERS["enum"], nullable, symbols=field.symbols, remap=remap)


def _same_name(source: Mapping[str, Any], field: Mapping[str, Any]) -> bool:
    accepted = {field["name"], *field.get("aliases", ())}
    return source["name"].split(".")[-1] in {name.split(".")[-1] for name in accepted}


def _remap(source: tuple[str, ...], field: tuple[str, ...], default: str | None) -> NDArray[np.int64] | None:
    if source == field:
        return None
    index = {symbol: at for at, symbol in enumerate(field)}
    other = index.get(default, -1) if default is not None else -1
    return np.array([index.get(symbol, other) for symbol in source], np.int64)


def _default(field: Field, writer: Record) -> Constant:
    if "default" not in field.declaration:
        raise ConfigurationError(f"The schema {writer.name} has no field {field.name}, and there is no default for it.")
    return constant(field)


def constant(field: Field) -> Constant:
    """The column that the declared default of a flat field stands for."""
    value = field.declaration["default"]
    if field.kind == NESTED:
        raise ConfigurationError(f"The field {field.name} is nested; only a flat field can be a column.")
    if field.kind == "enum":
        target = Target(field.name, NUMBERS["enum"], symbols=field.symbols)
        return Constant(target, None if value is None else field.symbols.index(value))
    if isinstance(value, str):  # Avro writes the default of bytes and fixed as the characters U+0000 to U+00FF
        value = value.encode() if field.kind == "string" else value.encode("latin-1")
    dtype = NUMBERS.get(field.kind, _null_dtype(field))
    return Constant(Target(field.name, dtype, text=field.kind == "string"), value)


def _null_dtype(field: Field) -> np.dtype[Any] | None:
    return NUMBERS["double"] if field.kind == "null" else None
