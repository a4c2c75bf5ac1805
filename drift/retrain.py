"""Decide when a model is to be trained again: at its first critical alarm, and then not again for a while."""

import io
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import fastavro

from drift.alarm import Severity
from drift.report import DriftReport
from drift.windows import DAY
from schemas.framing import single_object_prefix
from schemas.load import load

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
def _prefix() -> bytes:
    return single_object_prefix(load("retrain_request"))
