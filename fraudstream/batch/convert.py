"""Decide what a cell of a data set means: a number, a text, a time; and which cells are none of them."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from producer.transactions import SECONDS_UNTIL_2001, SEPTEMBER_2013
from schemas.arrow import bytes_column, is_text, mask_of, number_column
from schemas.columns import Column, Mask, NumberColumn

Converted = tuple[Column, Mask]
"""A column, and (n,) the rows that hold something else. A null is something else nowhere."""

_NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$|^[+-]?(?i:inf|infinity|nan)$"
_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}"
_ZONED = _DAY + r"[T ].*(Z|[+-][0-9]{2}(:?[0-9]{2})?)$"
_LOCAL = _DAY + r"([T ][0-9:.]+)?$"
_EXACT = 2.0**53


def text(array: pa.Array) -> Converted:
    """Strings; integers as they are written in decimal."""
    if not is_text(array.type):
        return bytes_column(array), _nowhere(array)
    strings = _strings(array)
    try:
        return bytes_column(strings), _nowhere(array)
    except pa.ArrowInvalid:
        valid, bad = _cast(strings.view(pa.large_binary()), pa.large_string())
        return bytes_column(valid), bad


def number(array: pa.Array) -> Converted:
    """Numbers, or their texts."""
    if not is_text(array.type):
        return number_column(array), _nowhere(array)
    parsed, bad = _parsed(_strings(array), pa.float64(), _NUMBER)
    return number_column(parsed), bad


def milliseconds(array: pa.Array) -> Converted:
    """Times as int64 in ms since 1970: numbers of ms, timestamps (UTC where they name no zone), or texts of either."""
    return _times(array, _whole)


def seconds(array: pa.Array) -> Converted:
    """As ``milliseconds``, but numbers are seconds: since 1970, or else since the month of the public card data."""
    return _times(array, _dated)


def _times(array: pa.Array, in_ms: Callable[[NDArray[np.float64]], tuple[NDArray[np.int64], Mask]]) -> Converted:
    if pa.types.is_timestamp(array.type) or pa.types.is_date(array.type):
        return _stamps(array), _nowhere(array)
    column, no_number = number(array)
    assert isinstance(column, NumberColumn)
    values, bad = in_ms(column.values)
    null = column.null
    if no_number.any():
        stamps, bad[no_number] = _stamps_in(_strings(array).filter(pa.array(no_number)))
        values[no_number] = stamps.values
        null = None if null is None else null & ~no_number
    return NumberColumn(values, null), bad


def _whole(values: NDArray[np.floating]) -> tuple[NDArray[np.int64], Mask]:
    """Rounded to int64; those beyond what a float tells apart are no times."""
    if values.dtype.kind != "f":
        return values.astype(np.int64), np.zeros(len(values), np.bool_)
    beyond = np.abs(values) > _EXACT
    usable = np.isfinite(values) & ~beyond
    return np.rint(np.where(usable, values, 0)).astype(np.int64), beyond


def _dated(values: NDArray[np.floating]) -> tuple[NDArray[np.int64], Mask]:
    whole, bad = _whole(values.astype(np.float64) * 1_000)
    return whole + np.where(values < SECONDS_UNTIL_2001, SEPTEMBER_2013, 0), bad


def _stamps_in(strings: pa.Array) -> tuple[NumberColumn, Mask]:
    """ISO 8601 timestamps, some with a zone and some without."""
    zoned, unzoned = _parsed(strings, pa.timestamp("ns", "UTC"), _ZONED)
    local, bad = _parsed(pc.if_else(pa.array(unzoned), strings, None), pa.timestamp("ns"), _LOCAL)
    return _stamps(pc.coalesce(zoned, local.cast(pa.timestamp("ns", "UTC")))), bad


def _stamps(array: pa.Array) -> NumberColumn:
    whole = array.cast(pa.timestamp("ms", getattr(array.type, "tz", None)), safe=False)
    return number_column(whole.view(pa.int64()))


def _parsed(strings: pa.Array, kind: pa.DataType, looks: str) -> tuple[pa.Array, Mask]:
    """The strings as ``kind``, null where they are none; ``looks`` tells most of those by a glance."""
    try:
        return strings.cast(kind), _nowhere(strings)
    except pa.ArrowInvalid:
        trimmed = pc.ascii_trim_whitespace(strings)
        plausible = pc.fill_null(pc.match_substring_regex(trimmed, looks), True)
        parsed, bad = _cast(pc.if_else(plausible, trimmed, None), kind)
        return parsed, bad | ~mask_of(plausible)


def _cast(array: pa.Array, kind: pa.DataType) -> tuple[pa.Array, Mask]:
    """The values that can be cast, null in the place of the others: Arrow casts all or none, so halves are tried."""
    try:
        return array.cast(kind), _nowhere(array)
    except pa.ArrowInvalid:
        if len(array) == 1:
            return pa.nulls(1, kind), np.ones(1, np.bool_)
        half = len(array) // 2
        (first, bad_first), (second, bad_second) = _cast(array[:half], kind), _cast(array[half:], kind)
        return pa.concat_arrays([first, second]), np.concatenate([bad_first, bad_second])


def _strings(array: pa.Array) -> pa.Array:
    """Texts of any type as large strings, whose bytes nobody has looked at yet."""
    dense = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
    return dense.cast(pa.large_binary()).view(pa.large_string())


def _nowhere(array: pa.Array) -> Mask:
    return np.zeros(len(array), np.bool_)
