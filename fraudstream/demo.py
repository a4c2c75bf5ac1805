"""Run everything on one machine: a broker, a worker, the held-out part of a data set as a stream, and a reader."""

import io
import subprocess
import sys
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import fastavro
import numpy as np
from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

from deploy.jvm import free_ports
from producer.encode import encode_avro
from producer.transactions import Transactions, TransactionSource
from schemas.errors import ConfigurationError, FraudstreamError
from schemas.framing import confluent_prefix
from schemas.load import load

PARTITIONS = 4
START_SECONDS = 60.0
DRAIN_SECONDS = 30.0
TICK_SECONDS = 0.01
BLIND = {"log_level": 0}


@dataclass(frozen=True, slots=True)
class Topics:
    """The three topics of a run; on a broker of yours they bear a name that nobody else uses."""

    transactions: str
    decisions: str
    dead_letters: str


@dataclass(slots=True)
class Tally:
    """What a reader of the outputs has seen so far, against the labels."""

    frauds: frozenset[str]
    sent: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    fraud_outcomes: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    dead_letters: int = 0
    latencies: list[float] = field(default_factory=list)
    declined: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=6))
    rate: float = 0.0

    def note(self, decision: dict[str, Any], latency: float) -> None:
        """Take one decision, read ``latency`` seconds after its transaction was sent."""
        identity, outcome = decision["transaction_id"], decision["decision"]
        self.seen[identity] += 1
        self.outcomes[outcome] += 1
        self.latencies.append(latency)
        if identity in self.frauds:
            self.fraud_outcomes[outcome] += 1
        if outcome == "decline":
            self.declined.append(decision)


@dataclass(frozen=True, slots=True)
class Summary:
    """The end of the demo, in numbers. Latencies are in ms; rates are per second."""

    delivery: str
    transactions_in: int
    decisions_out: int
    dead_letters: int
    missing: int
    doubled: int
    approved: int
    reviewed: int
    declined: int
    frauds: int
    frauds_declined: int
    frauds_reviewed: int
    precision: float
    precision_at_real_prior: float
    recall: float
    throughput: float
    p50_ms: float
    p99_ms: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def summarise(tally: Tally, delivery: str, legitimate_kept: float) -> Summary:
    """Count up. A flagged transaction is one that is declined or reviewed."""
    flagged = tally.outcomes["decline"] + tally.outcomes["review"]
    caught = tally.fraud_outcomes["decline"] + tally.fraud_outcomes["review"]
    # The sample holds one legitimate row for every 1 / legitimate_kept of reality: false alarms weigh that much more.
    real_alarms = (flagged - caught) / legitimate_kept
    p50, p99 = np.percentile(tally.latencies, [50, 99]) * 1000 if tally.latencies else (0.0, 0.0)
    return Summary(
        delivery=delivery,
        transactions_in=tally.sent,
        decisions_out=sum(tally.outcomes.values()),
        dead_letters=tally.dead_letters,
        missing=tally.sent - len(tally.seen) - tally.dead_letters,
        doubled=sum(count - 1 for count in tally.seen.values()),
        approved=tally.outcomes["approve"],
        reviewed=tally.outcomes["review"],
        declined=tally.outcomes["decline"],
        frauds=len(tally.frauds),
        frauds_declined=tally.fraud_outcomes["decline"],
        frauds_reviewed=tally.fraud_outcomes["review"],
        precision=caught / flagged if flagged else 0.0,
        precision_at_real_prior=caught / (caught + real_alarms) if caught else 0.0,
        recall=caught / len(tally.frauds) if tally.frauds else 0.0,
        throughput=round(tally.rate, 1),
        p50_ms=round(float(p50), 1),
        p99_ms=round(float(p99), 1),
    )


@contextmanager
def embedded_broker() -> Iterator[str]:
    """The address of librdkafka's mock cluster, a broker inside this process that knows no transactions."""
    host = Producer({"test.mock.num.brokers": 1} | BLIND)
    brokers = host.list_topics(timeout=10).brokers.values()
    yield ",".join(f"{broker.host}:{broker.port}" for broker in brokers)
    del host


def prepare_topics(bootstrap_servers: str, *, embedded: bool) -> Topics:
    """Topics for one run. Raises ConfigurationError if the broker does not answer or refuses them."""
    run = f"demo-{uuid.uuid4().hex[:8]}"
    topics = Topics(f"{run}.transactions", f"{run}.decisions", f"{run}.dead-letters")
    admin = AdminClient({"bootstrap.servers": bootstrap_servers} | BLIND)
    try:
        if embedded:  # the mock cluster makes a topic when it is asked about it
            for name in asdict(topics).values():
                admin.list_topics(name, timeout=10)
        else:
            wanted = [NewTopic(name, PARTITIONS) for name in asdict(topics).values()]
            for future in admin.create_topics(wanted, request_timeout=10).values():
                future.result()
    except KafkaException as error:
        raise ConfigurationError(f"no topics on {bootstrap_servers}: {error.args[0].str()}") from error
    return topics


def delete_topics(bootstrap_servers: str, topics: Topics) -> None:
    """Leave a real broker as it was."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers} | BLIND)
    for future in admin.delete_topics(list(asdict(topics).values())).values():
        future.exception()


@contextmanager
def worker(bootstrap_servers: str, topics: Topics, model: Path, delivery: str, log: Path) -> Iterator[None]:
    """``fraudstream score`` as a process of its own, ready and serving. Raises FraudstreamError if it will not."""
    (port,) = free_ports(1)
    command = [
        *(sys.executable, "-m", "fraudstream", "score", "--log-format", "json", "--delivery", delivery),
        *("--bootstrap-servers", bootstrap_servers, "--group", topics.transactions, "--model", str(model)),
        *("--input-topic", topics.transactions, "--decisions-topic", topics.decisions),
        *("--dead-letters-topic", topics.dead_letters, "--metrics-port", str(port)),
    ]
    with log.open("wb") as errors:
        process = subprocess.Popen(command, stderr=errors)
    try:
        _wait_until_ready(process, f"http://127.0.0.1:{port}/readyz", log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            last = log.read_text(errors="replace").strip().splitlines()[-1:]
            raise FraudstreamError(f"the worker ended before it began: {' '.join(last)}")
        try:
            with urlopen(url, timeout=1):  # noqa: S310 - our own loopback address
                return
        except (URLError, OSError):
            time.sleep(0.1)
    raise FraudstreamError(f"the worker was not ready within {START_SECONDS:.0f} s")


def stream(
    bootstrap_servers: str,
    topics: Topics,
    rows: Transactions,
    rate: float,
    tally: Tally,
    show: Callable[[], None],
) -> None:
    """Send the rows at so many a second, event time now, and read the outcomes until none is missing."""
    producer = Producer({"bootstrap.servers": bootstrap_servers, "partitioner": "murmur2_random"} | BLIND)
    reader = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"{topics.transactions}.reader",
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 10,
            "topic.metadata.refresh.interval.ms": 1000,
        }
        | BLIND
    )
    reader.subscribe([topics.decisions, topics.dead_letters])
    schema = fastavro.parse_schema(load("decision"))
    reader.poll(5)  # joins its group before the first transaction, so that latency is not the time of joining
    began = time.time()
    deadline = began + len(rows) / rate + DRAIN_SECONDS
    while time.time() < deadline and len(tally.seen) + tally.dead_letters < len(rows):
        due = min(len(rows), int((time.time() - began) * rate) + 1)
        _send(producer, topics.transactions, rows, tally.sent, due)
        tally.sent = due
        for message in reader.consume(5000, TICK_SECONDS):
            if message.error() is None:
                _read(message.topic() == topics.dead_letters, message.value(), schema, tally)
        tally.rate = len(tally.seen) / (time.time() - began)
        show()
    producer.flush(10)
    reader.close()


def _send(producer: Producer, topic: str, rows: Transactions, first: int, end: int) -> None:
    if first == end:
        return
    batch = Transactions(*(getattr(rows, name)[first:end] for name in Transactions.__slots__))
    now = np.full(len(batch), int(time.time() * 1000), np.int64)
    values = encode_avro(batch.happening_at(now), confluent_prefix(1))
    for value, card in zip(values, batch.card_id.tolist(), strict=True):
        producer.produce(topic, value, card)
    producer.poll(0)


def _read(dead: bool, value: bytes | None, schema: Any, tally: Tally) -> None:
    if dead or value is None:
        tally.dead_letters += 1
        return
    decision: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), schema, None)
    tally.note(decision, time.time() - decision["event_time"].timestamp())


def later_part(source: TransactionSource, share: float) -> Transactions:
    """The last ``share`` of the data set: what came after everything that the model learned from."""
    first = len(source) - int(len(source) * share)
    return source.stretch(first, len(source) - first)
