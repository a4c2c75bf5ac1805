"""The record that kills the process is told from its neighbours by what was in hand, and is not looked at again."""

import multiprocessing

import pytest
from confluent_kafka import Message

from consumer.delivery import Letter, Messages, Outbox
from consumer.in_hand import InHand, Range, shared_memory
from consumer.quarantine import Careful, Suspects, apart, without
from consumer.records import RecordBatch

BATCH = (Range(0, 10, 19), Range(1, 5, 9))
ALONE = (Range(1, 7, 7),)


def records(*places):
    return RecordBatch.of(
        "in", [Message(topic="in", partition=p, offset=offset, value=b"%d" % offset) for p, offset in places]
    )


def never(_records):
    raise AssertionError("others go on in the background")


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

    careful = Careful(never, process, in_hand, Suspects(ranges=(Range(0, 3, 7),), step=2))
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


def test_nothing_goes_on_in_the_background_until_all_suspects_are_behind(in_hand):
    how = []

    def process(name):
        return lambda batch: how.append((name, batch.offsets.tolist())) or Outbox()

    careful = Careful(process("all"), process("alone"), in_hand, Suspects((Range(0, 3, 4), Range(1, 7, 7)), step=1))
    for batch in ([(2, 1)], [(0, 3), (0, 4)], [(2, 2)], [(1, 7), (1, 8)], [(2, 3), (0, 5)]):
        careful(records(*batch))

    assert how == [("alone", each) for each in ([1], [3], [4], [2], [7], [8])] + [("all", [3, 5])]


def test_the_payload_of_a_quarantined_record_is_hidden():
    batch = records((0, 1), (0, 2), (1, 2))

    hidden = apart(batch, {(0, 2)})

    assert hidden.tolist() == [False, True, False]
    assert without(batch.values, hidden) == [b"1", None, b"2"]
    assert without(batch.values, apart(batch, ())) is batch.values
