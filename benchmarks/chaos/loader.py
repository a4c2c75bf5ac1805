"""Publish transactions with ids of their own, some of them spoilt and some aborted, as far as a gate is open."""

import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from itertools import count
from typing import Any

import numpy as np
from confluent_kafka import KafkaException, Producer
from numpy.typing import NDArray

from benchmarks.bed import PREFIX
from producer.encode import encode_avro
from producer.publish import Pace, Publisher, send_at_pace
from producer.transactions import Transactions, TransactionSource

BURST = 250
SPOILT_EVERY = 100
"""One record of so many is cut short, and must become a dead letter."""
ABORTED_EVERY = 8
"""Before one burst of so many the same number of records is published in a transaction that aborts."""
_SECONDS = 30.0
# No scenario takes its broker away for longer.
_PATIENT = {"message.timeout.ms": 400_000}


class Loader(threading.Thread):
    """A thread that publishes records 0, 1, 2, ... of a source; ``sent`` says how many, ``aborted`` how many others."""

    def __init__(self, properties: Mapping[str, Any], topic: str, source: TransactionSource) -> None:
        super().__init__(name="loader", daemon=True)
        self.sent = 0
        self.aborted = 0
        self.failure: Exception | None = None
        self._properties = dict(properties)
        self._topic = topic
        self._source = source
        self._publisher = Publisher(self._properties | _PATIENT, topic)
        self._gate = 0
        self._moved = threading.Condition()
        self._closed = False

    def allow(self, count: int) -> None:
        """Open the gate for the first ``count`` records."""
        with self._moved:
            self._gate = count
            self._moved.notify()

    @property
    def idle(self) -> bool:
        """Whether all is published that the gate lets through."""
        return self.sent >= self._gate

    def close(self) -> None:
        """Publish what the gate lets through, and end."""
        with self._moved:
            self._closed = True
            self._moved.notify()
        self.join()

    def run(self) -> None:
        """Publish burst after burst."""
        try:
            for number in count():
                if (size := self._next_burst()) == 0:
                    break
                if number % ABORTED_EVERY == 0:
                    self._abort(size)
                self._publish(size)
            self._publisher.flush(_SECONDS)
        except Exception as error:  # noqa: BLE001 - whoever waits for the loader is told
            self.failure = error

    def _next_burst(self) -> int:
        """How many records may be published now; 0 at the end."""
        with self._moved:
            self._moved.wait_for(lambda: self._closed or self.sent < self._gate)
            return min(BURST, self._gate - self.sent)

    def _publish(self, size: int) -> None:
        self._publisher.send(*_records(self._source.stretch(self.sent, size), self.sent, SPOILT_EVERY))
        self._publisher.flush(_SECONDS)
        self.sent += size

    def _abort(self, size: int) -> None:
        """Records that nobody may ever decide: the same cards, and ids that no other record has."""
        rows = self._source.stretch(10**9 + self.sent, size)
        with suppress(KafkaException):  # without a broker there is nobody to abort at
            # Left open by a broker that was killed, it holds up every worker until its time is over.
            ours = {"transactional.id": f"{self._topic}.aborted", "transaction.timeout.ms": 10_000}
            producer = Producer(self._properties | ours)
            producer.init_transactions(_SECONDS)
            producer.begin_transaction()
            for key, value in zip(rows.card_id.tolist(), encode_avro(rows, PREFIX), strict=True):
                producer.produce(self._topic, value, key)
            producer.flush(_SECONDS)
            producer.abort_transaction(_SECONDS)
            self.aborted += size


class Steady(threading.Thread):
    """A thread that publishes records from number ``first`` on at a rate, or as fast as it can, until it is closed.

    ``sent`` is the number of the next record. One of ``spoilt_every`` is cut short; None: none is. ``happening_at``
    makes of the times at which n records are due (s) those of their events, int64 in ms; without it the data tell them.
    """

    def __init__(
        self,
        properties: Mapping[str, Any],
        topic: str,
        source: TransactionSource,
        rate: float | None,
        *,
        first: int = 0,
        spoilt_every: int | None = SPOILT_EVERY,
        happening_at: Callable[[NDArray[np.float64]], NDArray[np.int64]] | None = None,
    ) -> None:
        super().__init__(name="loader", daemon=True)
        self.sent = first
        self.failure: Exception | None = None
        self._publisher = Publisher(dict(properties) | _PATIENT, topic)
        self._source = source
        self._rate = rate
        self._spoilt_every = spoilt_every
        self._happening_at = happening_at
        self._closed = threading.Event()

    def close(self) -> None:
        """Publish no more, and wait until all is delivered."""
        self._closed.set()
        self.join()

    def run(self) -> None:
        """Publish what is due."""
        try:
            send_at_pace(Pace(time.time(), self._rate), None, self._send, self._closed.is_set)
            self._publisher.flush(_SECONDS)
        except Exception as error:  # noqa: BLE001 - whoever waits for the loader is told
            self.failure = error

    def _send(self, _first: int, due: NDArray[np.float64]) -> None:
        rows = self._source.stretch(self.sent, len(due))
        if self._happening_at is not None:
            rows = rows.happening_at(self._happening_at(due))
        self._publisher.send(*_records(rows, self.sent, self._spoilt_every))
        self.sent += len(due)


def _records(rows: Transactions, first: int, spoilt_every: int | None) -> tuple[list[bytes], list[bytes]]:
    """The keys and the values of n rows, which are the records from number ``first`` on."""
    values = encode_avro(rows, PREFIX)
    for row in range(-first % spoilt_every, len(rows), spoilt_every) if spoilt_every else ():
        values[row] = values[row][:-3]
    return rows.card_id.tolist(), values
