"""Read a record schema as a list of flat fields, and refuse one that untrusted bytes could abuse."""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

from fastavro.schema import SchemaParseException, UnknownType, parse_schema

from schemas.errors import ConfigurationError

PRIMITIVES = frozenset({"null", "boolean", "int", "long", "float", "double", "bytes", "string"})
NESTED = "nested"
"""The kind of a field that is not flat: a record, an array, a map, or a union of more than null and one type."""

Names = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a record.

    ``kind`` is a primitive, "enum", "fixed" or ``NESTED``. ``null_index`` is the union index of null in a nullable
    field, else None. ``type`` is the schema, of the type beside null if nullable.
    """

    name: str
    kind: str
    type: Any
    null_index: int | None
    declaration: Mapping[str, Any]

    @property
    def size(self) -> int:
        """Bytes of a fixed."""
        return int(self.type["size"])

    @property
    def symbols(self) -> tuple[str, ...]:
        """Symbols of an enum."""
        return tuple(self.type["symbols"])


@dataclass(frozen=True, slots=True)
class Record:
    """A record schema: its fields in order, and the named types that they mention."""

    name: str
    fields: tuple[Field, ...]
    names: Names


def parse(schema: Mapping[str, Any]) -> Record:
    """The record that an Avro schema describes.

    Raises ConfigurationError if the schema is not valid, not a record, recursive (10 kB of such a value overflow the
    stack of a reader), or has an array whose items take no bytes (5 bytes can announce 50 million of them).
    """
    names: dict[str, Any] = {}
    plain = {key: value for key, value in schema.items() if not key.startswith("__")}  # what fastavro adds to a copy
    try:
        parsed: Any = parse_schema(deepcopy(plain), names)
        if parsed["type"] != "record":
            raise ConfigurationError(f"The schema is of type {parsed['type']!r}; a stream needs a record.")
        _least_bytes(parsed, names, {})
    except (SchemaParseException, UnknownType, KeyError, TypeError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"The Avro schema is not valid: {error}.") from error
    except RecursionError as error:
        raise ConfigurationError("The Avro schema is nested too deeply.") from error
    return Record(parsed["name"], tuple(_field(field, names) for field in parsed["fields"]), names)


def _field(declaration: Mapping[str, Any], names: Names) -> Field:
    schema = declaration["type"]
    null_index = None
    if isinstance(schema, list) and len(schema) == 2 and "null" in map(kind_of, schema):
        null_index = list(map(kind_of, schema)).index("null")
        schema = schema[1 - null_index]
    schema = names.get(schema, schema) if isinstance(schema, str) else schema
    kind = kind_of(schema)
    if kind not in PRIMITIVES and kind not in {"enum", "fixed"}:
        kind, schema, null_index = NESTED, declaration["type"], None
    return Field(declaration["name"], kind, schema, null_index, declaration)


def kind_of(schema: Any) -> str:
    """The type of a parsed schema: a primitive, a complex type, "union", or the full name of a named type."""
    if isinstance(schema, list):
        return "union"
    return str(schema["type"] if isinstance(schema, dict) else schema)


def _least_bytes(schema: Any, names: Names, known: dict[str, int | None]) -> int:
    """The fewest bytes that a value takes; ``known`` holds those of named types, None while one is being measured."""
    kind = kind_of(schema)
    if kind in names:
        if kind not in known:
            return _least_bytes(names[kind], names, known)
        return _not_recursive(kind, known)
    if kind == "record":
        name = schema["name"]
        if name in known:
            return _not_recursive(name, known)
        known[name] = None
        least = sum(_least_bytes(field["type"], names, known) for field in schema["fields"])
        known[name] = least
        return least
    if kind == "union":
        return 1 + min(_least_bytes(branch, names, known) for branch in schema)
    if kind == "array" and _least_bytes(schema["items"], names, known) == 0:
        raise ConfigurationError("The schema has an array of items without bytes; a few bytes could fill the memory.")
    if kind == "map":
        _least_bytes(schema["values"], names, known)
    return {"null": 0, "float": 4, "double": 8, "fixed": schema["size"] if kind == "fixed" else 0}.get(kind, 1)


def _not_recursive(name: str, known: Mapping[str, int | None]) -> int:
    least = known[name]
    if least is None:
        raise ConfigurationError(f"The schema is recursive in {name}: a small value could overflow the stack.")
    return least
