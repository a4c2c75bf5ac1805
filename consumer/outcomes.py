"""Read decisions back from their topic as columns: about which record each is, and how its card was assigned."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import msgspec
import numpy as np
from numpy.typing import NDArray

from consumer.settings import Format, WorkerSettings
from consumer.wire import registry_client
from schemas import framing
from schemas.columns import BytesColumn, Columns, NumberColumn, Reason
from schemas.compile import compile_decoder
from schemas.decision import place_of
from schemas.flatten import flatten
from schemas.framing import AvroReader, RecordReader
from schemas.load import load
from schemas.sources import PinnedSchemas, SchemaSource

_TEXTS = (
    "transaction_id",
    "unit",
    "source_topic",
    "replay",
    "experiment_id",
    "experiment_salt_id",
    "experiment_variant",
)
_NUMBERS = ("source_partition", "source_offset", "decided_at", "experiment_epoch", "experiment_bucket")


class Named(NamedTuple):
    """The rollout that a decision names, and the variant that it says the card has there."""

    experiment: bytes
    epoch: int
    salt_id: bytes
    variant: bytes


@dataclass(frozen=True, slots=True)
class Outcomes:
    """n decisions; arrays have the shape (n,). Where one is not ``readable`` (bool) the rest of its row says nothing.

    ``partition``, ``offset`` int64: of the source record in ``topic``. ``decided_at`` int64 ms since 1970. ``bucket``
    int64. ``replay`` is None where it was decided live. ``duplicate_of`` int64 is the offset, in the same partition, of
    the record whose decision counts in the place of this one, and -1 where this one does.
    """

    readable: NDArray[np.bool_]
    topic: Sequence[bytes | None]
    partition: NDArray[np.int64]
    offset: NDArray[np.int64]
    replay: Sequence[bytes | None]
    duplicate_of: NDArray[np.int64]
    decided_at: NDArray[np.int64]
    transaction_id: Sequence[bytes | None]
    unit: Sequence[bytes | None]
    bucket: NDArray[np.int64]
    named: Sequence[Named]

    def __len__(self) -> int:
        return len(self.readable)


OutcomeReader = Callable[[Sequence[bytes | None]], Outcomes]
"""From the values of decisions, None for a tombstone, to their columns."""


def outcome_reader(settings: WorkerSettings) -> OutcomeReader:
    """A reader of decisions as ``decision_encoder`` writes them with these settings.

    It raises RegistryUnavailableError where a registry does not answer.
    """
    if settings.output_format is Format.JSON:
        return _read_json
    reader = avro_reader(settings, (*_TEXTS, *_NUMBERS, "duplicate_of"))

    def read(values: Sequence[bytes | None]) -> Outcomes:
        columns = reader.read(values)
        if not columns.columns:  # not one row of a known schema
            return _from_rows([None] * len(values))
        return _from_columns(columns)

    return read


def avro_reader(settings: WorkerSettings, fields: Sequence[str]) -> RecordReader:
    """A reader of some fields of decisions in Avro; those of an inner record bear its name too: ``source_topic``."""
    ours = flatten(load("decision"))
    if settings.output_format is Format.SINGLE_OBJECT:
        prefix = framing.single_object_prefix(load("decision"))
        known = {prefix: compile_decoder(ours, fields)}
        return AvroReader(framing.SINGLE_OBJECT_MAGIC, len(prefix), known, lambda _head: None)
    source: SchemaSource = PinnedSchemas({settings.output_schema_id: load("decision")})
    if settings.schema_registry_url is not None:
        source = registry_client(settings, [f"{settings.decisions_topic}-value"])
    return framing.confluent(_Flattened(source), fields, ours)


@dataclass(frozen=True, slots=True)
class _Flattened:
    """The schemas of another source with their inner records opened."""

    source: SchemaSource

    def schema(self, schema_id: int) -> Mapping[str, Any] | None:
        """As the other source."""
        schema = self.source.schema(schema_id)
        return None if schema is None else flatten(schema)

    def known(self) -> Mapping[int, Mapping[str, Any]]:
        """As the other source."""
        return {number: flatten(schema) for number, schema in self.source.known().items()}


def _from_columns(columns: Columns) -> Outcomes:
    texts = {name: _texts(columns, name) for name in _TEXTS}
    numbers = {name: _numbers(columns, name) for name in _NUMBERS}
    named = zip(
        texts["experiment_id"],
        numbers["experiment_epoch"].tolist(),
        texts["experiment_salt_id"],
        texts["experiment_variant"],
        strict=True,
    )
    return Outcomes(
        readable=columns.reason == Reason.OK,
        topic=texts["source_topic"],
        partition=numbers["source_partition"],
        offset=numbers["source_offset"],
        replay=texts["replay"],
        duplicate_of=_originals(columns),
        decided_at=numbers["decided_at"],
        transaction_id=texts["transaction_id"],
        unit=texts["unit"],
        bucket=numbers["experiment_bucket"],
        named=[Named(*each) for each in named],  # type: ignore[arg-type]
    )


def _texts(columns: Columns, name: str) -> list[bytes | None]:
    column = columns.columns[name]
    assert isinstance(column, BytesColumn)
    return column.to_list()


def _originals(columns: Columns) -> NDArray[np.int64]:
    """The offset that each id of a decision was made from, -1 for none."""
    column = columns.columns["duplicate_of"]
    assert isinstance(column, BytesColumn)
    offsets = np.full(len(columns), -1)
    for row in np.flatnonzero(column.length).tolist():
        start = int(column.start[row])
        offsets[row] = place_of(UUID(bytes=column.data[start : start + 16].tobytes()))[1]
    return offsets


def _numbers(columns: Columns, name: str) -> NDArray[np.int64]:
    column = columns.columns[name]
    assert isinstance(column, NumberColumn)
    return column.values.astype(np.int64)


_Long = Annotated[int, msgspec.Meta(ge=-(1 << 63), le=(1 << 63) - 1)]


class _Source(msgspec.Struct):
    topic: str
    partition: _Long
    offset: _Long


class _Experiment(msgspec.Struct):
    id: str
    epoch: int
    variant: str
    bucket: _Long
    salt_id: str


class _Row(msgspec.Struct):
    transaction_id: str
    unit: str
    source: _Source
    decided_at: _Long
    experiment: _Experiment
    replay: str | None = None
    duplicate_of: UUID | None = None


_NOTHING = _Row("", "", _Source("", 0, 0), 0, _Experiment("", 0, "", 0, ""))


def _read_json(values: Sequence[bytes | None]) -> Outcomes:
    decode = msgspec.json.Decoder(_Row).decode

    def row(value: bytes | None) -> _Row | None:
        try:
            return None if value is None else decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    return _from_rows(list(map(row, values)))


def _from_rows(found: Sequence[_Row | None]) -> Outcomes:
    rows = [row or _NOTHING for row in found]

    def integers(values: list[int]) -> NDArray[np.int64]:
        return np.array(values, np.int64)

    return Outcomes(
        readable=np.array([row is not None for row in found], np.bool_),
        topic=[row.source.topic.encode() for row in rows],
        partition=integers([row.source.partition for row in rows]),
        offset=integers([row.source.offset for row in rows]),
        replay=[None if row.replay is None else row.replay.encode() for row in rows],
        duplicate_of=integers([-1 if row.duplicate_of is None else place_of(row.duplicate_of)[1] for row in rows]),
        decided_at=integers([row.decided_at for row in rows]),
        transaction_id=[row.transaction_id.encode() for row in rows],
        unit=[row.unit.encode() for row in rows],
        bucket=integers([row.experiment.bucket for row in rows]),
        named=[_named(row.experiment) for row in rows],
    )


def _named(experiment: _Experiment) -> Named:
    return Named(experiment.id.encode(), experiment.epoch, experiment.salt_id.encode(), experiment.variant.encode())
