"""Decide when a model is to be trained again: at its first critical alarm, and then not again for a while."""

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import fastavro

from drift.alarm import Severity
from drift.report import DriftReport
from drift.windows import DAY
from models.registry import Version
from schemas.errors import InvalidRecordError
from schemas.framing import single_object_prefix
from schemas.load import load, load_plain

PAUSE = DAY
"""Event time (ms) for which one request speaks: training takes hours, and a drift that goes on is no news."""


@dataclass(slots=True)
class Requests:
    """The requests that were ``made``: for ``name@version`` of a model the end of the window that led to its last."""

    made: dict[str, int]

    def due(self, report: DriftReport) -> bool:
        """Whether the report leads to a request, which then is taken to be made."""
        model = f"{report.watched.name}@{report.watched.version}"
        last = self.made.get(model)
        if report.severity is not Severity.CRITICAL or (last is not None and report.window_end < last + PAUSE):
            return False
        self.made = {known: end for known, end in self.made.items() if end > report.window_end - PAUSE} | {
            model: report.window_end
        }
        return True


@dataclass(frozen=True, slots=True)
class Request:
    """That ``version`` of a model is trained again: ``variant`` met traffic that its baseline does not know.

    The window that was found to differ ends at ``window_end`` (ms of event time); ``subjects`` are what alarmed in it,
    the surest first.
    """

    version: Version
    variant: str
    window_end: int
    subjects: tuple[str, ...]

    @property
    def key(self) -> str:
        """What the record of the request bears as its key: the same key, the same request."""
        return f"{self.version}/{self.window_end}"


def key_of(report: DriftReport) -> bytes:
    """The key of the request that a report leads to."""
    return f"{report.watched.name}@{report.watched.version}/{report.window_end}".encode()


def decode(value: bytes | None) -> Request:
    """The request that ``encode`` wrote. Raises InvalidRecordError for anything else."""
    if value is None or not value.startswith(_prefix()):
        raise InvalidRecordError("it is no retraining request of this version")
    try:
        record: Any = fastavro.schemaless_reader(io.BytesIO(value[len(_prefix()) :]), _plain_schema(), None)
        return Request(
            Version(record["model"]["name"], record["model"]["version"]),
            record["variant"],
            record["window_end"],
            tuple(dict.fromkeys(alarm["subject"] for alarm in record["alarms"])),
        )
    except Exception as error:  # noqa: BLE001 - on untrusted bytes fastavro raises whatever it trips over
        raise InvalidRecordError(f"it is a broken retraining request: {type(error).__name__}") from None


def encode(report: DriftReport) -> bytes:
    """The request that a report leads to, as an Avro single object; equal reports give equal bytes."""
    out = io.BytesIO()
    out.write(_prefix())
    fastavro.schemaless_writer(out, _schema(), _record(report), strict=True)
    return out.getvalue()


def _record(report: DriftReport) -> dict[str, Any]:
    return {
        "model": {"name": report.watched.name, "version": report.watched.version},
        "variant": report.watched.variant,
        "baseline": report.baseline,
        "scale": report.scale,
        "window_start": report.window_start,
        "window_end": report.window_end,
        "alarms": [
            {
                "subject": test.subject,
                "kind": test.kind.value,
                "severity": test.severity.value,
                "statistic": test.statistic,
                "threshold": test.threshold,
            }
            for test in report.alarms
        ],
    }


@lru_cache(maxsize=1)
def _schema() -> Any:
    return fastavro.parse_schema(load("retrain_request"))


@lru_cache(maxsize=1)
def _plain_schema() -> Any:
    return fastavro.parse_schema(load_plain("retrain_request"))


@lru_cache(maxsize=1)
def _prefix() -> bytes:
    return single_object_prefix(load("retrain_request"))
