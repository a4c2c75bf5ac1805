"""Write the two files that become of an input: its decisions, and the rows that could not be decided, with reasons."""

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from consumer.dead_letters import Complaint
from fraudstream.batch.finished import Mark, stamp
from fraudstream.batch.places import Place
from fraudstream.batch.tables import Chunk
from schemas.decision_table import REPEATED, SCHEMA

_BATCHES_A_ROW_GROUP = 4
_AS_PARQUET: dict[str, Any] = {
    "compression": "zstd",
    "use_dictionary": REPEATED,
    # Those that a reader may pick rows by; statistics of all columns would take a fifth of the writing.
    "write_statistics": ["event_time", "score", "source.offset"],
    "column_encoding": {"event_time": "DELTA_BINARY_PACKED", "source.offset": "DELTA_BINARY_PACKED"},
}


class DecisionsFile:
    """Decisions on their way into a parquet file, which ``stack`` makes appear at its end."""

    def __init__(self, stack: ExitStack, place: Place, name: str) -> None:
        sink = stack.enter_context(place.create(name))
        self._writer = stack.enter_context(pq.ParquetWriter(sink, SCHEMA, **_AS_PARQUET))
        self._waiting: list[pa.RecordBatch] = []

    def write(self, decisions: pa.RecordBatch) -> None:
        """Add decisions. Row groups are several batches long, so that readers have few of them."""
        self._waiting.append(decisions)
        if len(self._waiting) == _BATCHES_A_ROW_GROUP:
            self._flush()

    def finish(self, mark: Mark) -> None:
        """All decisions have been written; the file says so."""
        self._flush()
        stamp(self._writer, mark)

    def _flush(self) -> None:
        table = pa.Table.from_batches(self._waiting, SCHEMA)
        self._writer.write_table(table, row_group_size=max(1, len(table)))
        self._waiting.clear()


class DeadLettersFile:
    """Dead letters on their way into a parquet file, which exists only if there are some."""

    def __init__(self, stack: ExitStack, place: Place, name: str) -> None:
        self._stack = stack
        self._place = place
        self._name = name
        self._writer: pq.ParquetWriter | None = None

    def write(self, letters: pa.Table | None) -> None:
        """Add dead letters, all with the columns of the first ones."""
        if letters is None:
            return
        if self._writer is None:
            sink = self._stack.enter_context(self._place.create(self._name))
            self._writer = self._stack.enter_context(pq.ParquetWriter(sink, letters.schema))
        self._writer.write_table(letters)

    def finish(self, *, stale: bool) -> None:
        """All have been written; where there are none, a ``stale`` file of an earlier run is taken away."""
        if self._writer is None and stale:
            self._place.delete(self._name)


def dead_letters(chunk: Chunk, complaints: Mapping[int, Complaint], broken: Mapping[int, Complaint]) -> pa.Table | None:
    """The rows of ``chunk`` with a complaint, by position, as they were read; None if there is none.

    ``broken`` are those that were no rows, by their number in the file: nothing of them could be read.
    """
    if not complaints and not broken:
        return None
    told = [*complaints.values(), *broken.values()]
    columns = {
        "fraudstream.row": pa.array([*chunk.rows[list(complaints)].tolist(), *broken], pa.int64()),
        "fraudstream.stage": pa.array([complaint.stage for complaint in told]),
        "fraudstream.reason": pa.array([complaint.reason for complaint in told]),
        "fraudstream.message": pa.array([complaint.message for complaint in told]),
    }
    rows = chunk.batch.take(pa.array([*complaints, *(None for _ in broken)], pa.int64()))
    columns |= {name: _legible(rows.column(name)) for name in rows.schema.names}
    return pa.table(columns).sort_by("fraudstream.row")


def _legible(array: pa.Array) -> pa.Array:
    """The same, but that strings are strings: no reader of parquet takes other bytes for them."""
    try:
        array.validate(full=True)
    except pa.ArrowInvalid:
        texts = [
            text if text is None else text.decode(errors="replace") for text in array.cast(pa.binary()).to_pylist()
        ]
        return pa.array(texts, array.type)
    return array
