"""A replay on a real Kafka decides its range again, each record once, and the live group does not notice."""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from contextlib import closing
from types import SimpleNamespace

import numpy as np
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from worker_stream import decode, transactions, wait_until

from consumer.ranges import Extreme, Moment, Offset, Offsets, Span
from consumer.replay import Plan, begin
from consumer.settings import WorkerSettings
from consumer.wire import decision_encoder
from consumer.worker import Worker
from fraudstream.kafka import Connection
from fraudstream.replay_diff import ReplayDiff
from fraudstream.replaying import Replaying
from schemas.columns import BytesColumn
from schemas.decision import Decisions, Lineage, decision_id
from schemas.errors import ConfigurationError, FraudstreamError


def ends(stream, topic):
    return [stream.observer.get_watermark_offsets(TopicPartition(topic, p))[1] for p in range(stream.partitions)]


def committed(bootstrap, group, topic, partitions):
    # One that reads uncommitted does not wait for the transaction that a killed worker left open.
    options = {"bootstrap.servers": bootstrap, "group.id": group, "isolation.level": "read_uncommitted"}
    with closing(Consumer(options)) as consumer:
        found = consumer.committed([TopicPartition(topic, p) for p in range(partitions)], timeout=30)
        return [each.offset for each in found]


def places(messages):
    records = [decode(message.value()) for message in messages]
    return sorted((record["source"]["partition"], record["source"]["offset"]) for record in records)


def replay(stream, name, *options):
    done = stream.command("replay", "--name", name, "--model", stream.model, "--json", *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def leave_a_committed_and_an_aborted_transaction(stream, records):
    """The last thing in each partition is no record: a marker, or what a reader of committed records never sees."""
    producer = Producer({"bootstrap.servers": stream.bootstrap, "transactional.id": f"input-{uuid.uuid4().hex}"})
    producer.init_transactions(30)
    records = list(records)
    for partition, end in enumerate(("commit", "abort", "commit", "abort")):
        producer.begin_transaction()
        for key, value in records[partition * 10 : partition * 10 + 10]:
            producer.produce(stream.input, value, key, partition=partition)
        producer.flush(30)
        producer.commit_transaction(30) if end == "commit" else producer.abort_transaction(30)
    return 20


def test_a_replay_decides_its_range_again_and_the_live_group_does_not_notice(stream, sample, tmp_path):
    count = stream.publish(transactions(sample, 8_000))
    count += leave_a_committed_and_an_aborted_transaction(stream, transactions(sample, 40))
    worker = stream.start()
    live = {d["decision_id"]: d for _, d in stream.read_decisions(count)}
    wait_until(lambda: stream.committed() > 0)
    worker.terminate()
    assert worker.wait(20) == 0
    before = committed(stream.bootstrap, stream.name, stream.input, 4), ends(stream, stream.decisions)

    told = replay(stream, "again", "--from", "0:100,1:0,3:50", "--to", "end", "--workers", "2")

    topic = f"{stream.decisions}.replay.again"
    assert told["complete"]
    assert told["decisions_topic"] == topic
    expected = [
        d for d in live.values() if d["source"]["offset"] >= {0: 100, 1: 0, 2: 10**9, 3: 50}[d["source"]["partition"]]
    ]
    messages = stream.read(topic, 4, len(expected))
    assert places(messages) == sorted((d["source"]["partition"], d["source"]["offset"]) for d in expected)
    by_place = {(d["source"]["partition"], d["source"]["offset"]): d for d in expected}
    for message in messages:
        record = decode(message.value())
        place = record["source"]["partition"], record["source"]["offset"]
        assert record["score"] == by_place[place]["score"]
        assert record["decision_id"] == decision_id(stream.input, *place, "again").bytes
        assert record["replay"] == "again"
        assert message.partition() == place[0]
    assert (committed(stream.bootstrap, stream.name, stream.input, 4), ends(stream, stream.decisions)) == before
    difference = stream.command("replay", "diff", "again", "--json", "--html", tmp_path / "page.html")
    assert difference.returncode == 0, difference.stderr
    told = json.loads(difference.stdout)
    assert (told["compared"], told["changed"], told["only_live"], told["only_replayed"]) == (len(expected), 0, 0, 0)
    assert told["decisions"]["decline"]["decline"] == sum(d["decision"] == "decline" for d in expected) > 0
    assert set(told["quantiles"].values()) == {0.0}
    page = (tmp_path / "page.html").read_text()
    assert "Replay again" in page
    assert "<th>99 %</th>" in page
    assert page.count("<svg") == 3


def test_a_killed_replay_goes_on_where_it_was_to_the_end_that_it_saw_at_its_start(stream, sample):
    records = transactions(sample, 30_000)
    count = stream.publish(record for record, _ in zip(records, range(20_000), strict=False))
    command = [sys.executable, "-m", "fraudstream", "replay", "--name", "killed", "--model", stream.model]
    options = ["--batch-size", "500", "--workers", "2"]
    group = f"{stream.name}.replay.killed"
    first = subprocess.Popen([*command, *stream.connection, *options], start_new_session=True)
    wait_until(lambda: sum(max(0, each) for each in committed(stream.bootstrap, group, stream.input, 4)) > 2_000, 60)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    halfway = sum(committed(stream.bootstrap, group, stream.input, 4))
    stream.publish(records)

    told = replay(stream, "killed", *options)
    again = replay(stream, "killed", *options)

    assert 2_000 < halfway < count
    assert told["offsets"] == count
    assert (again["complete"], again["offsets_a_second"]) == (True, 0)
    found = places(stream.read(f"{stream.decisions}.replay.killed", 4, count))
    assert found == sorted((each["partition"], o) for each in told["partitions"] for o in range(each["to"]))


def decided(topic, partition, first, scores, replay):
    """Decisions about the records of a partition from the offset ``first`` on, as Avro."""
    size = len(scores)
    length = np.full(size, 4)
    ids = BytesColumn(np.frombuffer(b"tx-0" * size, np.uint8), np.arange(size) * 4, length, None)
    decisions = Decisions(
        transaction_id=ids,
        unit=ids,
        topic=topic,
        partition=np.full(size, partition, np.int32),
        offset=np.arange(first, first + size),
        event_time=np.zeros(size, np.int64),
        decided_at=0,
        score=np.array(scores),
        outcome=np.digitize(scores, (0.4, 0.8)).astype(np.uint8),
        variant=np.zeros(size, np.uint8),
        bucket=np.zeros(size, np.int64),
        lineages=(Lineage("p", 0.4, 0.8, "m", "1", bytes(32), "xgboost", "e", 1, "champion", "s", 1.0),),
        reasons={},
        replay=replay,
    )
    return decision_encoder(WorkerSettings())(decisions)


def test_a_replay_is_compared_with_the_live_decisions_about_its_records_alone(kafka, topic):
    name, outputs = topic(2), topic(2)
    live = WorkerSettings(input_topic=name, decisions_topic=outputs, group=f"g-{name}")
    connection = Connection(kafka.bootstrap_servers, {})
    replaying = Replaying(connection, live, "r")
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for number in range(20):
        producer.produce(name, b"x", partition=number % 2)
    # A decision may bear an earlier time than its transaction, if clocks are wrong, and counts all the same.
    (early,) = decided(name, 0, 2, [0.1], None)
    producer.produce(outputs, early, partition=0, timestamp=1_000_000)
    producer.flush(30)
    plan = replaying.begun("2", "7", (Offset(2), Offset(7)), "model", "digest")
    values = [
        *((outputs, 0, value) for value in decided(name, 0, 3, [0.9, 0.9, 0.5, 0.1, 0.1, 0.1, 0.1], None)),
        *((outputs, 1, value) for value in decided(name, 1, 0, [0.1] * 10, None)),
        *((plan.name, 0, value) for value in decided(name, 0, 2, [0.1, 0.2, 0.9, 0.5, 0.5], "r")),
        *((plan.name, 1, value) for value in decided(name, 1, 2, [0.1] * 4, "r")),
    ]
    for where, partition, value in values:
        producer.produce(outputs if where == outputs else f"{outputs}.replay.r", value, partition=partition)
    assert producer.flush(30) == 0

    found = ReplayDiff(connection, live, replaying.settings, plan, 1).run(lambda *_: None)

    assert found.decisions == ((5, 1, 0), (0, 1, 0), (1, 0, 1))
    assert (found.compared, found.only_live, found.only_replayed) == (9, 1, 0)
    (largest,) = found.largest
    assert (largest.partition, largest.offset, round(largest.difference, 6)) == (0, 3, -0.7)


def test_a_plan_is_found_again_and_without_one_no_topic_is_written_to_twice(kafka, topic):
    name, outputs = topic(2), uuid.uuid4().hex
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    begin_ms = int(time.time() * 1000) - 60_000
    for number in range(10):
        producer.produce(name, b"x", partition=number % 2, timestamp=begin_ms + 1000 * number)
    producer.flush(30)
    connection = Connection(kafka.bootstrap_servers, {})
    settings = WorkerSettings(input_topic=name, decisions_topic=outputs, dead_letters_topic=f"{outputs}.dead")

    def under(group):
        return Replaying(connection, settings.model_copy(update={"group": f"{group}-{name}"}), "r")

    points = (Offset(1), Extreme.END)
    assert under("a").found() is None
    plan = under("a").begun("1", "end", points, "model", "digest")
    since = under("d").begun("a time", "end", (Moment(begin_ms + 4_500), Extreme.END), "model", "digest")

    assert plan.spans == (Span(0, 1, 5), Span(1, 1, 5))
    assert since.spans == (Span(0, 3, 5), Span(1, 2, 5))
    assert under("a").found() == plan
    with under("a").watched(plan) as done:
        assert done() == 0
    producer.produce(f"{outputs}.replay.r", b"x")
    producer.flush(30)
    with pytest.raises(FraudstreamError, match="holds records, but of a replay r nothing is known any more"):
        under("b").begun("1", "end", points, "model", "digest")
    with pytest.raises(FraudstreamError, match=f"topic {name} holds nothing from end to end"):
        under("c").begun("end", "end", (Extreme.END, Extreme.END), "model", "digest")


def test_a_plan_is_not_begun_for_a_group_that_somebody_is_in(kafka, topic):
    name, group = topic(), uuid.uuid4().hex
    options = {"bootstrap.servers": kafka.bootstrap_servers, "enable.auto.commit": False}
    plan = Plan("busy", "beginning", "end", "model", "digest", (Span(0, 0, 5),))
    member, progress, keeper = (Consumer(options | {"group.id": each}) for each in (group, group, group + ".plan"))
    with closing(member), closing(progress), closing(keeper):
        member.subscribe([name])
        wait_until(lambda: member.poll(0.1) is None and member.assignment())

        with pytest.raises(FraudstreamError, match="replay busy is being run by somebody else"):
            begin(plan, name, progress, keeper)

        assert keeper.committed([TopicPartition(name, 0)], timeout=30)[0].offset < 0


def test_a_replay_whose_records_are_deleted_meanwhile_ends_and_says_so(stream, kafka, sample):
    producer = Producer({"bootstrap.servers": stream.bootstrap})
    for key, value in transactions(sample, 20):
        producer.produce(stream.input, value, key, partition=0)
    assert producer.flush(30) == 0
    live = WorkerSettings(
        bootstrap_servers=stream.bootstrap,
        group=stream.name,
        input_topic=stream.input,
        decisions_topic=stream.decisions,
        dead_letters_topic=stream.dead_letters,
        model=stream.model,
    )
    replaying = Replaying(Connection(stream.bootstrap, {}), live, "late")
    plan = replaying.begun("0:0", "end", (Offsets({0: 0}), Extreme.END), str(stream.model), "digest")
    gone = TopicPartition(stream.input, 0, 10)
    kafka.admin.delete_records([gone])[gone].result(30)

    with pytest.raises(ConfigurationError, match="replay late: records of partition 0 were deleted before"):
        Worker(replaying.settings, SimpleNamespace(requested=False), plan).run()
