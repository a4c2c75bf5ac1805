"""Turn columns of Arrow into columns that can be decided, and back, without a Python object a value."""

from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from schemas.columns import BytesColumn, Mask, NumberColumn, filler

_WIDER: dict[pa.DataType, pa.DataType] = {
    pa.int8(): pa.int32(),
    pa.uint8(): pa.int32(),
    pa.int16(): pa.int32(),
    pa.uint16(): pa.int32(),
    pa.uint32(): pa.int64(),
    pa.uint64(): pa.float64(),
    pa.float16(): pa.float32(),
}
"""What stands for the numbers that Avro does not know."""


def is_number(kind: pa.DataType) -> bool:
    """Whether :func:`number_column` takes it."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    tests = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_decimal)
    return any(test(kind) for test in tests)


def is_text(kind: pa.DataType) -> bool:
    """Whether it holds strings, or bytes that may be strings."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    strings = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    binaries = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return any(test(kind) for test in (*strings, *binaries))


def number_column(array: pa.Array) -> NumberColumn:
    """Numbers as they are, or the next wider type that Avro knows. NaN is missing, as it is in training."""
    array = _dense(array)
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.float64())
    array = array.cast(_WIDER.get(array.type, array.type))
    null = mask_of(array.is_null()) if array.null_count else None
    if pa.types.is_boolean(array.type):
        return NumberColumn(mask_of(array.fill_null(False)), null)
    dtype = np.dtype(array.type.to_pandas_dtype())
    values = _values(array.fill_null(filler(dtype)) if array.null_count else array, dtype)
    if dtype.kind == "f":
        missing = np.isnan(values)
        null = missing if missing.any() else None
    return NumberColumn(values, null)


def bytes_column(array: pa.Array) -> BytesColumn:
    """Strings or byte strings, as slices of the memory that Arrow keeps them in. Raises ArrowInvalid for bad UTF-8."""
    array = _dense(array).cast(pa.large_string())
    array.validate(full=True)
    null = mask_of(array.is_null()) if array.null_count else None
    _, offsets, data = array.buffers()
    ends = np.frombuffer(offsets, np.int64, len(array) + 1, array.offset * 8)
    held = np.frombuffer(data, np.uint8) if data is not None else np.empty(0, np.uint8)
    length = np.diff(ends)
    if null is not None:
        length[null] = 0
    # Only what these rows hold: a stretch of a long array would otherwise drag all of it along.
    return BytesColumn(held[ends[0] : ends[-1]], ends[:-1] - ends[0], length, null)


def string_array(column: BytesColumn) -> pa.Array:
    """The strings of a column without nulls, in Arrow; copied only where they do not lie one after another."""
    ends = np.zeros(len(column.length) + 1, np.int64)
    np.cumsum(column.length, out=ends[1:])
    first = int(column.start[0]) if len(column.start) else 0
    if np.array_equal(column.start, ends[:-1] + first):
        data = column.data[first : first + int(ends[-1])]
    else:
        data = column.data[np.repeat(column.start - ends[:-1], column.length) + np.arange(ends[-1])]
    buffers = [None, pa.py_buffer(ends.astype(np.int32)), pa.py_buffer(np.ascontiguousarray(data))]
    return pa.Array.from_buffers(pa.string(), len(column.length), buffers)


def mask_of(array: pa.Array) -> Mask:
    """Booleans of Arrow, none of them null, as (n,) bool."""
    mask: Mask = array.to_numpy(zero_copy_only=False)
    return mask


def _dense(array: pa.Array) -> pa.Array:
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _values(array: pa.Array, dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.frombuffer(array.buffers()[1], dtype, len(array), array.offset * dtype.itemsize)
