"""Read JSON as dataclasses, and refuse whatever they have no place for."""

import json
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from models.manifest import brief, once
from schemas.errors import ConfigurationError

T = TypeVar("T")


def read_strictly(data: bytes, kind: type[T], source: str, most: int) -> T:
    """What ``data`` says, as a ``kind``; ``source`` names it in errors.

    Raises ConfigurationError, naming the field, for what is unknown, said twice, missing or of another type, and where
    there are more than ``most`` bytes.
    """
    if len(data) > most:
        raise ConfigurationError(f"{source} is larger than it may be: {len(data):,} of {most:,} bytes")
    try:
        # The standard parser lets NaN and 1e400 through to the field that they stand in, which is then named.
        raw = json.loads(data, object_pairs_hook=once)
        read = msgspec.convert(raw, kind)
    except RecursionError as error:
        raise ConfigurationError(f"{source} is nested too deeply") from error
    except ValueError as error:
        raise ConfigurationError(f"{source}: {brief(error)}") from error
    unknown = _unknown(raw, msgspec.to_builtins(read), "$")
    if unknown:
        raise ConfigurationError(f"{source}: there is no field {brief(ValueError(unknown))}")
    return read


def _unknown(raw: Any, read: Any, path: str) -> str | None:
    """The first field of ``raw`` that ``read``, which was made of it, does not have."""
    if isinstance(raw, Mapping):
        for name, value in raw.items():
            inner = f"{path}.{name}"
            found = _unknown(value, read[name], inner) if name in read else inner
            if found:
                return found
    if isinstance(raw, list):
        for index, (value, each) in enumerate(zip(raw, read, strict=True)):
            found = _unknown(value, each, f"{path}[{index}]")
            if found:
                return found
    return None
