"""Hold decoded rows as columns, and say for each row whether it may be used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from schemas.errors import ConfigurationError

Rows = NDArray[np.int64]
Mask = NDArray[np.bool_]


class Reason(IntEnum):
    """Why a payload could not be decoded; 0 means that it could."""

    OK = 0
    TRUNCATED = 1
    TRAILING_BYTES = 2
    BAD_UNION_INDEX = 3
    BAD_ENUM_INDEX = 4
    BAD_UTF8 = 5
    NEGATIVE_LENGTH = 6
    BAD_VARINT = 7
    WRONG_MAGIC = 8
    UNKNOWN_SCHEMA = 9
    BAD_JSON = 10
    MISSING_VALUE = 11
    WRONG_TYPE = 12
    BAD_BOOLEAN = 13
    KILLED_THE_PROCESS = 14


@dataclass(frozen=True, slots=True)
class NumberColumn:
    """n numbers: booleans, integers, floats, logical dates and times in their own unit, enums as an index.

    ``values`` (n,) bool, int32, int64, float32 or float64; where a row is null or bad it holds NaN or 0. ``null``
    (n,) is None when no row is null, and says nothing of a bad one. ``symbols`` names the indices of an enum.
    """

    values: NDArray[Any]
    null: Mask | None
    symbols: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class BytesColumn:
    """n strings (valid UTF-8), byte strings or fixed values as slices of ``data``: no Python object a row.

    ``start`` and ``length`` (n,) int64 in bytes; the length is 0 where a row is null or bad. ``null`` (n,) is None
    when no row is null, and says nothing of a bad one. ``text``: they are strings.
    """

    data: NDArray[np.uint8]
    start: NDArray[np.int64]
    length: NDArray[np.int64]
    null: Mask | None
    text: bool = True

    def to_list(self) -> list[bytes | None]:
        """Each value as bytes, None where it is null."""
        values = self._slices()
        if self.null is not None:
            for row in np.flatnonzero(self.null).tolist():
                values[row] = None
        return values

    def take(self, rows: Rows) -> "BytesColumn":
        """These rows, in this order; the bytes are not copied."""
        null = None if self.null is None else self.null[rows]
        return BytesColumn(self.data, self.start[rows], self.length[rows], null, self.text)

    def _slices(self) -> list[bytes | None]:
        size = int(self.length[0]) if len(self.length) else 0
        values: list[bytes | None]
        if size and (self.length == size).all():  # one gather makes all objects: 20 instead of 90 ns a row
            values = windows(self.data, size)[self.start].tolist()
            return values
        data = self.data.tobytes()
        values = [data[at : at + n] for at, n in zip(self.start.tolist(), self.length.tolist(), strict=True)]
        return values


Column = NumberColumn | BytesColumn


@dataclass(frozen=True, slots=True)
class Block:
    """Number columns of one dtype side by side: ``values`` (n, k), ``null`` (n, k) or None.

    A column without a name was not asked for.
    """

    names: tuple[str | None, ...]
    values: NDArray[Any]
    null: Mask | None

    def columns(self) -> dict[str, NumberColumn]:
        """Each named column as a view of the block."""
        if self.null is None:
            return {name: NumberColumn(self.values[:, at], None) for at, name in enumerate(self.names) if name}
        some: list[bool] = np.any(self.null, axis=0).tolist()
        return {
            name: NumberColumn(self.values[:, at], self.null[:, at] if some[at] else None)
            for at, name in enumerate(self.names)
            if name
        }


@dataclass(frozen=True, slots=True)
class Columns:
    """n decoded rows: ``reason`` (n,) uint8 holds the :class:`Reason` of each; only rows with 0 may be used.

    ``blocks`` repeats number columns that lie side by side, so that :meth:`matrix` copies them at once.
    """

    reason: NDArray[np.uint8]
    columns: Mapping[str, Column]
    blocks: tuple[Block, ...] = ()

    def __len__(self) -> int:
        return len(self.reason)

    def matrix(
        self, names: Sequence[str], dtype: DTypeLike = np.float32, rows: Rows | slice = slice(None)
    ) -> NDArray[Any]:
        """These number columns as (n, k), in this order, NaN where null; beyond the range of ``dtype``: infinite.

        All n rows, or those that are given. Raises ConfigurationError if a column is missing or not a number.
        """
        out = np.empty((len(self.reason[rows]), len(names)), dtype)
        floating = tuple(block.names if block.values.dtype.kind == "f" else () for block in self.blocks)
        moves, alone = _moves(tuple(names), floating)
        with np.errstate(over="ignore", invalid="ignore"):
            for move in moves:
                values = self.blocks[move.block].values[rows]
                if isinstance(move.source, slice):
                    out[:, move.target] = values[:, move.source]
                else:
                    out[:, move.target] = values.astype(dtype).take(move.source, axis=1)
            for at in alone:
                self._fill(out[:, at], names[at], rows)
        return out

    def _fill(self, out: NDArray[Any], name: str, rows: Rows | slice) -> None:
        column = self.columns.get(name)
        if not isinstance(column, NumberColumn):
            what = "missing" if column is None else "not a number"
            raise ConfigurationError(f"The field {name} of the input is {what}, so no model can use it.")
        out[:] = column.values[rows]
        if column.null is not None:
            out[column.null[rows]] = np.nan


@dataclass(frozen=True, slots=True)
class _Move:
    """Copy columns ``source`` of a block to columns ``target`` of the matrix."""

    block: int
    source: slice | list[int]
    target: slice | list[int]


@lru_cache(maxsize=64)
def _moves(names: tuple[str, ...], blocks: tuple[tuple[str | None, ...], ...]) -> tuple[list[_Move], list[int]]:
    """What to copy from each block, and the positions of the names that stand in none."""
    places = {name: (block, at) for block, inside in enumerate(blocks) for at, name in enumerate(inside) if name}
    pairs: dict[int, tuple[list[int], list[int]]] = {}
    for target, name in enumerate(names):
        if name in places:
            block, source = places[name]
            sources, targets = pairs.setdefault(block, ([], []))
            sources.append(source)
            targets.append(target)
    moves = [_Move(block, _stretch(sources), _stretch(targets)) for block, (sources, targets) in pairs.items()]
    return moves, [target for target, name in enumerate(names) if name not in places]


def _stretch(indices: list[int]) -> slice | list[int]:
    """The indices as a slice where they follow each other, which is copied ten times as fast."""
    first = indices[0]
    return slice(first, first + len(indices)) if indices == list(range(first, first + len(indices))) else indices


def filler(dtype: np.dtype[Any]) -> float:
    """What stands in a number column where there is no number."""
    return np.nan if dtype.kind == "f" else 0


def windows(data: NDArray[np.uint8], width: int) -> NDArray[np.void]:
    """Every stretch of ``width`` bytes as one item, without a copy: indexing it with positions gathers them."""
    return np.ndarray((max(0, len(data) - width + 1),), f"V{width}", data, strides=(1,))
