"""Write reports as Avro single objects, which name their schema by themselves, and read them back."""

import io
from functools import lru_cache
from typing import Any

import fastavro

from drift.report import DriftReport, encode, from_record
from schemas.errors import InvalidRecordError
from schemas.framing import single_object_prefix
from schemas.load import load, load_plain


def to_value(report: DriftReport) -> bytes:
    """The value of a record on the drift topic; equal reports give equal bytes."""
    return _prefix() + encode(report)


def from_value(value: bytes) -> DriftReport:
    """The report behind a value. Raises InvalidRecordError for anything else."""
    if not value.startswith(_prefix()):
        raise InvalidRecordError("it is no drift report of this version")
    try:
        record: Any = fastavro.schemaless_reader(io.BytesIO(value[len(_prefix()) :]), _schema(), None)
        return from_record(record)
    except Exception as error:  # noqa: BLE001 - on untrusted bytes fastavro raises whatever it trips over
        raise InvalidRecordError(f"it is a broken drift report: {type(error).__name__}") from None


@lru_cache(maxsize=1)
def _schema() -> Any:
    return fastavro.parse_schema(load_plain("drift_report"))


@lru_cache(maxsize=1)
def _prefix() -> bytes:
    return single_object_prefix(load("drift_report"))
