"""Find a schema by its name among those shipped, or in a file of the user's."""

import json
from importlib import resources
from pathlib import Path
from typing import Any

from schemas.errors import ConfigurationError


def load(name: str) -> dict[str, Any]:
    """The shipped schema of this name.

    transaction, decision, dead_letter, feature_sample, label, drift_report or retrain_request.
    """
    schema: dict[str, Any] = json.loads(resources.files("schemas").joinpath(f"{name}.avsc").read_text())
    return schema


def load_plain(name: str) -> dict[str, Any]:
    """The shipped schema without its logical types: a time is a number, where fastavro would make it a datetime."""
    plain: dict[str, Any] = _plain(load(name))
    return plain


def _plain(schema: Any) -> Any:
    if isinstance(schema, dict):
        return {key: _plain(value) for key, value in schema.items() if key != "logicalType"}
    return [_plain(item) for item in schema] if isinstance(schema, list) else schema


def load_file(path: Path | str) -> dict[str, Any]:
    """The Avro schema in this file.

    Raises ConfigurationError if the file cannot be read or does not hold a JSON object.
    """
    try:
        schema = json.loads(Path(path).read_text())
    except OSError as error:
        raise ConfigurationError(f"The schema file {path} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise ConfigurationError(f"The schema file {path} is not JSON: {error}.") from error
    if not isinstance(schema, dict):
        raise ConfigurationError(f"The schema file {path} does not hold an Avro record schema.")
    return schema
