"""Simulate what becomes known later: chargebacks for frauds, and reviews of a few honest transactions."""

import heapq
import io
from collections.abc import Callable, Mapping
from typing import Any

import fastavro
import msgspec
import numpy as np

from producer.transactions import Transactions

REVIEWED_ONE_IN = 100
"""Honest transactions that an analyst looks at and confirms. All others stay unlabelled, as in life."""

Label = Mapping[str, Any]


class LabelSimulator:
    """Give it transactions in order of time; ask it for the labels that are known by a time."""

    def __init__(self, mean_delay_ms: int, seed: int = 0) -> None:
        """A label arrives 0.5 to 1.5 times ``mean_delay_ms`` after its transaction, evenly spread."""
        self._mean_delay_ms = mean_delay_ms
        self._random = np.random.default_rng(seed)
        self._waiting: list[tuple[int, str, Label]] = []

    def __len__(self) -> int:
        """Labels that are not known yet."""
        return len(self._waiting)

    def add(self, rows: Transactions) -> None:
        """Decide which of these transactions are labelled, and when."""
        # Drawn for every row, so that a stream cut into other batches bears the same labels.
        draws = self._random.random((len(rows), 2))
        labelled = rows.is_fraud | (draws[:, 0] * REVIEWED_ONE_IN < 1)
        delays = (self._mean_delay_ms * (0.5 + draws[:, 1])).astype(np.int64)
        for row in np.flatnonzero(labelled).tolist():
            fraud = bool(rows.is_fraud[row])
            event_time = int(rows.event_time[row])
            label = {
                "transaction_id": rows.transaction_id[row].decode(),
                "unit": rows.card_id[row].decode(),
                "event_time": event_time,
                "is_fraud": fraud,
                "label_time": event_time + int(delays[row]),
                "source": "chargeback" if fraud else "review",
            }
            heapq.heappush(self._waiting, (label["label_time"], label["transaction_id"], label))

    def known_by(self, time: float) -> list[Label]:
        """The labels that have become known by ``time`` (ms since 1970) and were not given before, in order of time."""
        known = []
        while self._waiting and self._waiting[0][0] <= time:
            known.append(heapq.heappop(self._waiting)[2])
        return known


def avro_label_encoder(schema: dict[str, Any], prefix: bytes) -> Callable[[Label], bytes]:
    """A function from a label to its Avro bytes after ``prefix``."""
    parsed = fastavro.parse_schema(schema)

    def encode(label: Label) -> bytes:
        stream = io.BytesIO()
        stream.write(prefix)
        fastavro.schemaless_writer(stream, parsed, label)
        return stream.getvalue()

    return encode


def encode_label_json(label: Label) -> bytes:
    """A label as a JSON object."""
    return msgspec.json.encode(label)
