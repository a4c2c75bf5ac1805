"""Make a data set to train on of what was scored and of what became known of it later."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
import numpy as np
import pandas as pd
from confluent_kafka import Consumer, KafkaException
from numpy.typing import NDArray

from consumer.limits import spans
from consumer.ranges import Extreme, Moment
from consumer.records import RecordBatch
from consumer.settings import WorkerSettings
from consumer.wire import roles_of, transaction_reader
from drift.times import long
from drift.windows import Timing
from fraudstream.kafka import Connection, sentence
from fraudstream.reading import read
from fraudstream.records import RecordReader, schemas_of
from fraudstream.retraining import group_of
from schemas.columns import BytesColumn, Columns, Reason
from schemas.dataset import Dataset
from schemas.errors import ConfigurationError, InvalidRecordError

CARD = "the card"
"""The column of the data set with the unit: no field of an Avro record can have this name."""

_ID = "the id"

_ROLES = ("time", "is_fraud")
"""Columns of a data set that no feature may be called."""

Tell = Callable[[str, int, int], None]
"""Told a topic, how many offsets of it there are to read, and how many more have been."""


@dataclass(frozen=True, slots=True)
class Period:
    """Which transactions are looked at: event times (ms) from ``start`` until before ``end``, None for no end.

    ``matured`` (ms): a transaction without a label is legitimate once it is so much older than the newest label, and
    what is younger is left out. Where it is None only what has a label is taken.
    """

    start: int
    end: int | None
    matured: int | None


@dataclass(frozen=True, slots=True)
class Labelled:
    """The data set, and how many ``transactions`` of the period it was made of."""

    dataset: Dataset
    transactions: int
    source: str


@dataclass(slots=True)
class _Labels:
    """What is known of transactions by their ids: the word that came last counts. Times are ms."""

    fraud: dict[bytes, tuple[int, bool]] = field(default_factory=dict)
    newest: int = 0

    def add(self, label: "_Label") -> None:
        """Take note of one."""
        at = label.label_time
        known_at = at if isinstance(at, int) else int(at.timestamp() * 1000)
        identity = label.transaction_id.encode()
        self.fraud[identity] = max(self.fraud.get(identity, (0, False)), (known_at, label.is_fraud))
        self.newest = max(self.newest, known_at)


class _Label(msgspec.Struct):
    """What is needed of a label. Its time comes as text where it was written in Avro, in ms where it was in JSON."""

    transaction_id: str
    label_time: datetime | int
    is_fraud: bool


class LabelledTraffic:
    """The transactions of ``input_topic`` with the labels of ``labels_topic``, for models with these ``features``."""

    def __init__(
        self, connection: Connection, settings: WorkerSettings, labels_topic: str, features: Sequence[str]
    ) -> None:
        """Raises ConfigurationError where the input lacks a feature, or one has a name that a data set needs."""
        self._connection = connection
        self._settings = settings
        self._labels_topic = labels_topic
        self._features = tuple(features)
        self._roles = roles_of(settings)
        clash = set(_ROLES) & set(features) or ({"amount"} & set(features) if self._roles.amount != "amount" else set())
        if clash:
            raise ConfigurationError(f"a data set has another column {min(clash)!r} than the feature of this name")
        self._reader = transaction_reader(settings, self._features)

    def of(self, period: Period, tell: Tell) -> Labelled:
        """What there is of the period. Raises ConfigurationError where that is nothing, and as ``read`` does."""
        with closing(self._connection.reader(group_of(self._settings))) as consumer:
            labels = self._labels(consumer, period, tell)
            end = _end(period, labels)
            taken, seen, parts = set[bytes](), 0, list[pd.DataFrame]()
            for batch in self._read(consumer, self._settings.input_topic, period, tell):
                columns = self._reader.read(batch.values)
                rows = self._usable(columns, period.start, end)
                seen += len(rows)
                parts.append(self._frame(columns, rows, labels, taken, all_rows=period.matured is not None))
        source = f"{self._settings.input_topic} with {self._labels_topic}"
        stretch = f"from {long(period.start)}" + (f" to {long(end)}" if end else "")
        frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
        if frame.empty:
            raise ConfigurationError(f"{source} holds no transaction {stretch} of which it is known what it was")
        dataset = _dataset(frame, self._features, seen)
        return Labelled(dataset, seen, f"{source}, {stretch}")

    def _labels(self, consumer: Consumer, period: Period, tell: Tell) -> _Labels:
        found = _Labels()
        reader = RecordReader(schemas_of(self._settings, self._labels_topic, {}))
        for batch in self._read(consumer, self._labels_topic, period, tell):
            for value in batch.values:  # noqa: PD011 - of records, not of a frame
                # One that cannot be read is as none: a label more or less makes no other model.
                with suppress(InvalidRecordError, msgspec.ValidationError):
                    found.add(msgspec.convert(reader.read(value), _Label))
        return found

    def _read(self, consumer: Consumer, topic: str, period: Period, tell: Tell) -> Iterator[RecordBatch]:
        # No event is believed that is further ahead of the clock; but it may be written any time afterwards.
        first = Moment(period.start - Timing().lead)
        try:
            stretches = spans(consumer, topic, self._connection.partitions(topic), first, Extreme.END)
        except KafkaException as error:
            raise sentence(error.args[0], f"topic {topic} cannot be read") from error
        total = sum(map(len, stretches))
        return read(consumer, topic, stretches, lambda steps: tell(topic, total, steps))

    def _usable(self, columns: Columns, start: int, end: int | None) -> NDArray[np.int64]:
        """The rows of the period that a worker could score."""
        if not columns.columns:
            return np.empty(0, np.int64)
        times = columns.matrix([self._roles.event_time], np.float64)[:, 0]
        within = (times >= start) & (times < (np.inf if end is None else end))
        amounts = columns.matrix([self._roles.amount], np.float64)[:, 0]
        finite = np.isfinite(amounts) & ~np.isinf(columns.matrix(self._features)).any(axis=1)
        return np.flatnonzero((columns.reason == Reason.OK) & within & finite)

    def _frame(
        self, columns: Columns, rows: NDArray[np.int64], labels: _Labels, taken: set[bytes], *, all_rows: bool
    ) -> pd.DataFrame:
        """Those of ``rows`` that are labelled, or all, but none whose id is ``taken`` already."""
        if not len(rows):
            return pd.DataFrame()
        chosen = []
        ids = self._texts(columns, self._roles.transaction_id)
        for row in rows.tolist():
            identity = ids[row]
            if identity is not None and identity not in taken and (all_rows or identity in labels.fraud):
                taken.add(identity)
                chosen.append(row)
        cards, chosen_rows = self._texts(columns, self._roles.unit), np.array(chosen, np.int64)
        names = (*self._features, self._roles.event_time, self._roles.amount)
        *features, times, amounts = columns.matrix(names, np.float64, chosen_rows).T
        of_roles: dict[str, Any] = {
            "time": times / 1000,
            "amount": amounts,
            "is_fraud": [labels.fraud.get(ids[row] or b"", (0, False))[1] for row in chosen],
            CARD: [cards[row] for row in chosen],
            _ID: [ids[row] for row in chosen],
        }
        return pd.DataFrame(dict(zip(self._features, features, strict=True)) | of_roles)

    def _texts(self, columns: Columns, name: str) -> list[bytes | None]:
        column = columns.columns[name]
        assert isinstance(column, BytesColumn)
        return column.to_list()


def _dataset(frame: pd.DataFrame, features: tuple[str, ...], transactions: int) -> Dataset:
    """In an order that does not depend on how partitions were read, with the share of legitimate rows that it holds."""
    ordered = frame.sort_values(["time", _ID], kind="stable", ignore_index=True).drop(columns=_ID)
    frauds = int(ordered["is_fraud"].sum())
    kept = (len(ordered) - frauds) / max(1, transactions - frauds)
    return Dataset(ordered.astype({"is_fraud": bool}), features, min(1.0, kept) or 1.0)


def _end(period: Period, labels: _Labels) -> int | None:
    if period.matured is None:
        return period.end
    matured = labels.newest - period.matured
    return matured if period.end is None else min(period.end, matured)
