"""A collector is told each batch once, with links to the traces of its records, and holds up nobody."""

import json
import subprocess
import sys
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import test_bad_input
from confluent_kafka import Message
from otlp_collector import running_collector

from consumer.records import RecordBatch
from consumer.tracing import MOST_LINKS, Tracing
from deploy.jvm import free_ports

STARTED = """
import json, sys
from consumer import worker
from consumer.settings import WorkerSettings

class Enough(Exception): ...

def modules(**settings):
    try:
        worker.Worker(WorkerSettings(store=".", **settings), None)
    except Enough:
        return sum(name.startswith("opentelemetry") for name in sys.modules)

def cluster(settings):
    raise Enough

worker.Cluster = cluster
print(json.dumps([modules(), modules(otlp_endpoint="http://127.0.0.1:1")]))
"""
"""Starts a worker as far as the brokers, without a collector and with one: how many modules of the SDK are loaded."""


class Unread(Message):
    """A record of which nobody shall read the headers."""

    def headers(self):
        raise AssertionError("the headers were read")


def parent(number):
    return f"00-{number:032x}-{number:016x}-01".encode()


def batch(*headers):
    messages = [SimpleNamespace(headers=lambda each=each: each) for each in headers]
    nothing = [None] * len(messages)
    return RecordBatch("transactions", messages, nothing, nothing, np.zeros(len(messages), np.int32), np.arange(1))


@pytest.fixture
def collector():
    with running_collector() as made:
        yield made


def attributes(of):
    kinds = {each.key: each.value for each in of.attributes}
    return {name: getattr(value, value.WhichOneof("value")) for name, value in kinds.items()}


def test_a_batch_is_a_span_with_a_link_to_each_trace_of_its_records(collector):
    tracing = Tracing(collector.url, "the-group", "app.env.group.0")
    records = batch([("traceparent", parent(1))], None, [("other", b"x"), ("traceparent", parent(2))],
                    [("traceparent", parent(1))], [("traceparent", b"4111111111111111")])  # fmt: skip

    tracing.trace(records, begun_at=1_000_000_000, seconds={"decode": 0.25}, bad=1)
    tracing.close()

    (span,) = collector.spans
    assert (span.name, span.kind, span.start_time_unix_nano) == ("process transactions", 5, 1_000_000_000)
    assert [int.from_bytes(link.trace_id) for link in span.links] == [1, 2]
    assert attributes(span) == {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.destination.name": "transactions",
        "messaging.consumer.group.name": "the-group",
        "messaging.batch.message_count": 5,
        "fraudstream.dead_letters": 1,
        "fraudstream.decode.seconds": 0.25,
    }
    (resource,) = collector.resources
    assert attributes(resource.resource)["service.instance.id"] == "app.env.group.0"


def test_no_card_number_is_told_by_whatever_it_is_called(collector):
    tracing = Tracing(collector.url, "g-4111111111111111", "s-378282246310005")

    tracing.trace(replace(batch(None), topic="5555555555554444"), 1, {}, 0)
    tracing.close()

    told = str(collector.requests)
    assert "[card number]" in told
    assert not any(card in told for card in ("4111111111111111", "378282246310005", "5555555555554444"))


def test_the_links_of_a_batch_are_bounded(collector):
    tracing = Tracing(collector.url, "g", "s")

    tracing.trace(batch(*([("traceparent", parent(n))] for n in range(1, 3 * MOST_LINKS))), 1, {}, 0)
    tracing.close()

    (span,) = collector.spans
    assert len(span.links) == MOST_LINKS


def test_a_collector_that_is_away_is_not_waited_for_and_said_in_one_line(capsys):
    (port,) = free_ports(1)
    tracing = Tracing(f"http://127.0.0.1:{port}", "g", "s")
    tracing.trace(batch(None), 1, {}, 0)
    ended = threading.Event()

    threading.Thread(target=lambda: (tracing.close(), ended.set()), daemon=True).start()

    assert ended.wait(8), "a worker has ten seconds to end"
    told = capsys.readouterr()
    assert "traces_not_sent" in told.out + told.err
    assert "Traceback" not in told.out + told.err


def test_without_a_collector_nothing_of_the_sdk_is_loaded():
    done = subprocess.run([sys.executable, "-c", STARTED], capture_output=True, text=True, timeout=60, check=True)

    without, with_one = json.loads(done.stdout)
    assert without == 0
    assert with_one > 0


def test_without_a_collector_no_header_of_a_record_that_is_decided_is_read():
    process = test_bad_input.scoring(input_format="json")
    records = test_bad_input.batch(test_bad_input.GOOD_JSON)
    unread = Unread(topic=records.topic, partition=0, offset=0, value=records.values[0], timestamp=(1, 0))

    outbox = process(replace(records, messages=[unread]))
    outbox.on_published()

    assert [len(messages.messages) for messages in outbox.messages] == [1]
