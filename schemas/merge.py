"""Join the columns of rows that were decoded apart, because different schemas wrote them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from schemas.columns import Block, BytesColumn, Column, Columns, Mask, NumberColumn, Rows, filler
from schemas.errors import ConfigurationError


def merge(parts: Sequence[tuple[Rows, Columns]], reason: NDArray[np.uint8]) -> Columns:
    """One batch from parts that were decoded by themselves, each with the rows that it fills.

    ``reason`` (n,) speaks for the rows in no part. All parts have the same fields; a field that is a number in one
    and bytes in another raises ConfigurationError.
    """
    size = len(reason)
    for rows, part in parts:
        reason[rows] = part.reason
    layouts = {tuple((block.names, block.values.dtype) for block in part.blocks) for _, part in parts}
    blocks: tuple[Block, ...] = ()
    if len(layouts) == 1:
        numbered = range(len(parts[0][1].blocks))
        blocks = tuple(_merge_blocks([(rows, part.blocks[at]) for rows, part in parts], size) for at in numbered)
    columns: dict[str, Column] = {name: column for block in blocks for name, column in block.columns().items()}
    for name in parts[0][1].columns if parts else ():
        if name not in columns:
            columns[name] = _merge_columns(name, [(rows, part.columns[name]) for rows, part in parts], size)
    return Columns(reason, columns, blocks)


def _merge_blocks(parts: Sequence[tuple[Rows, Block]], size: int) -> Block:
    first = parts[0][1]
    values = np.full((size, len(first.names)), filler(first.values.dtype), first.values.dtype)
    null = np.zeros(values.shape, np.bool_) if any(block.null is not None for _, block in parts) else None
    for rows, block in parts:
        values[rows] = block.values
        if null is not None and block.null is not None:
            null[rows] = block.null
    return Block(first.names, values, null)


def _merge_columns(name: str, parts: Sequence[tuple[Rows, Column]], size: int) -> Column:
    null = np.zeros(size, np.bool_) if any(column.null is not None for _, column in parts) else None
    for rows, column in parts:
        if null is not None and column.null is not None:
            null[rows] = column.null
    numbers = [(rows, column) for rows, column in parts if isinstance(column, NumberColumn)]
    if len(numbers) == len(parts):
        return _merge_numbers(numbers, null, size)
    if numbers:
        raise ConfigurationError(f"The field {name} is a number in one of the schemas in use and bytes in another.")
    return _merge_bytes([(rows, column) for rows, column in parts if isinstance(column, BytesColumn)], null, size)


def _merge_numbers(parts: Sequence[tuple[Rows, NumberColumn]], null: Mask | None, size: int) -> NumberColumn:
    dtype = np.result_type(*(column.values.dtype for _, column in parts))
    values = np.full(size, filler(dtype), dtype)
    symbols = tuple(dict.fromkeys(symbol for _, column in parts for symbol in column.symbols or ()))
    for rows, column in parts:
        values[rows] = column.values
        if column.symbols is not None and column.symbols != symbols[: len(column.symbols)]:
            values[rows] = np.array([symbols.index(symbol) for symbol in column.symbols], dtype)[column.values]
    return NumberColumn(values, null, symbols or None)


def _merge_bytes(parts: Sequence[tuple[Rows, BytesColumn]], null: Mask | None, size: int) -> BytesColumn:
    start, length = np.zeros(size, np.int64), np.zeros(size, np.int64)
    buffers: dict[int, NDArray[np.uint8]] = {id(column.data): column.data for _, column in parts}
    offsets = dict(zip(buffers, np.cumsum([0, *map(len, buffers.values())]).tolist(), strict=False))
    for rows, column in parts:
        start[rows] = column.start + offsets[id(column.data)]
        length[rows] = column.length
    data = np.concatenate(list(buffers.values())) if len(buffers) > 1 else next(iter(buffers.values()))
    return BytesColumn(data, start, length, null, all(column.text for _, column in parts))
