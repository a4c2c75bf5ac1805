"""The servers that the other tests stand on: they are the real thing, and they never outlive who started them."""

import json
import subprocess
import sys
import time
import uuid

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient

from deploy import jvm
from deploy.jvm import fetch_jars, is_listening
from deploy.kafka.broker import answers, running_broker
from schemas.errors import ConfigurationError


def read_values(bootstrap_servers, topic, count):
    """The first ``count`` values that a read_committed reader sees."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": uuid.uuid4().hex,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_committed",
        }
    )
    consumer.subscribe([topic])
    values = []
    deadline = time.monotonic() + 30
    while len(values) < count and time.monotonic() < deadline:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            values.append(message.value())
    consumer.close()
    return values


def test_transactions_commit_and_abort_on_the_broker(kafka, topic):
    name = topic(partitions=2)
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": name})
    producer.init_transactions(30)
    producer.begin_transaction()
    producer.produce(name, b"aborted", b"key")
    producer.flush()
    producer.abort_transaction()
    producer.begin_transaction()
    producer.produce(name, b"committed", b"key")
    producer.commit_transaction()

    values = read_values(kafka.bootstrap_servers, name, 1)

    assert values == [b"committed"]


def test_a_topic_is_created_with_its_partitions(kafka, topic):
    name = topic(partitions=3)

    assert len(kafka.admin.list_topics(name).topics[name].partitions) == 3


def test_a_broker_keeps_its_records_over_a_clean_restart(tmp_path):
    with running_broker(log_dir=tmp_path, properties={"auto.create.topics.enable": "true"}) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
        producer.produce("kept", b"value")
        assert producer.flush(30) == 0
        broker.stop()
        broker.restart()

        values = read_values(broker.bootstrap_servers, "kept", 1)

    assert values == [b"value"]


def test_a_broker_ends_when_its_parent_is_killed():
    program = """
from deploy.kafka.broker import running_broker
with running_broker() as broker:
    print(broker.port, flush=True)
    input()
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with parent:
        port = int(parent.stdout.readline())
        was_up = answers(port)
        parent.kill()
    deadline = time.monotonic() + 10
    while is_listening(port) and time.monotonic() < deadline:
        time.sleep(0.05)

    assert (was_up, is_listening(port)) == (True, False)


def test_a_registry_hands_out_the_schema_that_was_registered(schema_registry):
    text = '{"type":"record","name":"Card","fields":[{"name":"id","type":"string"}]}'
    with SchemaRegistryClient({"url": schema_registry}) as client:
        schema_id = client.register_schema(f"{uuid.uuid4().hex}-value", Schema(text, "AVRO"))

        found = client.get_schema(schema_id).schema_str

    assert json.loads(found) == json.loads(text)


def test_jars_that_cannot_be_fetched_leave_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setattr(jvm, "CACHE", tmp_path / "cache")
    pom = tmp_path / "broken" / "pom.xml"
    pom.parent.mkdir()
    pom.write_text("<project/>")

    with pytest.raises(ConfigurationError, match="Maven could not fetch the jars of broken"):
        fetch_jars(pom, "copy-dependencies")

    assert [path.suffix for path in (tmp_path / "cache" / "broken").iterdir()] == [".lock"]
