"""Read decisions back from their topic as scores, to compare them with others about the same records."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from consumer.difference import Scores
from consumer.outcomes import avro_reader
from consumer.settings import Format, WorkerSettings
from schemas.columns import BytesColumn, Columns, NumberColumn, Reason
from schemas.decision import Outcome

_FIELDS = ("transaction_id", "source_topic", "source_partition", "source_offset", "score", "decision", "replay")

ScoreReader = Callable[[Sequence[bytes | None]], Scores]
"""From the values of decisions to those about a topic; what is no decision, or another's, is left out."""


def score_reader(settings: WorkerSettings, replay: str | None) -> ScoreReader:
    """A reader of the decisions about the input topic that were made live, or in the replay of this name.

    It raises RegistryUnavailableError where a registry does not answer.
    """
    if settings.output_format is Format.JSON:
        return lambda values: _from_json(values, settings.input_topic, replay)
    reader = avro_reader(settings, _FIELDS)
    asked = (settings.input_topic.encode(), None if replay is None else replay.encode())

    def read(values: Sequence[bytes | None]) -> Scores:
        columns = reader.read(values)
        if not columns.columns:  # not one row of a known schema
            return _scores([])
        topics, replays = (_texts(columns, name) for name in ("source_topic", "replay"))
        ours = [pair == asked for pair in zip(topics, replays, strict=True)]
        rows = np.flatnonzero((columns.reason == Reason.OK) & np.array(ours, np.bool_))
        ids = _texts(columns, "transaction_id")
        return Scores(
            _numbers(columns, "source_partition")[rows].astype(np.int64),
            _numbers(columns, "source_offset")[rows].astype(np.int64),
            _numbers(columns, "score")[rows].astype(np.float64),
            _numbers(columns, "decision")[rows].astype(np.uint8),
            [ids[row] for row in rows.tolist()],
        )

    return read


def _texts(columns: Columns, name: str) -> list[bytes | None]:
    return cast("BytesColumn", columns.columns[name]).to_list()


def _numbers(columns: Columns, name: str) -> NDArray[Any]:
    return cast("NumberColumn", columns.columns[name]).values


class _Source(msgspec.Struct):
    topic: str
    partition: int
    offset: int


class _Row(msgspec.Struct):
    transaction_id: str
    source: _Source
    score: float
    decision: Literal["approve", "review", "decline"]
    replay: str | None = None


def _from_json(values: Sequence[bytes | None], topic: str, replay: str | None) -> Scores:
    decode = msgspec.json.Decoder(_Row).decode
    rows = []
    for value in values:
        try:
            row = decode(value or b"")
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if row.source.topic == topic and row.replay == replay:
            rows.append(row)
    return _scores(rows)


def _scores(rows: Sequence[_Row]) -> Scores:
    return Scores(
        np.array([row.source.partition for row in rows], np.int64),
        np.array([row.source.offset for row in rows], np.int64),
        np.array([row.score for row in rows], np.float64),
        np.array([Outcome[row.decision.upper()] for row in rows], np.uint8),
        [row.transaction_id.encode() for row in rows],
    )
