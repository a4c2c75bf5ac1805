"""A worker that is shown card numbers in every place tells none of them to anybody but the topics."""

import io
import json
from pathlib import Path
from urllib.request import urlopen

import fastavro
from confluent_kafka import Producer
from worker_stream import PREFIX, TRANSACTION, transactions, wait_until

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


def test_card_numbers_reach_no_log_no_metric_and_no_header(stream, sample):
    producer = Producer({"bootstrap.servers": stream.bootstrap})
    sent = list(records(sample))
    for key, value, headers in sent:
        producer.produce(stream.input, value, key, headers=headers)
    assert producer.flush(30) == 0
    group = f"g-{CARDS[0]}"
    options = ("--log-level", "debug", "--dead-letter-payload", "redacted", "--group", group)
    worker = stream.start(*options, "--experiment", CARDS[1])
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

    log = "".join(worker.log)
    assert "[card number]" in log, "nothing was put to the test"
    assert not holds_a_card(log)
    assert not holds_a_card(metrics)
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
