"""What breaks around a worker on a real Apache Kafka costs no transaction, and what it cannot mend it names."""

import contextlib
import io
import json
import signal
import time
import uuid
from collections import Counter
from itertools import islice
from urllib.error import HTTPError
from urllib.request import urlopen

import crashing_worker
import fastavro
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions
from conftest import Kafka, enter_or_skip
from crashing_worker import POISON
from test_registry import Answers, serving
from worker_stream import PREFIX, TRANSACTION, Stream, assert_in_order_per_key, ids_of, said, transactions, wait_until

from deploy.kafka.broker import running_broker
from schemas.framing import confluent_prefix
from schemas.load import load

SMALL = {"max.message.bytes": "1048588"}
LARGE = {"max.message.bytes": "4000000"}


@pytest.fixture
def faulty(kafka, model_dir):
    """A function that makes a stream with topics as a test wants them."""
    made = []

    def make(partitions=1, input_config=None):
        stream = Stream(kafka.bootstrap_servers, f"f-{uuid.uuid4().hex[:8]}", model_dir, partitions)
        kafka.create_topic(stream.input, partitions, input_config)
        kafka.create_topic(stream.samples)
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


@pytest.mark.parametrize("outputs_grow", [True, False])
def test_partitions_added_while_a_worker_runs_are_read_from_their_beginning(faulty, sample, kafka, outputs_grow):
    stream = faulty(partitions=2)
    records = transactions(sample, 4_000)
    refresh = ("--consumer-kafka", "topic.metadata.refresh.interval.ms=500")
    worker = stream.start("--start", "latest", *refresh)
    wait_until(lambda: said(worker, "assigned", partitions=2))
    stream.publish(islice(records, 1_000))
    stream.read_decisions(1_000)
    grown = [NewPartitions(topic, 4) for topic in (stream.input, stream.decisions)[: 1 + outputs_grow]]
    for future in kafka.admin.create_partitions(grown).values():
        future.result(30)
    stream.publish(records)

    stream.partitions = 4 if outputs_grow else 2
    decisions = stream.read_decisions(4_000)

    assert ids_of(decisions) == Counter(f"tx-{number:08d}" for number in range(4_000))
    assert {record["source"]["partition"] for _, record in decisions} == {0, 1, 2, 3}
    assert {message.partition() for message, _ in decisions} == set(range(stream.partitions))


def test_a_transaction_left_open_by_a_worker_that_never_returns_delays_the_others_and_no_more(faulty, sample):
    stream = faulty(partitions=2)
    records = transactions(sample, 2_000)
    stream.publish(islice(records, 1_000))
    before = stream.start()
    wait_until(lambda: stream.committed() == 1_000)
    before.terminate()
    before.wait()
    left_open = transaction_left_open(stream, slot=1)
    stream.publish(records)
    count = 2_000
    worker = stream.start()
    wait_until(lambda: said(worker, "waiting_for_offsets"))
    left_open.abort_transaction(30)  # as the broker does when the time of a transaction is over

    decisions = stream.read_decisions(count)

    assert ids_of(decisions) == Counter(f"tx-{number:08d}" for number in range(count))
    assert worker.poll() is None


def transaction_left_open(stream, slot):
    """A producer that did what a worker does before it commits, and then no more: as one that was killed."""
    name = f"fraudstream.dev.{stream.name}.{slot}.a"
    producer = Producer({"bootstrap.servers": stream.bootstrap, "transactional.id": name})
    producer.init_transactions(30)
    producer.begin_transaction()
    offsets = [TopicPartition(stream.input, number, 1) for number in range(stream.partitions)]
    producer.send_offsets_to_transaction(offsets, stream.observer.consumer_group_metadata(), 30)
    return producer


def test_of_two_processes_on_one_slot_one_names_the_slot_and_nothing_is_lost_or_decided_twice(faulty, sample):
    stream = faulty(partitions=2)
    records = transactions(sample, 1_000_000)
    count = stream.publish(islice(records, 1_000))
    workers = [stream.start("--batch-size", "200"), stream.start("--batch-size", "200")]
    while all(worker.poll() is None for worker in workers):
        count += stream.publish(islice(records, 100))
        time.sleep(0.1)

    # They fence each other in turn: the second may have had its third as well, and is started again, now alone.
    wait_until(lambda: stream.committed() >= count or not any(worker.poll() is None for worker in workers))
    ended = [worker for worker in workers if worker.poll() is not None]
    if len(ended) == 2:
        stream.start("--batch-size", "200")
    decisions = stream.read_decisions(count)

    for worker in ended:
        worker.reader.join()
        assert worker.returncode == 78
        assert f"slot fraudstream.dev.{stream.name}.0 is used by another live process" in "".join(worker.log)
        assert "Traceback" not in "".join(worker.log)
    assert ids_of(decisions) == Counter(f"tx-{number:08d}" for number in range(count))
    assert_in_order_per_key(decisions)


def test_a_worker_whose_membership_was_taken_once_takes_it_back_and_reads_on(faulty, sample):
    stream = faulty(partitions=2)
    records = transactions(sample, 1_000)
    stream.publish(islice(records, 500))
    worker = stream.start("--consumer-kafka", "heartbeat.interval.ms=300")
    stream.read_decisions(500)
    taken = Consumer(
        {
            "bootstrap.servers": stream.bootstrap,
            "group.id": stream.name,
            "group.instance.id": f"fraudstream.dev.{stream.name}.0",
            "partition.assignment.strategy": "cooperative-sticky",
        }
    )
    taken.subscribe([stream.input])
    wait_until(lambda: taken.poll(0.1) or lines_of(worker, "member_fenced"))
    stream.publish(records)

    decisions = stream.read_decisions(1_000)
    taken.close()

    assert ids_of(decisions) == Counter(f"tx-{number:08d}" for number in range(1_000))
    assert worker.poll() is None
    assert len(lines_of(worker, "member_fenced")) == 1


def test_a_partition_whose_next_offset_was_deleted_stands_still_says_so_and_the_others_go_on(faulty, sample, kafka):
    stream = faulty(partitions=2)
    stream.publish(transactions(sample, 1_000))
    stream.observer.commit(offsets=[TopicPartition(stream.input, 0, 7)], asynchronous=False)
    kafka.admin.delete_records([TopicPartition(stream.input, 0, 100)])[TopicPartition(stream.input, 0)].result(30)
    worker = stream.start()
    wait_until(lambda: said(worker, "partition_stopped"))
    wait_until(lambda: "fraudstream_stopped_partitions 1.0" in worker_metrics(worker))
    stream.publish(transactions(sample, 1_000))

    wait_until(lambda: next_offset(stream, 1) == end_offset(stream, 1))
    decisions = stream.read_decisions(next_offset(stream, 1))

    (line,) = lines_of(worker, "partition_stopped")
    assert (line["partition"], line["next_offset"], line["first_offset"]) == (0, 7, 100)
    assert {record["source"]["partition"] for _, record in decisions} == {1}
    assert next_offset(stream, 0) == 7
    assert worker.poll() is None


def test_a_worker_whose_log_is_on_a_full_disk_goes_on(faulty, sample):
    stream = faulty()
    stream.publish(transactions(sample, 500))
    stream.start("--log-level", "debug", within=("sh", "-c", 'exec "$@" 2> /dev/full', "sh"))

    decisions = stream.read_decisions(500)

    assert ids_of(decisions) == Counter(f"tx-{number:08d}" for number in range(500))


def test_a_topic_that_was_deleted_ends_the_worker_and_is_named(faulty, sample, kafka):
    stream = faulty(partitions=2)
    stream.publish(transactions(sample, 100))
    worker = stream.start("--consumer-kafka", "topic.metadata.refresh.interval.ms=500")
    stream.read_decisions(100)
    kafka.admin.delete_topics([stream.input])[stream.input].result(30)

    assert worker.wait(60) == 78
    worker.reader.join()
    assert f"topic {stream.input} does not exist any more" in "".join(worker.log)


def test_input_that_is_bad_throughout_keeps_its_place_and_after_the_fix_all_of_it_is_decided(faulty, sample):
    stream = faulty()
    count = stream.publish((key, as_json(value)) for key, value in transactions(sample, 500))
    misled = stream.start("--batch-size", "30")  # three batches of them are believed to be bad
    wait_until(lambda: lines_of(misled, "halted"))
    wait_until(lambda: "fraudstream_halted 1.0" in worker_metrics(misled))
    with pytest.raises(HTTPError, match="503") as refused:
        urlopen(f"http://127.0.0.1:{port_of(misled)}/readyz", timeout=5)
    refused.value.close()
    misled.terminate()
    assert misled.wait(10) == 0
    told = next_offset(stream, 0)
    assert 0 < told < 100
    assert len(stream.read(stream.dead_letters, 1, told)) == told

    stream.start("--input-format", "json")
    redriven = stream.command("dead-letters", "redrive", "--send", "--json", "--input-format", "json")
    decisions = stream.read_decisions(count)

    assert json.loads(redriven.stdout)["to_send"] == told, redriven.stderr
    assert ids_of(decisions) == Counter(f"tx-{number:08d}" for number in range(count))
    assert len(stream.read(stream.dead_letters, 1, told)) == told


def test_a_registry_that_is_away_holds_up_the_stream_and_makes_no_dead_letter(faulty, sample):
    stream, answers = faulty(), Answers()
    for number in (1, 7):
        answers.add(number, f"{stream.input}-value", schema=json.dumps(load("transaction")))
    records = list(transactions(sample, 400))
    renumbered = [(key, confluent_prefix(7) + value[len(PREFIX) :]) for key, value in records[200:]]
    with serving(answers) as url:
        options = ("--schema-registry-url", url, "--schema-registry", "max.retries=0", "--output-format", "json")
        worker = stream.start(*options)
        stream.publish(records[:200])
        wait_until(lambda: stream.committed() == 200)
        answers.status = 503
        stream.publish(renumbered)
        wait_until(lambda: lines_of(worker, "unavailable"))
        wait_until(lambda: "fraudstream_held 1.0" in worker_metrics(worker))
        waiting_at = stream.committed()
        answers.status = None
        decisions = [json.loads(message.value()) for message in stream.read(stream.decisions, 1, 400)]

    assert waiting_at == 200
    assert Counter(each["transaction_id"] for each in decisions) == Counter(f"tx-{n:08d}" for n in range(400))
    assert stream.read(stream.dead_letters, 1, 0, seconds=1) == []


def as_json(value):
    record = fastavro.schemaless_reader(io.BytesIO(value[len(PREFIX) :]), TRANSACTION, None)
    return json.dumps(record | {"event_time": int(record["event_time"].timestamp() * 1000)}).encode()


def test_a_record_that_is_a_segmentation_fault_is_quarantined_and_every_other_is_decided(faulty, sample):
    stream = faulty(partitions=2)
    records = list(transactions(sample, 2_000))
    key, value = records[777]
    records[777] = (key, value + POISON)
    stream.publish(records)
    worker = stream.start("--supervise", program=[crashing_worker.__file__])

    decisions = stream.read_decisions(1_999)
    (letter,) = stream.read(stream.dead_letters, 2, 1)

    assert ids_of(decisions) == Counter(f"tx-{number:08d}" for number in range(2_000) if number != 777)
    assert_in_order_per_key(decisions)
    assert letter.value() == records[777][1]
    assert dict(letter.headers())["__connect.errors.class.name"] == b"KILLED_THE_PROCESS"
    assert {line["exit_code"] for line in lines_of(worker, "worker_fell")} == {-signal.SIGSEGV}
    assert len(lines_of(worker, "worker_crashed")) <= 3
    (quarantined,) = lines_of(worker, "record_quarantined")
    headers = dict(letter.headers())
    assert int(headers["__connect.errors.partition"]) == quarantined["partition"]
    assert int(headers["__connect.errors.offset"]) == quarantined["offset"]
    worker.terminate()
    assert worker.wait(20) == 0


def next_offset(stream, partition):
    """What the group has committed."""
    (answer,) = stream.observer.committed([TopicPartition(stream.input, partition)], timeout=30)
    return answer.offset


def end_offset(stream, partition):
    return stream.observer.get_watermark_offsets(TopicPartition(stream.input, partition), timeout=30)[1]


def lines_of(worker, event):
    lines = [json.loads(line) for line in list(worker.log) if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def port_of(worker):
    (started,) = lines_of(worker, "started")
    return started["metrics_port"]


def worker_metrics(worker):
    with urlopen(f"http://127.0.0.1:{port_of(worker)}/metrics", timeout=5) as answer:
        return answer.read().decode()


@pytest.fixture
def frail():
    """A broker of a test's own, to be killed."""
    with contextlib.ExitStack() as stack:
        yield enter_or_skip(stack, running_broker())


def test_sigterm_ends_a_worker_in_time_with_the_brokers_away(frail, model_dir, sample):
    kafka = Kafka(frail.bootstrap_servers, AdminClient({"bootstrap.servers": frail.bootstrap_servers, "log_level": 0}))
    stream = Stream(frail.bootstrap_servers, f"f-{uuid.uuid4().hex[:8]}", model_dir, partitions=1)
    for topic in (stream.input, stream.decisions, stream.dead_letters, stream.samples):
        kafka.create_topic(topic)
    try:
        stream.publish(transactions(sample, 20_000))
        worker = stream.start("--batch-size", "200")
        wait_until(lambda: stream.committed() > 400)
        frail.kill()
        worker.terminate()

        assert worker.wait(10) == 0
    finally:
        stream.stop()
