"""Write a batch of decisions as the bytes that ``decision.avsc`` promises, all rows at once.

Most of a decision is the same for every row of a variant (model, policy, experiment) or of fixed width (score,
identity). So the batch is split into groups of rows with one layout, a template of the constant bytes is laid
under each group, and only the fields that differ are written into its columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from math import isnan
from struct import pack
from typing import Any
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray
from xxhash import xxh64_intdigest

from schemas.columns import BytesColumn, windows

Bytes = NDArray[np.uint8]


class Outcome(IntEnum):
    """What the policy makes of a score; the value is the index of the Avro symbol."""

    APPROVE = 0
    REVIEW = 1
    DECLINE = 2


@dataclass(frozen=True, slots=True)
class Lineage:
    """What every decision of one variant has in common: the policy, the model and the assignment.

    With a ``fallback_reason`` the control decided in the place of another variant, or for want of a unit to draw a
    variant by: the decisions are degraded.
    """

    policy_version: str
    review_at: float
    decline_at: float
    model_name: str
    model_version: str
    model_sha256: bytes
    backend: str
    experiment_id: str
    epoch: int
    variant: str
    salt_id: str
    probability: float
    fallback_reason: str | None = None


@dataclass(frozen=True, slots=True)
class ReasonCode:
    """A feature, by its code or its name, and its share of the log-odds."""

    feature: str
    contribution: float


@dataclass(frozen=True, slots=True)
class Invocation:
    """A request to an endpoint: the production variant that answered, as far as it said, and how long it took.

    ``seconds`` are those of the request alone, without its queue and without attempts before it.
    """

    variant: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Decisions:
    """n decisions as columns, every array of shape (n,).

    ``partition`` int32, ``offset`` int64, ``event_time`` int64 (ms since 1970), ``score`` float64 in [0, 1],
    ``outcome`` uint8 (:class:`Outcome`), ``variant`` uint8 (index into ``lineages``), ``bucket`` int64.
    ``reasons`` holds the reason codes of the flagged rows by row number. ``decided_at`` is ms since 1970. ``shadows``
    holds the (n,) float64 scores of each shadow by name, NaN where it gave none. ``duplicate_of`` (n,) int64 holds the
    offset, in the same partition, of the record whose decision counts in the place of this one, and -1 where this one
    does; None where no row is a duplicate. ``invoked`` (n,) int16 indexes ``invocations``, -1 for what was scored in
    process; None where all was.
    """

    transaction_id: BytesColumn
    unit: BytesColumn
    topic: str
    partition: NDArray[np.int32]
    offset: NDArray[np.int64]
    event_time: NDArray[np.int64]
    decided_at: int
    score: NDArray[np.float64]
    outcome: NDArray[np.uint8]
    variant: NDArray[np.uint8]
    bucket: NDArray[np.int64]
    lineages: tuple[Lineage, ...]
    reasons: Mapping[int, Sequence[ReasonCode]]
    replay: str | None = None
    shadows: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    duplicate_of: NDArray[np.int64] | None = None
    invoked: NDArray[np.int16] | None = None
    invocations: Sequence[Invocation] = ()

    def invocation(self, row: int) -> Invocation | None:
        """The request that scored this row; None in process."""
        index = -1 if self.invoked is None else int(self.invoked[row])
        return None if index < 0 else self.invocations[index]

    def __len__(self) -> int:
        return len(self.score)


def encode(decisions: Decisions, prefix: bytes) -> list[bytes]:
    """The Avro binary encoding of each decision behind ``prefix`` (the framing), in order.

    The source is the Avro 1.12 specification, "Binary Encoding"; every value decodes with plain fastavro.
    """
    values = _encode_without_reasons(decisions, prefix)
    for row, codes in decisions.reasons.items():
        if codes:  # an Avro array: a block of items, then the empty block that already stands in every value
            items = b"".join(_string(code.feature) + pack("<d", code.contribution) for code in codes)
            tail = 1 + len(_invocation(decisions.invocation(row)))
            values[row] = values[row][:-tail] + _varint(len(codes)) + items + values[row][-tail:]
    return values


def encode_json(decisions: Decisions) -> list[bytes]:
    """Each decision as a JSON object with the field names of ``decision.avsc``; digests and ids are hex strings."""
    encoder = msgspec.json.Encoder()
    return [encoder.encode(record) for record in to_records(decisions)]


def to_records(decisions: Decisions) -> list[dict[str, Any]]:
    """Each decision as the record that ``decision.avsc`` describes, for people and for JSON."""
    ids = decision_ids(decisions)
    rows = zip(
        ids,
        decisions.transaction_id.to_list(),
        decisions.unit.to_list(),
        decisions.partition.tolist(),
        decisions.offset.tolist(),
        decisions.event_time.tolist(),
        decisions.score.tolist(),
        decisions.outcome.tolist(),
        decisions.variant.tolist(),
        decisions.bucket.tolist(),
        _shadow_records(decisions),
        _originals(decisions),
        strict=True,
    )
    return [
        {
            "decision_id": str(UUID(bytes=identity.tobytes())),
            "transaction_id": (transaction or b"").decode(),
            "unit": (unit or b"").decode(),
            "source": {"topic": decisions.topic, "partition": partition, "offset": offset},
            "event_time": event_time,
            "decided_at": decisions.decided_at,
            "score": score,
            "decision": Outcome(outcome).name.lower(),
            **_lineage_record(decisions.lineages[variant], bucket),
            "shadow": shadow,
            "degraded": decisions.lineages[variant].fallback_reason is not None,
            "fallback_reason": decisions.lineages[variant].fallback_reason,
            "replay": decisions.replay,
            "duplicate_of": original,
            "reason_codes": [
                {"feature": code.feature, "contribution": code.contribution} for code in decisions.reasons.get(row, ())
            ],
            **_invocation_record(decisions.invocation(row)),
        }
        for row, (
            identity,
            transaction,
            unit,
            partition,
            offset,
            event_time,
            score,
            outcome,
            variant,
            bucket,
            shadow,
            original,
        ) in enumerate(rows)
    ]


def _invocation_record(invocation: Invocation | None) -> dict[str, Any]:
    return {
        "invoked_variant": invocation and invocation.variant,
        "invocation_seconds": invocation and invocation.seconds,
    }


def _shadow_records(decisions: Decisions) -> list[list[dict[str, Any]]]:
    columns = {name: scores.tolist() for name, scores in decisions.shadows.items()}
    return [
        [{"variant": name, "score": scores[row]} for name, scores in columns.items() if not isnan(scores[row])]
        for row in range(len(decisions))
    ]


def _originals(decisions: Decisions) -> list[str | None]:
    if decisions.duplicate_of is None:
        return [None] * len(decisions)
    ids = _decision_ids(decisions.topic, decisions.replay, decisions.partition, decisions.duplicate_of)
    numbered = zip(ids, decisions.duplicate_of.tolist(), strict=True)
    return [str(UUID(bytes=identity.tobytes())) if offset >= 0 else None for identity, offset in numbered]


def _lineage_record(lineage: Lineage, bucket: int) -> dict[str, Any]:
    return {
        "policy": {
            "version": lineage.policy_version,
            "review_at": lineage.review_at,
            "decline_at": lineage.decline_at,
        },
        "model": {
            "name": lineage.model_name,
            "version": lineage.model_version,
            "sha256": lineage.model_sha256.hex(),
            "backend": lineage.backend,
        },
        "experiment": {
            "id": lineage.experiment_id,
            "epoch": lineage.epoch,
            "variant": lineage.variant,
            "bucket": bucket,
            "salt_id": lineage.salt_id,
            "probability": lineage.probability,
        },
    }


def decision_id(topic: str, partition: int, offset: int, replay: str | None = None) -> UUID:
    """The id of the decision for one source record: the same record and replay name, the same id, for ever."""
    ids = _decision_ids(topic, replay, np.array([partition], np.int32), np.array([offset], np.int64))
    return UUID(bytes=ids[0].tobytes())


def decision_ids(decisions: Decisions) -> Bytes:
    """The ids of the decisions, as :func:`decision_id` gives them, (n, 16) uint8."""
    return _decision_ids(decisions.topic, decisions.replay, decisions.partition, decisions.offset)


def place_of(identity: UUID) -> tuple[int, int]:
    """The partition and the offset of the source record that ``decision_id`` was made from."""
    place = identity.int & ((1 << 62) - 1)
    return place >> 46, place & ((1 << 46) - 1)


def _decision_ids(topic: str, replay: str | None, partition: NDArray[np.int32], offset: NDArray[np.int64]) -> Bytes:
    """(n, 16) uint8: UUIDs of version 8 (RFC 9562, section 5.8).

    The first half is a hash of the topic and the replay name; the second holds the partition (16 bits) and the
    offset (46 bits), so two records of one topic can never share an id.
    """
    name = xxh64_intdigest(f"{topic}\0{replay or ''}".encode())
    words = np.empty((len(offset), 2), ">u8")
    words[:, 0] = (name & ~0xF000) | 0x8000
    words[:, 1] = np.uint64(1 << 63) | (partition.astype(np.uint64) << np.uint64(46)) | offset.astype(np.uint64)
    return words.view(np.uint8)


def _encode_without_reasons(decisions: Decisions, prefix: bytes) -> list[bytes]:
    if len(decisions) == 0:
        return []
    numbers = {
        "transaction_size": _zigzag(decisions.transaction_id.length),
        "unit_size": _zigzag(decisions.unit.length),
        "partition": _zigzag(decisions.partition),
        "offset": _zigzag(decisions.offset),
        "event_time": _zigzag(decisions.event_time),
        "bucket": _zigzag(decisions.bucket),
    }
    ids = decision_ids(decisions)
    groups = _groups_of_one_layout(decisions, numbers)
    if len(groups) == 1:
        return _encode_group(decisions, numbers, ids, slice(None), prefix)
    values = [b""] * len(decisions)
    for rows in groups:
        for row, value in zip(rows.tolist(), _encode_group(decisions, numbers, ids, rows, prefix), strict=True):
            values[row] = value
    return values


def _groups_of_one_layout(decisions: Decisions, numbers: Mapping[str, NDArray[np.uint64]]) -> list[NDArray[np.int64]]:
    """Row numbers of each group whose rows agree in variant, id lengths, widths of varints, nulls and request."""
    layout = decisions.variant.astype(np.int64)
    if decisions.invoked is not None:
        layout = layout * (len(decisions.invocations) + 1) + decisions.invoked + 1
    layout = layout * (1 << 20) + decisions.transaction_id.length
    layout = layout * (1 << 20) + decisions.unit.length
    for name in ("partition", "offset", "event_time", "bucket"):
        layout = layout * 11 + _width(numbers[name])
    for scores in decisions.shadows.values():
        layout = layout * 2 + np.isnan(scores)
    if decisions.duplicate_of is not None:
        layout = layout * 2 + (decisions.duplicate_of >= 0)
    if (layout == layout[0]).all():
        return [np.arange(len(layout))]
    order = np.argsort(layout, kind="stable")
    starts = np.flatnonzero(np.diff(layout[order])) + 1
    return np.split(order, starts)


def _encode_group(
    decisions: Decisions,
    numbers: Mapping[str, NDArray[np.uint64]],
    ids: Bytes,
    rows: slice | NDArray[np.int64],
    prefix: bytes,
) -> list[bytes]:
    lineage = decisions.lineages[int(decisions.variant[rows][0])]

    def varint(name: str) -> Bytes:
        return _varints(numbers[name][rows])

    row = _Row()
    row.constant(prefix)
    row.column(ids[rows])
    row.column(varint("transaction_size"))
    row.column(_matrix(decisions.transaction_id, rows))
    row.column(varint("unit_size"))
    row.column(_matrix(decisions.unit, rows))
    row.constant(_string(decisions.topic))
    row.column(varint("partition"))
    row.column(varint("offset"))
    row.column(varint("event_time"))
    row.constant(_varint(decisions.decided_at))
    row.column(decisions.score[rows].astype("<f8")[:, None].view(np.uint8))
    row.column((decisions.outcome[rows] * np.uint8(2))[:, None])  # the zigzag of a small number
    row.constant(_string(lineage.policy_version) + pack("<dd", lineage.review_at, lineage.decline_at))
    row.constant(_string(lineage.model_name) + _string(lineage.model_version))
    row.constant(lineage.model_sha256 + _string(lineage.backend))
    row.constant(_string(lineage.experiment_id) + _varint(lineage.epoch) + _string(lineage.variant))
    row.column(varint("bucket"))
    row.constant(_string(lineage.salt_id) + pack("<d", lineage.probability))
    _write_shadows(row, {name: scores[rows] for name, scores in decisions.shadows.items()})
    row.constant((b"\0" if lineage.fallback_reason is None else b"\x01") + _optional(lineage.fallback_reason))
    row.constant(_optional(decisions.replay))
    _write_original(row, decisions, rows)
    row.constant(b"\0")  # the end of the reason codes
    row.constant(_invocation(decisions.invocation(int(np.arange(len(decisions))[rows][0]))))
    return row.values()


def _write_shadows(row: "_Row", shadows: Mapping[str, NDArray[np.float64]]) -> None:
    """An Avro array of the shadows that scored the rows of this group, and its end."""
    present = {name: scores for name, scores in shadows.items() if not isnan(scores[0])}
    if present:
        row.constant(_varint(len(present)))
    for name, scores in present.items():
        row.constant(_string(name))
        row.column(scores.astype("<f8")[:, None].view(np.uint8))
    row.constant(b"\0")


def _write_original(row: "_Row", decisions: Decisions, rows: slice | NDArray[np.int64]) -> None:
    """The id of the decision that counts, or null, in the union ``["null", "DecisionId"]``."""
    offsets = None if decisions.duplicate_of is None else decisions.duplicate_of[rows]
    if offsets is None or offsets[0] < 0:
        row.constant(b"\0")
        return
    row.constant(b"\x02")
    row.column(_decision_ids(decisions.topic, decisions.replay, decisions.partition[rows], offsets))


def _invocation(invocation: Invocation | None) -> bytes:
    if invocation is None:
        return b"\0\0"
    return _optional(invocation.variant) + b"\x02" + pack("<d", invocation.seconds)


def _optional(text: str | None) -> bytes:
    """A string or null in the union ``["null", "string"]``."""
    return b"\0" if text is None else b"\x02" + _string(text)


class _Row:
    """The bytes of one row, left to right: constants, and columns of one width for all rows of the group."""

    __slots__ = ("_columns", "_template")

    def __init__(self) -> None:
        self._template = bytearray()
        self._columns: list[tuple[int, Bytes]] = []

    def constant(self, data: bytes) -> None:
        self._template += data

    def column(self, data: Bytes) -> None:
        self._columns.append((len(self._template), data))
        self._template += bytes(data.shape[1])

    def values(self) -> list[bytes]:
        width = len(self._template)
        out = np.empty((len(self._columns[0][1]), width), np.uint8)
        out[:] = np.frombuffer(self._template, np.uint8)
        for at, data in self._columns:
            out[:, at : at + data.shape[1]] = data
        values: list[bytes] = out.view(f"V{width}").ravel().tolist()
        return values


def _matrix(column: BytesColumn, rows: slice | NDArray[np.int64]) -> Bytes:
    """The bytes of rows of one length as (n, length) uint8."""
    length = int(column.length[rows][0])
    if length == 0:
        return np.empty((len(column.start[rows]), 0), np.uint8)
    return windows(column.data, length)[column.start[rows]][:, None].view(np.uint8)


def _zigzag(values: NDArray[Any]) -> NDArray[np.uint64]:
    signed = values.astype(np.int64, copy=False)
    return ((signed << 1) ^ (signed >> 63)).view(np.uint64)


_WIDTHS = np.array([1 << (7 * width) for width in range(1, 10)], np.uint64)


def _width(zigzag: NDArray[np.uint64]) -> NDArray[np.int64] | int:
    """Bytes of each varint; one number where all agree."""
    smallest, largest = np.searchsorted(_WIDTHS, [zigzag.min(), zigzag.max()], side="right").tolist()
    if smallest == largest:
        return int(smallest) + 1
    return np.searchsorted(_WIDTHS, zigzag, side="right") + 1


def _varints(zigzag: NDArray[np.uint64]) -> Bytes:
    """Varints of one width as (n, width) uint8."""
    width = int(np.searchsorted(_WIDTHS, zigzag[0], side="right")) + 1
    out = np.empty((len(zigzag), width), np.uint8)
    for at in range(width):
        out[:, at] = (zigzag >> np.uint64(7 * at)).astype(np.uint8) | 0x80
    out[:, -1] &= 0x7F
    return out


@lru_cache(maxsize=256)
def _varint(value: int) -> bytes:
    return _varints(_zigzag(np.array([value], np.int64))).tobytes()


@lru_cache(maxsize=256)
def _string(text: str) -> bytes:
    data = text.encode()
    return _varint(len(data)) + data
