"""Write what a batch showed to its models as one record, and read it back."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import fastavro
import numpy as np
from numpy.typing import NDArray

from schemas.errors import InvalidRecordError
from schemas.framing import single_object_prefix
from schemas.load import load, load_plain

MINUTE_MS = 60_000
"""Records are counted by minutes of their event time."""

DEAD_LETTER = -1
"""The arm of records that were not scored."""

RUN = np.dtype([("partition", "<i4"), ("first", "<i8"), ("length", "<i4")])
CELL = np.dtype([("minute", "<i4"), ("arm", "<i2"), ("outcome", "<i2")])

_COLUMNS: Mapping[str, str] = {
    "hashes": "<u8",
    "units": "<u8",
    "event_times": "<i8",
    "scores": "<f4",
    "outcomes": "u1",
}


@dataclass(frozen=True, slots=True)
class SampledArm:
    """n sampled rows of one variant.

    ``hashes`` and ``units`` (n,) uint64, ``event_times`` (n,) int64 in ms since 1970, ``scores`` (n,) float32,
    ``outcomes`` (n,) uint8, ``rows`` (n, k) float32 with the columns ``features``, NaN where missing. ``schemas``
    (uint64) are the different ones that wrote them.
    """

    model_name: str
    model_version: str
    variant: str
    epoch: int
    features: tuple[str, ...]
    hashes: NDArray[np.uint64]
    units: NDArray[np.uint64]
    event_times: NDArray[np.int64]
    scores: NDArray[np.float32]
    outcomes: NDArray[np.uint8]
    schemas: NDArray[np.uint64]
    rows: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class FeatureSample:
    """The sample of a batch and the counts of all its records.

    ``runs`` is an array of ``RUN``: the records, by partition and offset. ``records`` holds for each of them, in the
    order of the runs, its index into ``cells``, an array of ``CELL``. A hash up to ``threshold`` is in the sample.
    """

    sampled_at: int
    topic: str
    salt: str
    threshold: int
    runs: NDArray[np.void]
    cells: NDArray[np.void]
    records: NDArray[np.integer[Any]]
    arms: tuple[SampledArm, ...]


def encode(sample: FeatureSample) -> bytes:
    """The sample as an Avro single object: it names its schema by itself."""
    out = io.BytesIO()
    out.write(_prefix())
    record = {
        "sampled_at": sample.sampled_at,
        "topic": sample.topic,
        "salt": sample.salt,
        "threshold": sample.threshold.to_bytes(8, "little"),
        "runs": sample.runs.tobytes(),
        "cells": sample.cells.tobytes(),
        "records": sample.records.astype(_index(len(sample.cells)), copy=False).tobytes(),
        "arms": [_arm_record(arm) for arm in sample.arms],
    }
    fastavro.schemaless_writer(out, _schema(), record)
    return out.getvalue()


def decode(value: bytes | None) -> FeatureSample:
    """The sample that ``encode`` wrote. Raises InvalidRecordError for anything else."""
    prefix = _prefix()
    if value is None or not value.startswith(prefix):
        raise InvalidRecordError("it is no feature sample of this version")
    try:
        record: Any = fastavro.schemaless_reader(io.BytesIO(value[len(prefix) :]), _schema(), None)
        cells = np.frombuffer(record["cells"], CELL)
        sample = FeatureSample(
            record["sampled_at"],
            record["topic"],
            record["salt"],
            int.from_bytes(record["threshold"], "little"),
            np.frombuffer(record["runs"], RUN),
            cells,
            np.frombuffer(record["records"], _index(len(cells))),
            tuple(map(_arm, record["arms"])),
        )
    except Exception as error:  # noqa: BLE001 - on untrusted bytes fastavro raises whatever it trips over
        raise InvalidRecordError(f"it is a broken feature sample: {type(error).__name__}") from None
    _check(sample)
    return sample


def _check(sample: FeatureSample) -> None:
    arms = sample.cells["arm"]
    sound = (
        bool((sample.runs["length"] > 0).all())
        and int(sample.runs["length"].sum()) == len(sample.records)
        and bool((sample.records < len(sample.cells)).all())
        and bool(((arms >= DEAD_LETTER) & (arms < len(sample.arms))).all())
        and bool(np.isin(sample.cells["outcome"], (0, 1, 2)).all())
    )
    if not sound:
        raise InvalidRecordError("it is a broken feature sample: its counts contradict each other")


def _arm_record(arm: SampledArm) -> dict[str, Any]:
    columns = {name: getattr(arm, name).astype(dtype, copy=False).tobytes() for name, dtype in _COLUMNS.items()}
    return {
        "model": {"name": arm.model_name, "version": arm.model_version},
        "variant": arm.variant,
        "epoch": arm.epoch,
        "features": arm.features,
        "schemas": arm.schemas.astype("<u8", copy=False).tobytes(),
        "rows": arm.rows.astype("<f4", copy=False).tobytes(),
        **columns,
    }


def _arm(record: Mapping[str, Any]) -> SampledArm:
    columns: dict[str, Any] = {name: np.frombuffer(record[name], dtype) for name, dtype in _COLUMNS.items()}
    size, features = len(columns["hashes"]), tuple(record["features"])
    if any(len(column) != size for column in columns.values()):
        raise ValueError("columns of unequal length")
    return SampledArm(
        model_name=record["model"]["name"],
        model_version=record["model"]["version"],
        variant=record["variant"],
        epoch=record["epoch"],
        features=features,
        schemas=np.frombuffer(record["schemas"], "<u8"),
        rows=np.frombuffer(record["rows"], "<f4").reshape(size, len(features)),
        **columns,
    )


def _index(cells: int) -> str:
    """The type of an index into so many cells."""
    return "u1" if cells <= 1 << 8 else "<u2" if cells <= 1 << 16 else "<u4"


@lru_cache(maxsize=1)
def _schema() -> Any:
    return fastavro.parse_schema(load_plain("feature_sample"))


@lru_cache(maxsize=1)
def _prefix() -> bytes:
    return single_object_prefix(load("feature_sample"))
