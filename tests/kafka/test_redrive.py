"""Dead letters on a real Kafka are sent again once: with any filter, after a kill, and beside another redrive."""

import json
import time
import uuid
from collections import Counter
from contextlib import closing
from functools import partial

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from typer.testing import CliRunner
from worker_stream import ids_of, transactions

from consumer.dead_letters import DeadLetterTopic, letters
from consumer.letter import Wanted
from consumer.ranges import Extreme
from consumer.records import RecordBatch
from consumer.redrive import Fate, Policy
from consumer.settings import Payload, WorkerSettings
from fraudstream import dead_letters
from fraudstream.__main__ import app
from fraudstream.dead_letters import DeadLetters
from fraudstream.kafka import Connection
from schemas.columns import Reason
from schemas.errors import FraudstreamError

COUNT = 12
EVERYTHING = Wanted()


class Box:
    """An input topic with records of an unknown schema, and a dead letter about each of them."""

    def __init__(self, kafka, topic, payload=Payload.ORIGINAL):
        self.kafka = kafka
        self.input, self.dead = topic(2), topic(2)
        self.settings = WorkerSettings(
            bootstrap_servers=kafka.bootstrap_servers,
            input_topic=self.input,
            dead_letters_topic=self.dead,
            group=self.dead,
        )
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
        for number in range(COUNT):
            producer.produce(
                self.input, b"\0\0\0\0\x63%d" % number, b"k%d" % number, partition=number % 2, headers=[("n", b"h")]
            )
        assert producer.flush(30) == 0
        self.sources = self.read(self.input, COUNT)
        to = DeadLetterTopic(self.dead, 2, payload, 1_000_000)
        records = RecordBatch.of(self.input, self.sources)
        for letter in letters(records, dict.fromkeys(range(COUNT), Reason.UNKNOWN_SCHEMA), {}, to):
            producer.produce(self.dead, letter.value, letter.key, partition=letter.partition, headers=letter.headers)
        assert producer.flush(30) == 0

    def letters(self):
        return DeadLetters(Connection(self.kafka.bootstrap_servers, {}), self.settings)

    def redrive(self, *, send, attempts=3, wanted=EVERYTHING):
        box = self.letters()
        asked = box.read(Extreme.BEGINNING, Extreme.END, wanted, lambda *_: None)
        return Counter(each.fate for judged in box.redrive(asked, Policy(attempts), send=send) for each in judged)

    def read(self, topic, wanted):
        """What any reader of committed records sees of a topic."""
        options = {"bootstrap.servers": self.kafka.bootstrap_servers, "group.id": uuid.uuid4().hex}
        options |= {"enable.partition.eof": True, "auto.offset.reset": "earliest"}
        with closing(Consumer(options)) as consumer:
            consumer.assign([TopicPartition(topic, partition, 0) for partition in (0, 1)])
            messages, ended, deadline = [], set(), time.monotonic() + 30
            while len(ended) < 2 or len(messages) < wanted:
                assert time.monotonic() < deadline, f"only {len(messages)} records came"
                for message in consumer.consume(1000, 0.2):
                    messages.append(message) if message.error() is None else ended.add(message.partition())
            return messages


@pytest.fixture
def decodable(monkeypatch):
    """A worker that takes everything now."""
    monkeypatch.setattr(DeadLetters, "_expectation", lambda _: lambda values: [Fate.SENT] * len(values))


def facts(messages):
    return sorted((m.partition(), m.key(), m.value(), [h for h in m.headers() if h[0] == "n"]) for m in messages)


def test_what_is_sent_again_has_the_place_the_key_and_the_headers_that_it_had(kafka, topic, decodable):
    box = Box(kafka, topic)

    rehearsed = box.redrive(send=False)
    untouched = box.read(box.input, COUNT)
    sent = box.redrive(send=True, wanted=Wanted(partition=0)) + box.redrive(send=True)
    again = box.redrive(send=True)

    assert rehearsed == {Fate.SENT: COUNT}
    assert len(untouched) == COUNT
    assert sent == {Fate.SENT: COUNT, Fate.ALREADY_SENT: COUNT // 2}
    assert again == {Fate.ALREADY_SENT: COUNT}
    everything = box.read(box.input, 2 * COUNT)
    assert facts(everything) == sorted(facts(box.sources) * 2)
    attempts = Counter(dict(message.headers()).get("fraudstream.attempt") for message in everything)
    assert attempts == {None: COUNT, b"1": COUNT}


def test_a_redrive_that_was_killed_before_its_commit_sends_nothing_twice(kafka, topic, decodable, monkeypatch):
    box = Box(kafka, topic)
    monkeypatch.setattr(dead_letters, "CHUNK", 5)
    killed = box.letters()
    run = killed.redrive(killed.read(Extreme.BEGINNING, Extreme.END, Wanted(), lambda *_: None), Policy(3), send=True)
    next(run)
    with monkeypatch.context() as patch:
        patch.setattr(killed, "_send", partial(open_and_leave, killed.markers))
        next(run)  # five more records and their markers are in a transaction that nobody ends

    done = box.redrive(send=True)

    assert done == {Fate.ALREADY_SENT: 5, Fate.SENT: COUNT - 5}
    assert facts(box.read(box.input, 2 * COUNT)) == sorted(facts(box.sources) * 2)


def open_and_leave(markers, producer, judged):
    producer.begin_transaction()
    for each in judged:
        producer.produce(each.letter.topic, each.record.value, partition=each.letter.source_partition)
        producer.produce(markers, b"", each.letter.identity)
    assert producer.flush(30) == 0


def test_of_two_redrives_at_once_the_first_is_told_and_ends(kafka, topic, decodable, monkeypatch):
    box = Box(kafka, topic)
    monkeypatch.setattr(dead_letters, "CHUNK", 5)
    first = box.letters()
    run = first.redrive(first.read(Extreme.BEGINNING, Extreme.END, Wanted(), lambda *_: None), Policy(3), send=True)
    next(run)

    second = box.redrive(send=True)

    with pytest.raises(FraudstreamError, match=f"another redrive of group {box.dead} has begun"):
        next(run)
    assert second == {Fate.ALREADY_SENT: 5, Fate.SENT: COUNT - 5}
    assert facts(box.read(box.input, 2 * COUNT)) == sorted(facts(box.sources) * 2)


@pytest.mark.parametrize("payload", [Payload.POINTER, Payload.REDACTED])
def test_a_letter_without_its_record_is_sent_again_from_the_input_if_it_is_still_there(
    kafka, topic, decodable, payload
):
    box = Box(kafka, topic, payload)
    kafka.admin.delete_records([TopicPartition(box.input, 0, 2)])[TopicPartition(box.input, 0, 2)].result(30)

    sent = box.redrive(send=True)

    assert sent == {Fate.GONE: 2, Fate.SENT: COUNT - 2}
    kept = [message for message in box.sources if (message.partition(), message.offset()) not in {(0, 0), (0, 1)}]
    assert facts(box.read(box.input, 2 * len(kept))) == sorted(facts(kept) * 2)


def test_letters_about_another_topic_are_not_sent_wherever_their_headers_say(kafka, topic, decodable):
    box, other = Box(kafka, topic), topic()
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for name, partition in ((other, b"0"), (box.input, b"7")):
        forged = {"topic": name.encode(), "partition": partition, "offset": b"0"}
        headers = [(f"__connect.errors.{key}", value) for key, value in forged.items()]
        producer.produce(box.dead, b"forged", partition=0, headers=headers)
    producer.flush(30)

    assert box.redrive(send=True) == {Fate.SENT: COUNT}


def test_a_topic_is_repaired_with_three_commands(stream, sample):
    good, wrong, garbage, from_nobody = 300, 30, 5, 4
    records = list(transactions(sample, good + wrong))
    spoilt = [(key, b"\0\0\0\0\x63" + value[5:]) for key, value in records[good:]]
    without_id = b"\0\0\0\0\1\0" + records[0][1][len(b"\0\0\0\0\1\x16tx-00000000") :]
    senseless = [*[(b"k", b"\0\0\0\0\1")] * garbage, *[(b"k", without_id)] * from_nobody]
    stream.publish([*records[:good], *spoilt, *senseless])
    worker = stream.start()
    stream.read(stream.dead_letters, stream.partitions, wrong + garbage + from_nobody)

    def command(*words):
        done = CliRunner().invoke(app, ["dead-letters", *words, *stream.connection])
        assert done.exit_code == 0, done.output
        return done

    listed = [json.loads(line) for line in command("list", "--json").stdout.splitlines()]
    told = json.loads(command("redrive", "--schema-id", "1", "--json").stdout)
    sent = json.loads(command("redrive", "--schema-id", "1", "--json", "--send").stdout)
    shown = command("show", listed[0]["letter"], "--json")
    whole = command("show", listed[0]["letter"], "--payload")

    decisions = stream.read_decisions(good + wrong)
    assert worker.poll() is None
    assert ids_of(decisions) == Counter(f"tx-{number:08d}" for number in range(good + wrong))
    assert Counter(each["class"] for each in listed) == {
        "UNKNOWN_SCHEMA": wrong, "TRUNCATED": garbage, "MISSING_ID": from_nobody,
    }  # fmt: skip
    assert (told["dry_run"], told["letters"], told["to_send"]) == (True, len(listed), wrong)
    assert {(each["fate"], each["count"]) for each in sent["by_class"]} == {
        ("sent", wrong), ("undecodable", garbage), ("invalid", from_nobody),
    }  # fmt: skip
    assert json.loads(shown.stdout) == listed[0] | {"redriven": listed[0]["class"] == "UNKNOWN_SCHEMA"}
    assert shown.stderr == ""
    assert "may hold card data" in whole.stderr
    assert "value: " in whole.stdout
