"""What breaks around a worker on a real Apache Kafka costs no transaction, and what it cannot mend it names."""

import uuid
from collections import Counter

import pytest
from worker_stream import Stream, ids_of, transactions

SMALL = {"max.message.bytes": "1048588"}
LARGE = {"max.message.bytes": "4000000"}


@pytest.fixture
def faulty(kafka, model_dir):
    """A function that makes a stream with topics as a test wants them."""
    made = []

    def make(partitions=1, input_config=None):
        stream = Stream(kafka.bootstrap_servers, f"f-{uuid.uuid4().hex[:8]}", model_dir, partitions)
        kafka.create_topic(stream.input, partitions, input_config)
        for topic in (stream.decisions, stream.dead_letters):
            kafka.create_topic(topic, partitions, SMALL)
        made.append(stream)
        return stream

    yield make
    for stream in made:
        stream.stop()


@pytest.mark.parametrize("delivery", ["exactly_once", "at_least_once"])
def test_a_bad_record_too_large_for_the_dead_letters_becomes_a_pointer_and_the_stream_goes_on(faulty, sample, delivery):
    stream = faulty(input_config=LARGE)
    records = list(transactions(sample, 400))
    stream.publish([*records[:200], (b"card", b"\7" * 1_500_000), *records[200:]])
    stream.start("--delivery", delivery)

    decisions = stream.read_decisions(400)
    (letter,) = stream.read(stream.dead_letters, 1, 1)

    assert ids_of(decisions) == Counter(f"tx-{number:08d}" for number in range(400))
    headers = dict(letter.headers())
    assert letter.value() is None
    assert headers["fraudstream.payload"] == b"pointer"
    assert int(headers["fraudstream.payload.too_large"]) > 1_500_000
    assert headers["__connect.errors.offset"] == b"200"
