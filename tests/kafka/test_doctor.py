"""The doctor on a real Kafka finds what is wrong, and leaves nothing behind that a reader could see."""

import json
from contextlib import closing

from confluent_kafka import Consumer, TopicPartition
from typer.testing import CliRunner

from fraudstream.__main__ import app


def doctor(kafka, *options):
    options = ["--bootstrap-servers", kafka.bootstrap_servers, "--sample-rate", "0", *map(str, options), "--json"]
    done = CliRunner().invoke(app, ["doctor", *options])
    told = json.loads(done.stdout)
    assert done.exit_code == int(not told["healthy"])
    return {finding["check"]: finding for finding in told["findings"]}


def ends(kafka, topic):
    """What a reader of committed records and one of all records see."""
    options = {"bootstrap.servers": kafka.bootstrap_servers, "group.id": topic, "enable.partition.eof": True}
    seen = []
    for isolation in ("read_committed", "read_uncommitted"):
        with closing(Consumer(options | {"isolation.level": isolation})) as consumer:
            consumer.assign([TopicPartition(topic, 0, 0)])
            messages = consumer.consume(1, 20)
            seen.append(sum(message.error() is None for message in messages))
    return seen


def test_a_cluster_on_which_a_worker_would_run_is_found_healthy(kafka, topic, model_dir):
    source, decisions, dead = topic(2), topic(2), topic()

    topics = ["--input-topic", source, "--decisions-topic", decisions, "--dead-letters-topic", dead]
    topics += ["--samples-topic", topic()]

    found = doctor(kafka, *topics, "--model", model_dir)
    seen = ends(kafka, dead)
    again = doctor(kafka, *topics)

    assert [check for check, finding in found.items() if finding["verdict"] == "wrong"] == []
    assert found["clock"]["verdict"] == found["transaction"]["verdict"] == found["co-partitioning"]["verdict"] == "good"
    assert found["model"]["verdict"] == found["schemas"]["verdict"] == "good"
    assert found["right to READ group"]["verdict"] == found["right to WRITE topic"]["verdict"] == "good"
    assert seen == [0, 1]
    assert again["clock"]["verdict"] == "good"


def test_a_topic_that_is_missing_is_named_and_the_rest_is_looked_at(kafka, topic):
    source, decisions = topic(2), topic(3)

    found = doctor(
        kafka, "--input-topic", source, "--decisions-topic", decisions, "--dead-letters-topic", "nowhere.to.be.seen"
    )

    assert found["dead_letters_topic"]["told"] == "topic nowhere.to.be.seen does not exist"
    assert "--create-topics" in found["dead_letters_topic"]["advice"]
    assert "transaction" not in found
    assert found["input_topic"]["verdict"] == "doubtful"
