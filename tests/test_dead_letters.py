"""A dead letter is the original record, with the reason in headers that Kafka Connect's tools read."""

import hashlib

import pytest
from confluent_kafka import Message

from consumer.dead_letters import DeadLetterTopic, letters, size_of
from consumer.decide import Rejection
from consumer.records import RecordBatch
from consumer.settings import Payload
from schemas.columns import Reason


def dead(partitions=1, payload=Payload.ORIGINAL, largest=1_000_000):
    return DeadLetterTopic("dead", partitions, payload, largest)


def records(*messages):
    return RecordBatch.of(
        "in",
        [
            Message(topic="in", partition=p, offset=offset, key=key, value=value, headers=headers)
            for p, offset, key, value, headers in messages
        ],
    )


def test_a_letter_carries_the_original_bytes_key_and_headers():
    batch = records((2, 7, b"k", b"\xff\x00", [("trace", b"t")]))

    (letter,) = letters(batch, {0: Reason.WRONG_MAGIC}, {}, dead(4))

    assert (letter.topic, letter.partition, letter.key, letter.value) == ("dead", 2, b"k", b"\xff\x00")
    assert dict(letter.headers) == {
        "trace": b"t",
        "__connect.errors.topic": b"in",
        "__connect.errors.partition": b"2",
        "__connect.errors.offset": b"7",
        "__connect.errors.stage": b"decode",
        "__connect.errors.class.name": b"WRONG_MAGIC",
        "__connect.errors.exception.message": b"the value could not be decoded: wrong magic",
        "fraudstream.attempt": b"1",
    }


def test_a_tombstone_stays_a_tombstone():
    (letter,) = letters(records((0, 0, b"k", None, None)), {0: Reason.MISSING_VALUE}, {}, dead())

    assert letter.value is None


def test_a_letter_that_comes_again_counts_its_attempts():
    batch = records((0, 0, None, b"x", [("fraudstream.attempt", b"2"), ("__connect.errors.topic", b"old")]))

    (letter,) = letters(batch, {}, {0: Rejection.MISSING_ID}, dead())

    assert [value for name, value in letter.headers if name == "fraudstream.attempt"] == [b"3"]
    assert [value for name, value in letter.headers if name == "__connect.errors.topic"] == [b"in"]


def test_a_forged_attempt_starts_again_at_one():
    batch = records((0, 0, None, b"x", [("fraudstream.attempt", b"\xff")]))

    (letter,) = letters(batch, {}, {0: Rejection.MISSING_ID}, dead())

    assert dict(letter.headers)["fraudstream.attempt"] == b"1"


def test_letters_come_in_the_order_of_their_records():
    batch = records(*((0, offset, None, b"%d" % offset, None) for offset in range(4)))

    found = letters(batch, {3: Reason.TRUNCATED, 1: Reason.TRUNCATED}, {2: Rejection.MISSING_ID}, dead())

    assert [letter.value for letter in found] == [b"1", b"2", b"3"]


def test_a_dead_letter_topic_with_fewer_partitions_lets_the_key_decide():
    (letter,) = letters(records((5, 0, b"k", b"x", None)), {0: Reason.TRUNCATED}, {}, dead(4))

    assert letter.partition == -1


def test_a_redacted_letter_holds_the_digest_and_the_length_but_nothing_that_was_sent():
    batch = records((0, 7, b"k", b"4111111111111111", [("trace", b"4111111111111111")]))

    (letter,) = letters(batch, {0: Reason.WRONG_MAGIC}, {}, dead(payload=Payload.REDACTED))

    headers = dict(letter.headers)
    assert (letter.key, letter.value) == (b"k", None)
    assert headers["fraudstream.payload"] == b"redacted"
    assert headers["fraudstream.payload.sha256"].decode() == hashlib.sha256(b"4111111111111111").hexdigest()
    assert headers["fraudstream.payload.length"] == b"16"
    assert b"4111111111111111" not in headers.values()


def test_a_pointer_says_where_the_record_stands_and_nothing_of_what_it_holds():
    batch = records((0, 7, b"k", b"secret", [("trace", b"t")]))

    (letter,) = letters(batch, {0: Reason.WRONG_MAGIC}, {}, dead(payload=Payload.POINTER))

    headers = dict(letter.headers)
    assert (letter.key, letter.value) == (b"k", None)
    assert headers["fraudstream.payload"] == b"pointer"
    assert headers["__connect.errors.offset"] == b"7"
    assert "trace" not in headers


@pytest.mark.parametrize(
    ("key", "value", "headers"),
    [(b"k", b"x" * 9_000, None), (b"k" * 9_000, b"x", None), (b"k", b"x", [("h", b"x" * 9_000)])],
    ids=["value", "key", "headers"],
)
def test_a_letter_larger_than_the_topic_takes_becomes_a_pointer_and_says_so(key, value, headers):
    (letter,) = letters(records((0, 7, key, value, headers)), {0: Reason.TRUNCATED}, {}, dead(largest=5_000))

    found = dict(letter.headers)
    assert letter.value is None
    assert letter.key in (b"k", None)
    assert size_of(letter) < 5_000
    assert found["fraudstream.payload"] == b"pointer"
    assert int(found["fraudstream.payload.too_large"]) > 9_000
    assert found["__connect.errors.class.name"] == b"TRUNCATED"
