"""Decode neighbouring fields of fixed width: in one go where no row has a null among them, else one by one."""

from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from schemas.columns import Block, Mask, Reason
from schemas.cursor import Cursor
from schemas.steps import NUMBERS, Found, Target, refuse_nulls

WIDTHS = {"boolean": 1, "float": 4, "double": 8}
WIRE: dict[str, Any] = {"boolean": np.uint8, "float": np.dtype("<f4"), "double": np.dtype("<f8")}


@dataclass(frozen=True, slots=True)
class Flat:
    """A boolean, float or double in a run; ``null_index`` None if it cannot be null."""

    kind: str
    null_index: int | None
    target: Target | None

    @property
    def pitch(self) -> int:
        """Bytes on the wire when not null."""
        return WIDTHS[self.kind] + (self.null_index is not None)


@dataclass(frozen=True, slots=True)
class _Panel:
    """Neighbours of one kind in a run, ``offset`` bytes behind its begin when no field is null.

    ``steps`` (256,) int64: bytes to the next field by union index; None if no field is nullable.
    """

    first: int
    offset: int
    fields: tuple[Flat, ...]
    steps: NDArray[np.int64] | None

    @property
    def kind(self) -> str:
        return self.fields[0].kind

    @property
    def null_index(self) -> int | None:
        return self.fields[0].null_index

    @property
    def pitch(self) -> int:
        return self.fields[0].pitch

    @property
    def wanted(self) -> bool:
        return any(flat.target for flat in self.fields)

    @property
    def names(self) -> tuple[str | None, ...]:
        return tuple(flat.target.name if flat.target else None for flat in self.fields)

    def tags(self, run: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(n, k): the union indices in rows without a null."""
        return run[:, self.offset : self.offset + self.pitch * len(self.fields) : self.pitch]

    def values(self, run: NDArray[np.uint8]) -> NDArray[Any]:
        """(n, k): the values in rows without a null, not aligned."""
        nullable = self.null_index is not None
        if len(run) == 0:
            return np.empty((0, len(self.fields)), WIRE[self.kind])
        shape, strides = (len(run), len(self.fields)), (run.shape[1], self.pitch)
        return np.ndarray(shape, WIRE[self.kind], run, self.offset + nullable, strides)


class Run:
    """Fields that take the same bytes in every row without a null: gathered at once, and read as they lie.

    Rows with a null are walked through field by field, all of them together.
    """

    __slots__ = ("_least", "_null_tag", "_nullable", "_panels", "_size", "width")

    def __init__(self, fields: list[Flat]) -> None:
        self._panels: list[_Panel] = []
        first = offset = 0
        for _, group in groupby(fields, key=_likeness):
            alike = tuple(group)
            self._panels.append(_Panel(first, offset, alike, _steps_by_tag(alike[0])))
            first += len(alike)
            offset += len(alike) * alike[0].pitch
        self._size = first
        self._nullable = np.array([[flat.null_index is not None] for flat in fields])
        self._null_tag = np.array([[2 * (flat.null_index or 0)] for flat in fields], np.uint8)
        self.width = offset
        self._least = sum(1 if flat.null_index is not None else flat.pitch for flat in fields)

    def run(self, cursor: Cursor, found: Found) -> None:
        """Decode it for every row."""
        position = cursor.position
        fits = position + self.width <= cursor.end
        whole = np.count_nonzero(fits) == len(fits)
        run = cursor.gather(position if whole else position[fits], self.width)
        full = self._full(run)
        if whole and full is None:
            cursor.position = position + self.width
            for panel in self._panels:
                self._add(cursor, found, panel, panel.values(run), None)
            return
        regular = fits.copy()
        if full is not None:
            regular[fits] = full
            run = run[full]
        self._run_mixed(cursor, found, run, regular)

    def _full(self, run: NDArray[np.uint8]) -> Mask | None:
        """Which rows have no null (nor a bad union index); None if all."""
        full: Mask | None = None
        for panel in self._panels:
            if panel.null_index is not None:
                expected = panel.tags(run) == 2 - 2 * panel.null_index
                if not expected.all():
                    rows = expected.all(axis=1)
                    full = rows if full is None else full & rows
        return full

    def _run_mixed(self, cursor: Cursor, found: Found, run: NDArray[np.uint8], regular: Mask) -> None:
        # Rows too short even for nulls are done with: what is walked is in proportion to the bytes that came.
        cursor.fail(~regular & (cursor.position + self._least > cursor.end), Reason.TRUNCATED)
        rest = np.flatnonzero(~regular & (cursor.reason == Reason.OK))
        at, null = self._walk(cursor, regular, rest)
        for panel in self._panels:
            if not panel.wanted and panel.kind != "boolean":
                continue
            here = slice(panel.first, panel.first + len(panel.fields))
            values = np.zeros((len(regular), len(panel.fields)), WIRE[panel.kind])
            values[regular] = panel.values(run)
            values[rest] = cursor.gather(at[here], WIDTHS[panel.kind]).view(WIRE[panel.kind])[..., 0].T
            nulls = np.zeros(values.shape, np.bool_)
            nulls[rest] = null[here].T
            self._add(cursor, found, panel, values, nulls if np.count_nonzero(nulls) else None)

    def _walk(self, cursor: Cursor, regular: Mask, rest: NDArray[np.int64]) -> tuple[NDArray[np.int64], Mask]:
        """(fields, rows) where each value of the rows ``rest`` starts, and whether it is null; moves the cursor."""
        position, end = cursor.position[rest], cursor.end[rest]
        at = np.empty((self._size, len(rest)), np.int64)
        tags = np.empty((self._size, len(rest)), np.uint8)
        for panel in self._panels:
            for index in range(panel.first, panel.first + len(panel.fields)):
                at[index] = position
                tags[index] = tag = cursor.data[position]
                position += panel.pitch if panel.steps is None else panel.steps[tag]
        cursor.position = cursor.position + self.width * regular
        cursor.position[rest] = position
        nullable, null_tag = self._nullable, self._null_tag
        # A union index beyond the end of its row is not looked at, so one that is broken was before the end.
        broken = (nullable & ((tags & 0xFD) != 0) & (at < end)).any(axis=0)
        self._judge(cursor, rest, broken, position > end)
        return at + nullable, nullable & (tags == null_tag)

    @staticmethod
    def _judge(cursor: Cursor, rest: NDArray[np.int64], broken: Mask, over: Mask) -> None:
        for rows, reason in ((broken, Reason.BAD_UNION_INDEX), (over, Reason.TRUNCATED)):
            bad = np.zeros(len(cursor.position), np.bool_)
            bad[rest] = rows
            cursor.fail(bad, reason)

    @staticmethod
    def _add(cursor: Cursor, found: Found, panel: _Panel, values: NDArray[Any], null: Mask | None) -> None:
        if panel.kind == "boolean":
            strange = values > 1 if null is None else (values > 1) & ~null
            cursor.fail(np.any(strange, axis=1), Reason.BAD_BOOLEAN)
        for at, flat in enumerate(panel.fields if null is not None else ()):
            refuse_nulls(cursor, None if null is None else null[:, at], flat.target)
        dtype = next((flat.target.dtype for flat in panel.fields if flat.target), None)
        if dtype is None:
            return
        with np.errstate(invalid="ignore"):  # a signalling NaN is a NaN like any other
            numbers = values.astype(dtype)
        if null is not None:
            numbers[null] = np.nan if numbers.dtype.kind == "f" else 0
        found.add(Block(panel.names, numbers, null))


def _likeness(flat: Flat) -> tuple[str, int | None, str]:
    """Fields of one panel agree in this."""
    return flat.kind, flat.null_index, str(flat.target.dtype if flat.target else NUMBERS[flat.kind])


def _steps_by_tag(flat: Flat) -> NDArray[np.int64] | None:
    """Bytes that a nullable field takes, by its union index on the wire."""
    if flat.null_index is None:
        return None
    steps = np.full(256, flat.pitch, np.int64)
    steps[2 * flat.null_index] = 1
    return steps
