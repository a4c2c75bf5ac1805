"""Read the features of one transaction from a file that a person wrote or `fraudstream tail --json` printed."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.manifest import Feature
from schemas.errors import ConfigurationError

LARGEST = float(np.finfo(np.float32).max)


def read_features(file: Path, features: Sequence[Feature]) -> NDArray[np.float32]:
    """The values (k,) of ``features`` in the JSON object in ``file``, NaN where one is null or left out.

    Raises ConfigurationError where it is no such object, or a feature is no finite number or may not be missing.
    """
    record = _read(file)
    if not any(feature.name in record for feature in features):
        raise ConfigurationError(f"{file} holds no feature of the model, such as {features[0].name}")
    return np.array([_number(record.get(feature.name), feature, file) for feature in features], np.float32)


def _read(file: Path) -> dict[str, Any]:
    try:
        record = msgspec.json.decode(file.read_bytes())
    except OSError as error:
        raise ConfigurationError(f"--transaction: {file} cannot be read: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigurationError(f"--transaction: {file} is not JSON: {error}") from None
    if isinstance(record, dict) and isinstance(record.get("value"), dict):
        record = record["value"]  # what `tail` prints: the transaction with its place around it
    if not isinstance(record, dict):
        raise ConfigurationError(f"--transaction: {file} is not a JSON object")
    return record


def _number(value: Any, feature: Feature, file: Path) -> float:
    if value is None:
        if feature.missing == "reject":
            raise ConfigurationError(f"{file} lacks {feature.name}, which the model requires")
        return np.nan
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > LARGEST:
        raise ConfigurationError(f"{feature.name} in {file} is not a number that a model can take")
    return float(value)
