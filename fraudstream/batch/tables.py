"""Read the rows of a parquet or CSV file in chunks, so that a file of any length takes the same memory."""

import contextlib
import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fraudstream.batch.places import Opened
from schemas.errors import ConfigurationError

CHUNK_ROWS = 65_536
_BUFFER = 2**16
_CSV_BLOCK = 2**21
_MOST_BROKEN = 100_000
_LONGEST_HEADER = 2**20


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of a file that follow each other: some columns, and the numbers of the rows in the file, (n,) int64.

    ``broken`` says what is wrong with lines between them that are no rows, by their number. ``share`` is how much of
    the file has been read by now.
    """

    batch: pa.RecordBatch
    rows: NDArray[np.int64]
    share: float
    broken: Mapping[int, str] = field(default_factory=dict)


class Table(Protocol):
    """A file of rows. Raises ConfigurationError where it turns out to be damaged."""

    @property
    def schema(self) -> pa.Schema:
        """Its columns."""

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        """Its rows in order, of these columns."""


def open_table(opened: Opened, address: str) -> Table:
    """The rows of a file called ``address``. Raises ConfigurationError where it is empty or not what it is called."""
    if opened.size == 0:
        raise ConfigurationError(f"{address} is empty")
    return _Csv(opened, address) if address.endswith(".csv") else _Parquet(opened, address)


class _Parquet:
    def __init__(self, opened: Opened, address: str) -> None:
        self._address = address
        # Far away a row group comes in one piece; here each column is read bit by bit.
        with _readable(address):
            self._file = pq.ParquetFile(
                opened.file,
                pre_buffer=opened.is_far,
                buffer_size=0 if opened.is_far else _BUFFER,
                page_checksum_verification=True,
            )
        self.schema = self._file.schema_arrow

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        total, first = self._file.metadata.num_rows, 0
        # Asked for all row groups at once, Arrow would keep what it has read of each until the end.
        for group in range(self._file.num_row_groups):
            batches = self._file.iter_batches(CHUNK_ROWS, row_groups=[group], columns=columns, use_threads=False)
            while True:
                with _readable(self._address):
                    batch = next(batches, None)
                if batch is None:
                    break
                rows = np.arange(first, first + len(batch))
                first += len(batch)
                yield Chunk(batch, rows, first / total)


class _Csv:
    """All columns are texts: what Arrow infers from a first block need not hold for the next one."""

    def __init__(self, opened: Opened, address: str) -> None:
        self._opened = opened
        self._address = address
        with _readable(address):
            self.schema = pa.schema([(name, pa.string()) for name in self._header()])

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        lines = _Lines(self._address)
        with _readable(self._address):
            reader = self._reader(columns, lines)
        while True:
            with _readable(self._address):
                batch = next(reader, None)
            lines.check()
            if batch is None:
                break
            rows, broken = lines.number(len(batch))
            yield Chunk(batch, rows, self._opened.file.tell() / self._opened.size, broken)
        if lines.broken:
            nothing = pa.RecordBatch.from_pylist([], pa.schema([(name, pa.string()) for name in columns]))
            yield Chunk(nothing, np.empty(0, np.int64), 1.0, lines.broken)

    def _reader(self, columns: Sequence[str], lines: "_Lines") -> pv.CSVStreamingReader:
        self._opened.file.seek(0)
        return pv.open_csv(
            self._opened.file,
            pv.ReadOptions(use_threads=False, block_size=_CSV_BLOCK),
            pv.ParseOptions(newlines_in_values=True, invalid_row_handler=lines.note),
            pv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()),
                include_columns=columns,
                strings_can_be_null=True,
                check_utf8=False,
            ),
        )

    def _header(self) -> list[str]:
        start = self._opened.file.read(_LONGEST_HEADER).decode("utf-8-sig", errors="replace")
        names = next(filter(None, csv.reader(io.StringIO(start))), None)
        if names is None:
            raise ConfigurationError(f"{self._address} has no line with the names of its columns")
        return names


class _Lines:
    """The numbers of rows between which there are lines that are no rows. Arrow hears of those some blocks ahead."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._next = 0
        self.broken: dict[int, str] = {}

    def note(self, line: pv.InvalidRow) -> str:
        """Take down a line that has too few or too many fields. Arrow counts the header as line 1."""
        self.broken[line.number - 2] = f"the line has {line.actual_columns} fields, not {line.expected_columns}"
        return "skip"

    def check(self) -> None:
        """Raise ConfigurationError where there is no end of broken lines."""
        if len(self.broken) > _MOST_BROKEN:
            raise ConfigurationError(f"{self._address} has too many lines without a field for each of its columns")

    def number(self, count: int) -> tuple[NDArray[np.int64], dict[int, str]]:
        """The numbers of the next ``count`` rows, and the broken lines before the last of them."""
        numbers = np.array(sorted(self.broken), np.int64)
        # So many rows stand before each broken line; each such line moves the rows behind it on by one.
        before = numbers - self._next - np.arange(len(numbers))
        position = np.arange(count)
        rows = self._next + position + np.searchsorted(before, position, side="right")
        self._next = int(rows[-1]) + 1
        passed = {number: self.broken.pop(number) for number in numbers[numbers < self._next].tolist()}
        return rows, passed


@contextlib.contextmanager
def _readable(address: str) -> Iterator[None]:
    """Say of which file it is that Arrow complains."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, csv.Error) as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__).rstrip(".")
        raise ConfigurationError(f"{address} cannot be read, or is only half written: {reason}") from error
