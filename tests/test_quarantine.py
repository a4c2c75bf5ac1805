"""The record that kills the process is told from its neighbours by what was in hand, and is not looked at again."""

import multiprocessing

import numpy as np
import pytest
from confluent_kafka import Message

from consumer.delivery import Letter, Messages, Outbox
from consumer.in_hand import InHand, Range, shared_memory
from consumer.quarantine import Careful, Suspects, read_apart
from consumer.records import RecordBatch
from schemas.columns import Columns, Reason

BATCH = (Range(0, 10, 19), Range(1, 5, 9))
ALONE = (Range(1, 7, 7),)


def records(*places):
    return RecordBatch.of(
        "in", [Message(topic="in", partition=p, offset=offset, value=b"%d" % offset) for p, offset in places]
    )


@pytest.fixture
def in_hand():
    return InHand(shared_memory(multiprocessing.get_context("spawn")))


def crashes_until_quarantined(size, killer):
    """How a process that dies of one offset of a batch is narrowed down: the sizes in hand at its crashes."""
    suspects, sizes = Suspects(), []
    while (0, killer) not in suspects.quarantined:
        offsets = list(range(size))
        if (0, 0) in suspects or suspects.ranges:
            first = suspects.ranges[0].first
            offsets = offsets[first + (killer - first) // suspects.step * suspects.step :][: suspects.step]
            offsets = [offset for offset in offsets if (0, offset) in suspects]
        sizes.append(len(offsets))
        suspects = suspects.after_crash((Range(0, offsets[0], offsets[-1]),))
    return sizes, suspects


@pytest.mark.parametrize(("size", "killer"), [(1, 0), (2, 1), (3, 0), (70, 69), (5_000, 0), (5_000, 537)])
def test_the_record_that_kills_is_alone_at_the_third_crash_at_the_latest(size, killer):
    sizes, suspects = crashes_until_quarantined(size, killer)

    assert sizes[-1] == 1
    assert len(sizes) <= 3
    assert suspects.quarantined == {(0, killer)}
    assert suspects.ranges == ()


def test_a_crash_with_nothing_in_hand_blames_nobody():
    suspects = Suspects().after_crash(BATCH)

    assert suspects.after_crash(()) == suspects


def test_a_record_that_was_alone_once_by_chance_is_not_quarantined():
    suspects = Suspects().after_crash(ALONE).after_crash((Range(1, 8, 8),))

    assert suspects.quarantined == frozenset()


def test_what_is_in_hand_is_known_only_while_it_is():
    memory = shared_memory(multiprocessing.get_context("spawn"))
    child, parent = InHand(memory), InHand(memory)
    with child.holding(records((0, 10), (1, 5), (0, 19))):
        during = parent.take()
    with child.holding(records((0, 1))):
        pass

    assert during == (Range(0, 10, 19), Range(1, 5, 5))
    assert parent.take() == ()


def test_suspects_are_processed_apart_and_in_pieces(in_hand):
    sizes, published, refused = [], [], []

    def process(batch):
        sizes.append(len(batch))
        offsets = batch.offsets.tolist()
        return Outbox(
            [Messages("out", 0, offsets)],
            [Letter("dead", 0, b"%d" % offsets[0], None, [])],
            lambda: published.extend(offsets),
            refused.append,
            {"decode": 1.0},
        )

    careful = Careful(process, in_hand, Suspects(ranges=(Range(0, 3, 7),), step=2))
    outbox = careful(records((0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (1, 3), (1, 4), (0, 6), (0, 7), (0, 8)))
    outbox.on_published()
    outbox.on_too_large(outbox.letters)

    pieces = [[1, 2], [3, 4], [5], [3, 4], [6, 7], [8]]
    assert [messages.messages for messages in outbox.messages] == pieces
    assert sizes == [len(piece) for piece in pieces]
    assert published == [offset for piece in pieces for offset in piece]
    assert [letter.key for letter in outbox.letters] == [b"%d" % piece[0] for piece in pieces]
    assert refused == [outbox.letters]
    assert outbox.seconds == {"decode": float(len(pieces))}


def test_a_quarantined_record_is_not_shown_to_the_decoder_and_bears_its_reason():
    seen = []

    def read(payloads):
        seen.extend(payloads)
        return Columns(np.zeros(len(payloads), np.uint8), {})

    columns = read_apart(read, records((0, 1), (0, 2), (1, 2)), {(0, 2)})

    assert seen == [b"1", None, b"2"]
    assert columns.reason.tolist() == [Reason.OK, Reason.KILLED_THE_PROCESS, Reason.OK]
