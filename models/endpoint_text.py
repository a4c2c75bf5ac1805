"""Write features as an XGBoost container reads them, and read what it answers, trusting none of it."""

import io
import json
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv

from schemas.errors import FraudstreamError

CSV = "text/csv"
JSON = "application/json"
JSON_LINES = "application/jsonlines"
_ANSWER_BYTES_A_ROW = 4096
_KEYS = ("score", "probability", "predicted_score")
"""What the built-in containers call the score of a row in JSON (their encoder.py and serve_utils.py)."""
_NUMERIC = frozenset(b"0123456789+-.eE,\n\r \tnaifNIty")


class BadAnswerError(FraudstreamError):
    """Catch this as a failed request: what came back is not one probability for each row, in order."""


def rows_of(features: NDArray[np.float32]) -> list[bytes]:
    """(n, k) features as n lines of CSV, each with its line end; what is missing (NaN) is empty.

    A value has the fewest digits that name its float32 (Loitsch 2010), so whoever reads it, by way of a double or not,
    has that float32 again.
    """
    if not len(features):
        return []
    # The line of a single missing value would be empty, and the container strips empty lines at both ends.
    as_null = features.shape[1] > 1
    columns = [pa.array(column, from_pandas=as_null) for column in np.ascontiguousarray(features.T)]
    out = io.BytesIO()
    options = csv.WriteOptions(include_header=False, quoting_style="none")
    csv.write_csv(pa.table(columns, names=[str(at) for at in range(len(columns))]), out, options)
    return out.getvalue().splitlines(keepends=True)


def parts_of(sizes: NDArray[np.int64], most_rows: int, most_bytes: int) -> Iterator[slice]:
    """Stretches of rows whose ``sizes`` (n,) add up to ``most_bytes`` at most; a row that is larger goes alone."""
    start = total = 0
    for at, size in enumerate(sizes.tolist()):
        if at > start and (at - start == most_rows or total + size > most_bytes):
            yield slice(start, at)
            start, total = at, 0
        total += size
    if start < len(sizes):
        yield slice(start, len(sizes))


def largest_answer(rows: int) -> int:
    """Bytes of the longest answer about so many rows that anybody reads."""
    return _ANSWER_BYTES_A_ROW * (rows + 16)


def scores_in(body: bytes, content_type: str | None, rows: int) -> NDArray[np.float64]:
    """The (rows,) probabilities of an answer in CSV (by commas or lines), JSON or JSON Lines.

    Raises BadAnswerError where there is not exactly one for each row, or one is no probability.
    """
    kind = (content_type or CSV).lower().partition(";")[0].strip()
    try:
        if kind == CSV:
            found = _from_csv(body)
        elif kind == JSON:
            found = _from_json(json.loads(body))
        elif kind == JSON_LINES:
            found = [_number(json.loads(line)) for line in body.splitlines() if line.strip()]
        else:
            raise BadAnswerError("the answer is neither CSV nor JSON nor JSON Lines")
    except (ValueError, TypeError, RecursionError):
        raise BadAnswerError("the answer cannot be read") from None
    if len(found) != rows:
        raise BadAnswerError(f"the answer has {len(found):,} scores for {rows:,} rows")
    scores = np.array(found, np.float64)
    if not np.isfinite(scores).all():
        raise BadAnswerError("a score in the answer is not a finite number")
    if ((scores < 0) | (scores > 1)).any():
        raise BadAnswerError("a score in the answer is no probability")
    return scores


def _from_csv(body: bytes) -> list[float]:
    if not _NUMERIC.issuperset(body):
        raise ValueError
    text = body.decode("ascii").strip()
    return [float(each) for line in text.splitlines() for each in line.split(",")] if text else []


def _from_json(answer: Any) -> list[float]:
    """A list of rows, alone or as the only member of an object, whatever that is called."""
    if isinstance(answer, dict) and len(answer) == 1:
        (answer,) = answer.values()
    if not isinstance(answer, list):
        raise TypeError
    return [_number(row) for row in answer]


def _number(row: Any) -> float:
    """The score of a row: a number, or an object that has one."""
    if isinstance(row, dict):
        names = [name for name in _KEYS if name in row]
        row = row[names[0]] if len(names) == 1 else None
    if isinstance(row, bool) or not isinstance(row, int | float):
        raise TypeError
    return float(row) if -1 <= row <= 2 else math.nan  # an integer of a thousand digits is no float at all
