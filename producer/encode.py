"""Write transactions as bytes, a batch at a time: Avro by NumPy with any framing in front, or JSON."""

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from producer.transactions import FEATURES, Transactions

_PRESENT = 1 << 1
"""Union index 1 in zigzag: the branch of ``["null", "double"]`` that holds a value."""


def encode_avro(rows: Transactions, prefix: bytes) -> list[bytes]:
    """Each transaction as Avro after ``prefix``, in the shipped transaction schema.

    Rows whose event times take equally many bytes have one layout (Avro 1.12, binary encoding): they are written as
    one structured array. A null leaves out its eight bytes.
    """
    times, widths = _varints(rows.event_time)
    if len(rows) and (widths == widths[0]).all():
        return _encode_same_width(rows, prefix, times[:, : widths[0]])
    out = np.empty(len(rows), object)
    for width in np.unique(widths).tolist():
        at = np.flatnonzero(widths == width)
        out[at] = _encode_same_width(_take(rows, at), prefix, times[at, :width])
    values: list[bytes] = out.tolist()
    return values


def encode_json(rows: Transactions) -> list[bytes]:
    """Each transaction as a JSON object; a null where a feature is missing."""
    encode = msgspec.json.Encoder().encode
    ids = zip(
        rows.transaction_id.astype(str).tolist(),
        rows.card_id.astype(str).tolist(),
        rows.event_time.tolist(),
        rows.amount.tolist(),
        rows.features.tolist(),
        strict=True,
    )
    return [
        encode(
            {"transaction_id": transaction, "card_id": card, "event_time": time, "amount": amount}
            | dict(zip(FEATURES, features, strict=True))
        )
        for transaction, card, time, amount, features in ids
    ]


def _encode_same_width(rows: Transactions, prefix: bytes, times: NDArray[np.uint8]) -> list[bytes]:
    id_width, card_width = rows.transaction_id.dtype.itemsize, rows.card_id.dtype.itemsize
    layout: list[tuple[Any, ...]] = [
        ("prefix", f"V{len(prefix)}"),
        ("id_length", "u1"),
        ("id", f"S{id_width}"),
        ("card_length", "u1"),
        ("card", f"S{card_width}"),
        ("time", "u1", (times.shape[1],)),
        ("amount", "<f8"),
        ("features", [("branch", "u1"), ("value", "<f8")], (len(FEATURES),)),
    ]
    out = np.empty(len(rows), np.dtype(layout))
    out["prefix"] = np.void(prefix)
    out["id_length"], out["id"] = id_width << 1, rows.transaction_id
    out["card_length"], out["card"] = card_width << 1, rows.card_id
    out["time"], out["amount"] = times, rows.amount
    out["features"]["branch"], out["features"]["value"] = _PRESENT, rows.features
    null = np.isnan(rows.features)
    values: list[bytes] = out.view(f"V{out.dtype.itemsize}").tolist()
    for row in np.flatnonzero(null.any(axis=1)).tolist():
        values[row] = _without_nulls(values[row], null[row])
    return values


def _without_nulls(value: bytes, null: NDArray[np.bool_]) -> bytes:
    """The record with branch 0 and no double where ``null`` (28,) bool says so. The features are its end."""
    features = value[-9 * len(null) :]
    parts = [b"\0" if null[at] else features[9 * at : 9 * at + 9] for at in range(len(null))]
    return value[: -9 * len(null)] + b"".join(parts)


def _varints(values: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Zigzag varints, (n,) int64 to (n, 10) uint8 with the number of bytes used, (n,) int64."""
    rest = ((values << 1) ^ (values >> 63)).view(np.uint64)
    shifted = rest[:, None] >> (np.arange(10, dtype=np.uint64) * np.uint64(7))
    widths = np.maximum(1, (shifted != 0).sum(axis=1))
    more = np.arange(1, 11) < widths[:, None]
    return ((shifted & np.uint64(0x7F)) | (more.astype(np.uint64) << np.uint64(7))).astype(np.uint8), widths


def _take(rows: Transactions, at: NDArray[np.int64]) -> Transactions:
    return Transactions(*(getattr(rows, name)[at] for name in Transactions.__slots__))
