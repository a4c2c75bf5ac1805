"""Decide which columns of a file play which part, and derive the ids that it does not have."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from consumer.decide import Roles
from fraudstream.batch import convert
from fraudstream.batch.convert import Converted
from producer.transactions import card_ids, transaction_ids
from schemas.arrow import is_number, is_text
from schemas.columns import BytesColumn, Column, Columns, Reason
from schemas.dataset import KNOWN_NAMES
from schemas.errors import ConfigurationError

Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Part:
    """A column of ours: made from the column ``source`` of the file; ``wrong`` says what a cell is that cannot be."""

    source: str
    convert: Callable[[pa.Array], Converted]
    wrong: Reason


@dataclass(frozen=True, slots=True)
class Layout:
    """How the rows of one file become columns. ``derived`` makes columns from the numbers of the rows."""

    parts: Mapping[str, _Part]
    derived: Mapping[str, Callable[[Rows], BytesColumn]]

    @property
    def read(self) -> list[str]:
        """The columns of the file that are needed."""
        return list(dict.fromkeys(part.source for part in self.parts.values()))

    def columns(self, batch: pa.RecordBatch, rows: Rows) -> Columns:
        """The rows of ``batch``, whose numbers in the file are ``rows`` (n,) int64."""
        reason = np.zeros(len(rows), np.uint8)
        columns: dict[str, Column] = {name: derive(rows) for name, derive in self.derived.items()}
        for name, part in self.parts.items():
            columns[name], bad = part.convert(batch.column(part.source))
            reason[bad & (reason == Reason.OK)] = part.wrong
        return Columns(reason, columns)


def layout_of(schema: pa.Schema, source: str, roles: Roles, features: Sequence[str], id_prefix: str) -> Layout:
    """What of a file with this ``schema`` is needed, ``source`` naming it in errors.

    Where a role has its default name, the names that `fraudstream train` knows will do as well, and ids may be absent:
    they are derived from the numbers of the rows, with ``id_prefix`` before those of transactions. Texts stand for
    numbers only where all columns are texts, as in CSV.

    Raises ConfigurationError where a column is missing, stands there twice or is of the wrong kind.
    """
    find = _Finder(schema, source)
    parts: dict[str, _Part] = {}
    derived: dict[str, Callable[[Rows], BytesColumn]] = {}
    for name, default, derive in (
        (roles.transaction_id, "transaction_id", partial(_numbered, id_prefix.encode())),
        (roles.unit, "card_id", _card),
    ):
        if name == default and name not in schema.names:
            derived[name] = derive
        else:
            parts[name] = find.text(name)
    parts[roles.event_time] = find.time(roles.event_time)
    parts[roles.amount] = find.number(roles.amount)
    for name in features:
        if name == "amount" and not find.has(name):  # what training called the column that the role names
            parts.setdefault(name, parts[roles.amount])
        else:
            parts.setdefault(name, find.number(name))
    return Layout(parts, derived)


@dataclass(frozen=True, slots=True)
class _Finder:
    """The columns of ``schema`` by what they are to be."""

    schema: pa.Schema
    source: str

    def has(self, name: str) -> bool:
        """Whether there is a column of that name, or of another one that `fraudstream train` takes for it."""
        return any(each in self.schema.names for each in _aliases(name))

    def text(self, name: str) -> _Part:
        column, kind = self._one([name])
        if not (is_text(kind) or pa.types.is_integer(kind)):
            raise self._wrong(column, kind, "text")
        return _Part(column, convert.text, Reason.BAD_UTF8)

    def number(self, name: str) -> _Part:
        column, kind = self._one(_aliases(name))
        if not (is_number(kind) or self._all_texts()):
            raise self._wrong(column, kind, "a number")
        return _Part(column, convert.number, Reason.WRONG_TYPE)

    def time(self, name: str) -> _Part:
        column, kind = self._one([name, *(_aliases("time") if name == "event_time" else ())])
        if not (is_number(kind) or is_text(kind) or pa.types.is_timestamp(kind) or pa.types.is_date(kind)):
            raise self._wrong(column, kind, "a time")
        return _Part(column, convert.milliseconds if column == name else convert.seconds, Reason.WRONG_TYPE)

    def _one(self, candidates: Sequence[str]) -> tuple[str, pa.DataType]:
        column = next((each for each in candidates if each in self.schema.names), None)
        if column is None:
            raise ConfigurationError(f"{self.source} has no column {' or '.join(map(repr, candidates))}")
        if self.schema.names.count(column) > 1:
            raise ConfigurationError(f"{self.source} has two columns {column!r}")
        return column, self.schema.field(column).type

    def _all_texts(self) -> bool:
        return all(map(is_text, self.schema.types))

    def _wrong(self, column: str, kind: pa.DataType, what: str) -> ConfigurationError:
        return ConfigurationError(f"{self.source}: column {column!r} is of type {kind}, and {what} is needed")


def _aliases(name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((name, *KNOWN_NAMES.get(name, ()))))


def _numbered(prefix: bytes, rows: Rows) -> BytesColumn:
    ids = transaction_ids(rows)
    return _fixed(np.char.add(prefix, ids) if prefix else ids)


def _card(rows: Rows) -> BytesColumn:
    return _fixed(card_ids(rows))


def _fixed(ids: NDArray[np.bytes_]) -> BytesColumn:
    """Ids of one width, which lie one after another."""
    width = ids.dtype.itemsize
    start = np.arange(len(ids), dtype=np.int64) * width
    return BytesColumn(ids.view(np.uint8), start, np.full(len(ids), width), None)
