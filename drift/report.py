"""Say what one window was found to be, as a record that is the same whenever the same events are looked at."""

import io
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

import fastavro

from drift.alarm import Severity
from drift.tally import Counts
from drift.windows import Watched
from schemas.load import load

SCHEMA = fastavro.parse_schema(load("drift_report"))


class Kind(Enum):
    """What a test looks at; the value is the Avro symbol."""

    SCORE = "score"
    DISTRIBUTION = "distribution"
    CATEGORIES = "categories"
    CONSTANT = "constant"
    MISSING = "missing"
    INFINITE = "infinite"
    RANGE = "range"
    RATE = "rate"


@dataclass(frozen=True, slots=True)
class DriftTest:
    """One hypothesis about one window: that a feature, ``score``, ``alerts``, ``dead_letters`` or ``volume`` is usual.

    ``statistic`` is the size of the change, an alarm beyond ``threshold``: the distance D of two distributions, half
    the sum of the differences of categories (total variation), the difference of shares or rates, of the volume the
    logarithm of how many times. ``adjusted_p`` is Holm's over the window. ``reason`` says why a severity is less than
    the figures would have it. ``reference`` and ``observed`` are the shares or rates, where there are any; of the
    volume, events a minute. ``psi`` and ``wasserstein`` inform. ``shape`` is there for an alarm: the 101 percentiles of
    the window, or its shares of the categories of the baseline and, last, of what the baseline has not seen.
    """

    subject: str
    kind: Kind
    statistic: float
    threshold: float
    p_value: float
    adjusted_p: float
    severity: Severity
    reason: str | None = None
    reference: float | None = None
    observed: float | None = None
    psi: float | None = None
    wasserstein: float | None = None
    shape: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class DriftReport:
    """One window of what a model and variant saw, compared with ``baseline`` (its SHA-256).

    ``window_start`` (included) and ``window_end`` (not) are ms of event time. ``rows`` were compared; they are worth
    ``independent_rows``, as rows of one card are alike. ``counts`` are of all events. ``tests`` begin with the alarms,
    by adjusted p.
    """

    watched: Watched
    baseline: str
    scale: str
    window_start: int
    window_end: int
    rows: int
    independent_rows: float
    counts: Counts
    schemas: tuple[str, ...]
    alpha: float
    severity: Severity
    tests: tuple[DriftTest, ...]

    @property
    def key(self) -> bytes:
        """What a later report about the same window replaces."""
        watched = f"{self.watched.name}@{self.watched.version}/{self.watched.variant}"
        return f"{watched}/{self.scale}/{self.window_start}".encode()

    @property
    def alarms(self) -> tuple[DriftTest, ...]:
        """The tests that found something, the surest first."""
        return tuple(test for test in self.tests if test.severity.is_alarm)


def to_record(report: DriftReport) -> dict[str, Any]:
    """The report as the record that ``drift_report.avsc`` describes, for Avro and for JSON."""
    record = {name: _plain(value) for name, value in asdict(report).items()}
    watched = record.pop("watched")
    model = {"name": watched["name"], "version": watched["version"]}
    return {"model": model, "variant": watched["variant"], **record}


def from_record(record: dict[str, Any]) -> DriftReport:
    """The report behind a record. Raises KeyError, TypeError or ValueError where there is none."""
    rest = {name: value for name, value in record.items() if name not in ("model", "variant")}
    return DriftReport(
        watched=Watched(record["model"]["name"], record["model"]["version"], record["variant"]),
        counts=Counts(**rest.pop("counts")),
        schemas=tuple(rest.pop("schemas")),
        severity=Severity(rest.pop("severity")),
        tests=tuple(map(_test, rest.pop("tests"))),
        **rest,
    )


def _test(record: dict[str, Any]) -> DriftTest:
    kinds = {"kind": Kind(record["kind"]), "severity": Severity(record["severity"]), "shape": tuple(record["shape"])}
    return DriftTest(**record | kinds)


def encode(report: DriftReport) -> bytes:
    """The Avro binary encoding; equal reports give equal bytes."""
    out = io.BytesIO()
    fastavro.schemaless_writer(out, SCHEMA, to_record(report), strict=True)
    return out.getvalue()


def _plain(value: Any) -> Any:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value
