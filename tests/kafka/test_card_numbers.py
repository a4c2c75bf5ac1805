"""A worker that is shown card numbers in every place, and secrets, tells none of them to anybody but the topics."""

import io
import json
from pathlib import Path
from urllib.request import urlopen

import fastavro
import pytest
from confluent_kafka import Producer
from otlp_collector import running_collector
from worker_stream import PREFIX, TRANSACTION, transactions, wait_until

PASSWORD = "hunter2-of-the-broker"
CARDS = ("4111111111111111", "378282246310005", "5555 5555 5555 4444", "6011-0009-9013-9424")


def encoded(record):
    stream = io.BytesIO(PREFIX)
    stream.seek(len(PREFIX))
    fastavro.schemaless_writer(stream, TRANSACTION, record)
    return stream.getvalue()


def records(sample):
    """(key, value, headers): a card number in each place of a record, good ones and those that cannot be scored."""
    (_, value), *_ = transactions(sample, 1)
    good = fastavro.schemaless_reader(io.BytesIO(value[len(PREFIX) :]), TRANSACTION, None)
    for card in CARDS:
        number = card.encode()
        headers = [(card, number), ("card", number)]
        yield number, encoded(good | {"transaction_id": card, "card_id": card}), headers
        yield number, encoded(good | {"transaction_id": card, "card_id": card, "event_time": 0}), headers
        yield number, encoded(good | {"transaction_id": card * 40, "card_id": card}), headers
        yield number, encoded(good | {"transaction_id": card, "amount": float("nan")}), headers
        yield number, PREFIX + number, headers
        yield number, number, headers
        yield number, b"\0\0\0\0\x63" + number, headers
        yield number, b'{"card_id": "' + number + b'"}', headers
        yield number, None, headers


def holds_a_card(text):
    return any(card in text or card.replace(" ", "").replace("-", "") in text for card in CARDS)


@pytest.fixture
def collector():
    with running_collector() as made:
        yield made


def test_card_numbers_and_secrets_reach_no_log_no_metric_no_trace_and_no_header(stream, sample, collector, tmp_path):
    producer = Producer({"bootstrap.servers": stream.bootstrap})
    sent = list(records(sample))
    for key, value, headers in sent:
        producer.produce(stream.input, value, key, headers=headers)
    assert producer.flush(30) == 0
    group = f"g-{CARDS[0]}"
    options = ("--log-level", "debug", "--dead-letter-payload", "redacted", "--group", group)
    secrets = ("--kafka", "sasl.username=ann", "--kafka", f"sasl.password={PASSWORD}")
    tellers = ("--otlp-endpoint", collector.url, "--emf-seconds", "0.2")
    output = tmp_path / "output"
    into_a_file = ("sh", "-c", f'exec "$@" > {output}', "sh")
    worker = stream.start(*options, *secrets, *tellers, "--experiment", CARDS[1], within=into_a_file)
    dead = stream.read(stream.dead_letters, stream.partitions, 8 * len(CARDS))
    wait_until(lambda: any('"started"' in line for line in list(worker.log)))
    port = next(json.loads(line)["metrics_port"] for line in list(worker.log) if '"started"' in line)
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        metrics = answer.read().decode()
    limits = Path(f"/proc/{worker.pid}/limits").read_text().splitlines()
    core = next(line for line in limits if line.startswith("Max core file size"))
    worker.terminate()
    assert worker.wait(20) == 0
    worker.reader.join()

    log, printed, traced = "".join(worker.log), output.read_text(), str(collector.requests)
    for told in (log, printed, traced):
        assert "[card number]" in told, "nothing was put to the test"
    for told in (log, metrics, printed, traced):
        assert not holds_a_card(told)
        assert PASSWORD not in told
    assert len(dead) == 8 * len(CARDS)
    for letter in dead:
        assert letter.value() is None
        assert not holds_a_card(repr(letter.headers()))
    assert int(core.split()[4]) <= 1


def test_an_error_about_a_card_number_does_not_repeat_it(stream):
    worker = stream.start("--input-topic", CARDS[0])

    assert worker.wait(60) == 78
    worker.reader.join()
    log = "".join(worker.log)
    assert "topic [card number] does not exist" in log
    assert not holds_a_card(log)


def test_a_password_that_is_not_written_as_it_should_is_not_repeated(stream):
    done = stream.command("config", "--kafka", f"sasl.password:{PASSWORD}")

    assert done.returncode == 78
    assert "--kafka takes key=value" in done.stderr
    assert PASSWORD not in done.stdout + done.stderr
