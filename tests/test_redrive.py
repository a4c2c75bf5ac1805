"""A dead letter is sent again once, as it was or under another schema id, unless it would be in vain."""

from dataclasses import replace
from hashlib import sha256

import pytest
from confluent_kafka import Message

from consumer.dead_letters import DeadLetterTopic, letters
from consumer.decide import Rejection
from consumer.letter import Record, Wanted, read_letter
from consumer.records import RecordBatch
from consumer.redrive import Fate, Policy, judge
from consumer.settings import Payload
from schemas.columns import Reason

ORIGINAL = Record(b"card", b"\0\0\0\0\1value", [("trace", b"t")])
POLICY = Policy(attempts=3)


def written(record=ORIGINAL, payload=Payload.ORIGINAL, offset=7, attempt=None):
    """The letter that the worker writes about a record, as it comes back from the broker."""
    headers = [*record.headers, *([("fraudstream.attempt", attempt)] if attempt else [])]
    source = Message(topic="in", partition=2, offset=40 + offset, key=record.key, value=record.value, headers=headers)
    to = DeadLetterTopic("dead", 4, payload, 1_000_000)
    (letter,) = letters(RecordBatch.of("in", [source]), {0: Reason.UNKNOWN_SCHEMA}, {}, to)
    return read_letter(
        Message(
            topic="dead",
            partition=2,
            offset=offset,
            key=letter.key,
            value=letter.value,
            headers=letter.headers,
            timestamp=(1, 1_700_000_000_000),
        )
    )


def judged(given, sent=(), policy=POLICY, there=None, expected=Fate.SENT):
    return judge(given, sent, policy, lambda asked: [there] * len(asked), lambda values: [expected] * len(values))


def test_a_letter_reads_back_as_it_was_written():
    letter = written()

    assert (letter.place, letter.topic, letter.source_partition, letter.source_offset) == ("2:7", "in", 2, 47)
    assert (letter.stage, letter.reason, letter.attempt) == ("decode", "UNKNOWN_SCHEMA", 1)
    assert letter.message == "the value could not be decoded: unknown schema"
    assert (letter.payload, letter.sha256, letter.record) == (Payload.ORIGINAL, None, ORIGINAL)


def test_a_redacted_letter_bears_the_digest_alone():
    letter = written(payload=Payload.REDACTED)

    assert (letter.payload, letter.record) == (Payload.REDACTED, Record(b"card", None, []))
    assert letter.sha256 == sha256(ORIGINAL.value).hexdigest()


def test_what_is_no_letter_of_ours_is_none():
    assert read_letter(Message(topic="dead", partition=0, offset=0, value=b"x", headers=[("a", b"b")])) is None


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        (Wanted(), True),
        (Wanted(stages=["decode"], reasons=["TRUNCATED", "UNKNOWN_SCHEMA"], partition=2), True),
        (Wanted(stages=["validate"]), False),
        (Wanted(reasons=["TRUNCATED"]), False),
        (Wanted(partition=0), False),
    ],
)
def test_letters_are_asked_for_by_stage_reason_and_partition_of_the_source(wanted, taken):
    assert wanted.takes(written()) is taken


def test_the_original_bytes_key_and_headers_are_sent_with_the_attempt():
    (found,) = judged([written()])

    assert found.fate is Fate.SENT
    assert found.record == Record(ORIGINAL.key, ORIGINAL.value, [("trace", b"t"), ("fraudstream.attempt", b"1")])


def test_the_attempt_of_a_record_that_failed_before_goes_on_counting():
    (found,) = judged([written(attempt=b"1")])

    assert found.record.headers == [("trace", b"t"), ("fraudstream.attempt", b"2")]


def test_a_record_that_has_failed_too_often_is_not_sent_again():
    third, fourth = written(attempt=b"2"), written(attempt=b"3")

    assert [each.fate for each in judged([third, fourth])] == [Fate.SENT, Fate.EXHAUSTED]


def test_a_letter_that_was_sent_before_is_not_sent_again_and_its_namesake_is():
    letter = written()
    namesake = replace(letter, time=letter.time + 1)

    found = judged([letter, namesake], sent={letter.identity})

    assert [each.fate for each in found] == [Fate.ALREADY_SENT, Fate.SENT]


@pytest.mark.parametrize("payload", [Payload.REDACTED, Payload.POINTER])
def test_a_letter_without_its_record_has_it_fetched(payload):
    first, second = written(payload=payload), written(offset=8)

    found = judged([first, second], there=ORIGINAL)

    assert [each.fate for each in found] == [Fate.SENT, Fate.SENT]
    assert found[0].record == found[1].record


def test_a_record_that_is_gone_or_another_is_not_sent():
    letter = written(payload=Payload.REDACTED)

    assert judged([letter], there=None)[0].fate is Fate.GONE
    assert judged([letter], there=replace(ORIGINAL, value=b"another"))[0].fate is Fate.CHANGED


def test_a_corrected_schema_id_takes_the_place_of_the_wrong_one():
    (found,) = judged([written()], policy=Policy(3, schema_id=9))

    assert found.record.value == b"\0\0\0\0\x09value"


def test_a_bare_value_gets_a_frame_only_if_that_is_asked_for():
    bare = written(replace(ORIGINAL, value=b"\x02bare"))

    assert judged([bare], policy=Policy(3, schema_id=9))[0].fate is Fate.UNFRAMED
    assert judged([bare], policy=Policy(3, 9, bare=True))[0].record.value == b"\0\0\0\0\x09\x02bare"
    assert judged([written(replace(ORIGINAL, value=None))], policy=Policy(3, 9, bare=True))[0].fate is Fate.UNFRAMED


@pytest.mark.parametrize("fate", [Fate.UNDECODABLE, Fate.INVALID])
def test_what_would_be_refused_again_is_not_sent(fate):
    (found,) = judged([written()], expected=fate)

    assert (found.fate, found.record) == (fate, None)


def test_a_record_whose_key_no_decision_may_bear_is_not_sent():
    (found,) = judged([written(replace(ORIGINAL, key=b"x" * 4_097))])

    assert (found.fate, found.record) == (Fate.INVALID, None)


def test_fates_stand_in_the_order_of_the_letters():
    given = [written(offset=number, attempt=b"9" if number % 2 else None) for number in range(6)]

    found = judged(given)

    assert [each.letter for each in found] == given
    assert [each.fate for each in found] == [Fate.SENT, Fate.EXHAUSTED] * 3


def test_a_rejected_record_is_about_its_value_and_not_its_encoding():
    source = Message(topic="in", partition=0, offset=0, key=None, value=b"x")
    to = DeadLetterTopic("dead", 1, Payload.ORIGINAL, 1_000_000)
    (letter,) = letters(RecordBatch.of("in", [source]), {}, {0: Rejection.MISSING_ID}, to)

    read = read_letter(Message(topic="dead", partition=0, offset=0, value=letter.value, headers=letter.headers))

    assert (read.stage, read.reason) == ("validate", "MISSING_ID")
