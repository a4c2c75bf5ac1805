"""Topics of their own for a test, real transactions to put in, and workers as a user would start them."""

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from itertools import islice
from urllib.request import urlopen

import fastavro
from confluent_kafka import Consumer, Producer, TopicPartition

from consumer.limits import committed_of
from schemas import feature_sample
from schemas.load import load as load_schema

PREFIX = b"\0\0\0\0\1"
START = 1_380_000_000_000
TRANSACTION = fastavro.parse_schema(load_schema("transaction"))
DECISION = fastavro.parse_schema(load_schema("decision"))
FEATURES = [f"V{number}" for number in range(1, 29)]


def transactions(sample, count):
    """``count`` real transactions as (key, value): the sample, again and again, with ids of their own."""
    for number in range(count):
        row = sample[number % len(sample)]
        card = f"card-{number * 7919 % 5003:05d}"
        record = row | {
            "transaction_id": f"tx-{number:08d}",
            "card_id": card,
            "event_time": START + int(row["time"] * 1000),
        }
        stream = io.BytesIO(PREFIX)
        stream.seek(len(PREFIX))
        fastavro.schemaless_writer(stream, TRANSACTION, record)
        yield card.encode(), stream.getvalue()


@dataclass
class Stream:
    """An input topic with its outputs, and the workers that serve it."""

    bootstrap: str
    name: str
    model: os.PathLike | None
    partitions: int
    processes: list = field(default_factory=list)
    observer: Consumer = field(init=False)

    def __post_init__(self):
        self.observer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": self.name})

    @property
    def input(self):
        return f"{self.name}.in"

    @property
    def decisions(self):
        return f"{self.name}.decisions"

    @property
    def dead_letters(self):
        return f"{self.name}.dead"

    @property
    def samples(self):
        return f"{self.name}.samples"

    def publish(self, records, topic=None):
        producer = Producer(
            {
                "bootstrap.servers": self.bootstrap,
                "linger.ms": 20,
                "partitioner": "murmur2_random",
                "queue.buffering.max.messages": 1_000_000,
                "message.max.bytes": 4_000_000,
            }
        )
        count = 0
        for key, value in records:
            producer.produce(topic or self.input, value, key)
            count += 1
            if count % 10_000 == 0:
                producer.poll(0)
        assert producer.flush(60) == 0
        return count

    @property
    def connection(self):
        """The options by which whatever reads or writes decisions finds its topics."""
        return (
            *("--bootstrap-servers", self.bootstrap, "--group", self.name, "--log-format", "json"),
            *("--input-topic", self.input, "--samples-topic", self.samples),
            *("--decisions-topic", self.decisions, "--dead-letters-topic", self.dead_letters),
        )

    def start(self, *options, slot=0, within=(), program=("-m", "fraudstream")):
        return self.run(
            ("score",),
            *(() if self.model is None else ("--model", self.model)),
            *("--decisions-topic", self.decisions, "--dead-letters-topic", self.dead_letters),
            *("--metrics-port", "0", "--slot", str(slot), *options),
            within=within,
            program=program,
        )

    def run(self, command, *options, within=(), program=("-m", "fraudstream")):
        command = [
            *within,
            *(sys.executable, *program, *command, "--log-format", "json"),
            *("--bootstrap-servers", self.bootstrap, "--group", self.name),
            *("--input-topic", self.input, "--samples-topic", self.samples, *options),
        ]
        process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE, text=True)
        process.log = []
        # A pipe that nobody reads fills up, and the worker would stand still.
        process.reader = threading.Thread(target=lambda: process.log.extend(process.stderr), daemon=True)
        process.reader.start()
        self.processes.append(process)
        return process

    def command(self, *words, timeout=120):
        """Another command on the same topics, to its end."""
        command = [sys.executable, "-m", "fraudstream", *words, *self.connection]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)

    def committed(self):
        """How many records the group has committed over all partitions."""
        return sum(each.offset for each in committed_of(self.observer, self.input, range(self.partitions)))

    def read(self, topic, partitions, wanted, seconds=60):
        """All records of a topic as a plain read_committed consumer sees them, until ``wanted`` have come."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": f"reader-{uuid.uuid4().hex}",
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )
        consumer.subscribe([topic])
        messages, ended, deadline = [], set(), time.monotonic() + seconds
        while time.monotonic() < deadline and not (len(messages) >= wanted and len(ended) == partitions):
            for message in consumer.consume(10_000, 0.2):
                if message.error():
                    ended.add(message.partition())
                else:
                    ended.discard(message.partition())
                    messages.append(message)
        consumer.close()
        return messages

    def read_decisions(self, wanted, seconds=60):
        return [(m, decode(m.value())) for m in self.read(self.decisions, self.partitions, wanted, seconds)]

    def stop(self):
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.reader.join()
            process.stderr.close()
        self.observer.close()


class Load:
    """Records at a steady rate on a thread of their own, until the block ends or there are no more."""

    def __init__(self, stream, records, a_second):
        self.count, self.ended = 0, threading.Event()
        self._records, self._step = records, a_second // 20
        self._thread = threading.Thread(target=stream.publish, args=(self._paced(),))

    def _paced(self):
        while not self.ended.wait(0.05):
            for record in islice(self._records, self._step):
                self.count += 1
                yield record

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self._thread.join()


@dataclass
class Watched(Stream):
    """A stream whose samples are watched, and what comes of it."""

    @property
    def drift(self):
        return f"{self.name}.drift"

    @property
    def requests(self):
        return f"{self.name}.requests"

    def watch(self, *options, slot=0):
        """A monitor that others may follow after six seconds."""
        return self.run(
            ("drift", "run"),
            *("--drift-topic", self.drift, "--retrain-topic", self.requests, "--slot", str(slot)),
            *("--drift-metrics-port", "0", "--consumer-kafka", "session.timeout.ms=6000", *options),
        )

    def publish_samples(self, records):
        producer = Producer({"bootstrap.servers": self.bootstrap, "transactional.id": uuid.uuid4().hex})
        producer.init_transactions(30)
        for each in records:  # each in a transaction of its own, as from a worker
            producer.begin_transaction()
            value = feature_sample.encode(replace(each, topic=self.input))
            producer.produce(self.samples, value, partition=0)
            producer.commit_transaction(30)

    def all_of(self, topic):
        """The committed records of the only partition of a topic."""
        reader = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": uuid.uuid4().hex,
                "isolation.level": "read_committed",
                "enable.partition.eof": True,
            }
        )
        reader.assign([TopicPartition(topic, 0, 0)])
        messages = []
        while not (messages and messages[-1].error()):
            messages += reader.consume(10_000, 1)
        reader.close()
        return [message for message in messages if not message.error()]

    def reports(self):
        """The last value of each key, as compaction leaves them."""
        return {message.key(): message.value() for message in self.all_of(self.drift)}


def decode(value):
    assert value[:5] == b"\0\0\0\0\2"
    stream = io.BytesIO(value[5:])
    record = fastavro.schemaless_reader(stream, DECISION, None)
    assert stream.read() == b""
    return record


def ids_of(decisions):
    return Counter(record["transaction_id"] for _, record in decisions)


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def assert_in_order_per_key(decisions):
    seen = defaultdict(lambda: -1)
    for message, record in decisions:
        offset = record["source"]["offset"]
        assert seen[message.key()] < offset, "a card's decisions came out of order"
        seen[message.key()] = offset


def address_of(process):
    """Where a worker tells about itself, as soon as it has said so."""
    wait_until(lambda: any('"started"' in line for line in list(process.log)))
    port = next(json.loads(line)["metrics_port"] for line in process.log if '"started"' in line)
    return f"http://127.0.0.1:{port}"


def metric(process, name):
    """The value of a metric, by its name with labels as Prometheus writes it; None where it is not told."""
    with urlopen(f"{address_of(process)}/metrics", timeout=5) as answer:
        values = [line.rpartition(" ") for line in answer.read().decode().splitlines()]
    return next((float(value) for told, _, value in values if told == f"fraudstream_{name}"), None)


def said(process, event, partitions=1):
    """Whether a worker logged this event for at least so many partitions."""
    lines = [json.loads(line) for line in list(process.log) if line.startswith("{")]
    return any(line["event"] == event and len(line.get("partitions", [0])) >= partitions for line in lines)
