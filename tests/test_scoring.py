"""What the worker makes of a batch follows the topics as they are, not as they were at its start."""

import multiprocessing
from types import SimpleNamespace

import numpy as np
import pytest
from confluent_kafka import Message
from prometheus_client import CollectorRegistry

from consumer.bad_records import TooManyBadRecordsError
from consumer.decide import Rollout
from consumer.in_force import InForce
from consumer.in_hand import InHand, Range, shared_memory
from consumer.metrics import WorkerMetrics
from consumer.quarantine import Careful, Suspects
from consumer.records import RecordBatch
from consumer.serving import Serving
from consumer.settings import WorkerSettings
from consumer.topics import Topics
from consumer.worker import Scoring
from models.routing import Experiment, single
from schemas.columns import Columns, Reason
from schemas.errors import ConfigurationError


def read_nothing(payloads):
    """A reader to which every payload is broken."""
    return Columns(np.full(len(payloads), Reason.TRUNCATED, np.uint8), {})


def scoring(*topics):
    """Scoring that is told of these topics, one answer after another."""
    answers = iter(topics)
    rollout = Rollout(Experiment("e", 1, "s", tuple(single("champion"))), ())
    serving = Serving(rollout, (), SimpleNamespace(read=read_nothing, columnar=True))
    in_force = InForce(lambda: serving, 0.0, WorkerMetrics(CollectorRegistry()))
    return Scoring(in_force, lambda _: [], WorkerSettings(), lambda: next(answers), lambda *_: None)


def records(partition, size):
    return RecordBatch.of("in", [Message(topic="in", partition=partition, offset=0, value=b"x" * size)])


def test_letters_shrink_until_the_brokers_take_them_and_then_it_is_the_decisions():
    process = scoring(Topics(1, 1, 1, 100_000))
    sizes = []

    def refuse():
        (letter,) = (outbox := process(records(0, 50_000))).letters
        sizes.append(len(letter.value or b""))
        outbox.on_too_large(outbox.letters)

    refuse()
    with pytest.raises(ConfigurationError, match=r"fraud\.decisions does not take .* at most 100000 bytes"):
        refuse()

    assert sizes == [50_000, 0]


def test_a_partition_that_is_new_makes_it_ask_for_the_topics_again():
    process = scoring(Topics(1, 1, 1, 100_000), Topics(3, 3, 3, 100_000))

    before, after = process(records(0, 1)), process(records(2, 1))

    assert [outbox.letters[0].partition for outbox in (before, after)] == [0, 2]


def test_a_batch_that_is_bad_throughout_is_not_published_however_often_it_is_tried():
    process = scoring(Topics(1, 1, 1, 100_000))
    garbage = [Message(topic="in", partition=0, offset=offset, value=b"x") for offset in range(100)]
    process(RecordBatch.of("in", garbage[:99])).on_published()

    for _ in range(2):
        with pytest.raises(TooManyBadRecordsError):
            process(RecordBatch.of("in", garbage[99:]))


def test_of_pieces_processed_apart_the_largest_letter_of_all_shrinks():
    process = scoring(Topics(1, 1, 1, 100_000))
    hand = InHand(shared_memory(multiprocessing.get_context("spawn")))
    careful = Careful(process, process, hand, Suspects(ranges=(Range(0, 0, 1),)))
    garbage = [Message(topic="in", partition=0, offset=at, value=b"x" * size) for at, size in enumerate([1, 50_000])]

    outbox = careful(RecordBatch.of("in", garbage))
    outbox.on_too_large(outbox.letters)

    assert [letter.value for letter in careful(RecordBatch.of("in", garbage)).letters] == [b"x", None]
