"""Headers that cannot be read cost nobody the record, and nobody looks at them twice."""

import pytest
from confluent_kafka import Consumer, TopicPartition
from mock_cluster import running_mock_cluster

from consumer.dead_letters import DeadLetterTopic, letters
from consumer.headers import UNREADABLE, headers_of
from consumer.letter import read_letter
from consumer.records import RecordBatch
from consumer.settings import Payload
from consumer.tracing import contexts
from schemas.columns import Reason

BEFORE = 50
"""Records: CPython calls otherwise what it has called so often."""


@pytest.fixture
def message():
    """A record with a header whose name is no UTF-8, after others that have been looked at."""
    with running_mock_cluster() as cluster:
        cluster.create_topic("in")
        for _ in range(BEFORE):
            cluster.publish("in", b"\7", header=b"name")
        cluster.publish("in", b"\7", header=b"\xff")
        consumer = Consumer({"bootstrap.servers": cluster.bootstrap_servers, "group.id": "g"})
        consumer.assign([TopicPartition("in", 0, 0)])
        assert [headers_of(consumer.poll(20)) for _ in range(BEFORE)] == [[("name", b"x")]] * BEFORE
        yield consumer.poll(20)
        consumer.close()


def test_where_the_name_of_a_header_is_no_utf8_it_is_said_that_there_are_some_as_often_as_one_asks(message):
    assert [headers_of(message) for _ in range(3)] == [[(UNREADABLE, b"unreadable")]] * 3


def test_a_record_whose_headers_cannot_be_read_becomes_a_letter_that_says_so(message):
    records = RecordBatch.of("in", [message])

    (letter,) = letters(records, {0: Reason.WRONG_MAGIC}, {}, DeadLetterTopic("dead", 1, Payload.ORIGINAL, 1_000_000))

    assert letter.value == b"\7"
    assert dict(letter.headers)[UNREADABLE] == b"unreadable"
    assert list(contexts(records)) == []
    message.set_headers(letter.headers)
    assert read_letter(message).record.headers == []
