"""Decide which column of a card data set plays which part, and how much of the legitimate traffic it still holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from schemas.errors import ConfigurationError

LEGITIMATE_KEPT = "fraudstream.legitimate_kept"
"""Key in the metadata of a parquet file; the value is a fraction such as ``20000/284315``."""

KNOWN_NAMES: Mapping[str, tuple[str, ...]] = {
    "time": ("time", "Time"),
    "amount": ("amount", "Amount"),
    "is_fraud": ("is_fraud", "Class"),
}


@dataclass(frozen=True, slots=True)
class Dataset:
    """Card transactions in time order, with labels.

    ``frame`` has ``time`` (float64, s), ``amount`` (float64, currency units), ``is_fraud`` (bool) and the ``features``
    (float64, NaN where missing; ``amount`` is one of them unless others were named), beside whatever else the file
    held. ``legitimate_kept`` is the share of the legitimate transactions that were left in when the set was thinned.
    """

    frame: pd.DataFrame
    features: tuple[str, ...]
    legitimate_kept: float


def read_dataset(
    path: Path,
    *,
    label: str | None = None,
    time: str | None = None,
    amount: str | None = None,
    features: Sequence[str] = (),
    legitimate_kept: float | None = None,
) -> Dataset:
    """The data set in a ``.csv`` or parquet file.

    ``label``, ``time`` and ``amount`` name the columns of those roles where they are not called ``is_fraud`` or
    ``Class``, ``time`` or ``Time``, ``amount`` or ``Amount``. A time is a number of seconds or an ISO 8601 timestamp.
    Without ``features`` they are the floating-point columns, in the order of the file, the amount last.
    ``legitimate_kept`` stands above what the file says of itself.

    Raises ConfigurationError where the file or a column is missing, damaged or of the wrong kind.
    """
    frame, kept = _read(path)
    names = {role: _column(frame, path, role, given) for role, given in _roles(label, time, amount).items()}
    renamed = {name: role for role, name in names.items()}
    frame = frame.rename(columns=renamed)
    if duplicated := frame.columns[frame.columns.duplicated()].tolist():
        raise ConfigurationError(f"{path} has two columns for {duplicated[0]!r}: rename the one that is not meant")
    chosen = tuple(renamed.get(name, name) for name in features) or _floats(frame)
    columns = {"time": _times(frame["time"], path), "is_fraud": _labels(frame["is_fraud"], path)}
    columns |= {name: _numbers(frame, path, name) for name in dict.fromkeys(("amount", *chosen))}
    if np.isnan(columns["amount"]).any():
        raise ConfigurationError(f"{path}: column {names['amount']!r} has a row without an amount")
    frame = frame.assign(**columns).sort_values("time", kind="stable", ignore_index=True)
    return Dataset(frame, chosen, _share(path, kept if legitimate_kept is None else str(legitimate_kept)))


@dataclass(frozen=True, slots=True)
class Rows:
    """Transactions in no order: ``frame`` has the columns that were asked for.

    ``is_fraud`` (n,) bool is None where the file has no labels; ``legitimate_kept`` as for a Dataset.
    """

    frame: pd.DataFrame
    is_fraud: np.ndarray | None
    legitimate_kept: float


def read_rows(path: Path, features: Sequence[str], others: Sequence[str] = ()) -> Rows:
    """The rows of a ``.csv`` or parquet file that need not be labelled: ``features`` as float64, NaN where missing.

    ``others`` are columns that are taken as they are. Raises ConfigurationError as ``read_dataset`` does, but for an
    infinite value: what is to be checked may be wrong.
    """
    frame, kept = _read(path)
    roles = {role: name for role, names in KNOWN_NAMES.items() for name in names if name in frame.columns}
    found = {name: name if name in frame.columns else roles.get(name, name) for name in (*features, *others)}
    for name in found.values():
        if name not in frame.columns:
            raise ConfigurationError(f"data set {path} has no column {name!r}")
    numbers = {name: _floating(frame, path, found[name]) for name in features}
    is_fraud = _labels(frame[roles["is_fraud"]], path) if "is_fraud" in roles else None
    return Rows(pd.DataFrame(numbers | {name: frame[found[name]] for name in others}), is_fraud, _share(path, kept))


def _roles(label: str | None, time: str | None, amount: str | None) -> dict[str, str | None]:
    return {"is_fraud": label, "time": time, "amount": amount}


def _read(path: Path) -> tuple[pd.DataFrame, str]:
    """The file as it is, and what it says of its thinning."""
    if not path.is_file():
        raise ConfigurationError(f"data set {path} does not exist")
    try:
        if path.suffix == ".csv":
            return pd.read_csv(path), "1"
        table = pq.read_table(path)
    except (pa.ArrowException, pd.errors.ParserError, pd.errors.EmptyDataError, ValueError, OSError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise ConfigurationError(f"data set {path} cannot be read, or is only half written: {reason}") from error
    metadata = table.schema.metadata or {}
    return table.to_pandas(), metadata.get(LEGITIMATE_KEPT.encode(), b"1").decode()


def _column(frame: pd.DataFrame, path: Path, role: str, given: str | None) -> str:
    candidates = KNOWN_NAMES[role] if given is None else (given,)
    for name in candidates:
        if name in frame.columns:
            return name
    raise ConfigurationError(f"data set {path} has no column {' or '.join(map(repr, candidates))}")


def _floats(frame: pd.DataFrame) -> tuple[str, ...]:
    floats = [str(name) for name in frame.columns if pd.api.types.is_float_dtype(frame[name].dtype)]
    return (*(name for name in floats if name not in KNOWN_NAMES), "amount")


def _times(column: pd.Series, path: Path) -> np.ndarray:
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iuf":
        seconds = column.to_numpy(np.float64)
    else:
        try:
            stamps = pd.to_datetime(column, utc=True, format="ISO8601")
        except (ValueError, TypeError) as error:
            raise ConfigurationError(
                f"{path}: the time is neither a number of seconds nor an ISO 8601 timestamp"
            ) from error
        seconds = ((stamps - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)).to_numpy(np.float64)
    if not np.isfinite(seconds).all():
        raise ConfigurationError(f"{path} has a row without a time")
    return seconds


def _labels(column: pd.Series, path: Path) -> np.ndarray:
    if not column.isin([0, 1]).all():
        raise ConfigurationError(f"{path}: a label is neither 0 nor 1; a file that was only half written looks so too")
    return column.to_numpy(np.bool_)


def _numbers(frame: pd.DataFrame, path: Path, name: str) -> np.ndarray:
    """(n,) float64, NaN where missing."""
    if name not in frame.columns:
        raise ConfigurationError(f"data set {path} has no column {name!r}")
    values = _floating(frame, path, name)
    if np.isinf(values).any():
        raise ConfigurationError(f"{path}: column {name!r} has an infinite value")
    return values


def _floating(frame: pd.DataFrame, path: Path, name: str) -> np.ndarray:
    try:
        return frame[name].to_numpy(np.float64, na_value=np.nan)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"{path}: column {name!r} is not a column of numbers") from error


def _share(path: Path, text: str) -> float:
    try:
        share = float(Fraction(text))
    except (ValueError, ZeroDivisionError) as error:
        raise ConfigurationError(f"{path}: {LEGITIMATE_KEPT} is {text!r}, not a fraction") from error
    if not 0 < share <= 1:
        raise ConfigurationError(f"the share of legitimate transactions kept must lie between 0 and 1, not {text}")
    return share
