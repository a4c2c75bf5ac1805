"""Run ``fraudstream`` with a fault built in: ``python -m benchmarks.chaos.sabotage FAULT[,FAULT] score ...``."""

import sys
from itertools import count
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Producer

import consumer.clients
from consumer.delivery import ExactlyOnce, Outbox, Place
from consumer.loop import Loop
from fraudstream.__main__ import main

ABORTED_EVERY = 3


def abort_one_in_three() -> None:
    """Each third commit of the process fails, and its transaction is aborted."""
    commits = count(1)

    class Aborting(Producer):
        def commit_transaction(self, *args: Any) -> None:
            if next(commits) % ABORTED_EVERY:
                super().commit_transaction(*args)
                return
            super().abort_transaction(*args)
            error = KafkaError(KafkaError.REQUEST_TIMED_OUT, "aborted on purpose", txn_requires_abort=True)
            raise KafkaException(error)

    vars(consumer.clients)["Producer"] = Aborting


def commit_first() -> None:
    """A mistake: the offsets are committed before anything is published."""
    publish = ExactlyOnce.publish

    def commit_then_publish(self: ExactlyOnce, outbox: Outbox, place: Place) -> float:
        place.consumer.commit(offsets=place.offsets, asynchronous=False)
        return publish(self, outbox, place)

    ExactlyOnce.publish = commit_then_publish  # type: ignore[method-assign]


def skip_rewind() -> None:
    """A mistake: after a failure the worker goes on where it is."""

    def stay(self: Loop) -> None:
        self._prepared, self._rewind_due = None, False

    Loop.rewind = stay  # type: ignore[method-assign]


FAULTS = {fault.__name__: fault for fault in (abort_one_in_three, commit_first, skip_rewind)}


if __name__ == "__main__":
    for name in sys.argv.pop(1).split(","):
        FAULTS[name]()
    main()
