"""On a real Kafka a transaction that is sent again has one decision that counts, through a restart and a rebalance."""

import json
import time
import uuid
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from confluent_kafka import Producer
from test_outcomes import decided
from worker_stream import said, transactions, wait_until

from consumer.recall import DecisionsTopic
from consumer.settings import WorkerSettings
from consumer.topics import Cluster
from consumer.wire import decision_encoder

COUNT = 4_000
WINDOW = ("--duplicate-window-seconds", "600", "--batch-size", "500")


def test_copies_name_the_one_decision_that_counts_through_a_restart_and_a_rebalance(stream, sample):
    records = list(transactions(sample, COUNT))
    stream.publish([*records, *records[::7]])
    copies = len(records[::7])
    first = stream.start(*WINDOW, slot=0)
    wait_until(lambda: stream.committed() > 1_000)
    first.kill()
    first.wait()

    first = stream.start(*WINDOW, slot=0)
    wait_until(lambda: stream.committed() == COUNT + copies)
    stream.publish(records[:1_000])
    wait_until(lambda: stream.committed() == COUNT + copies + 1_000)
    second = stream.start(*WINDOW, slot=1)
    wait_until(lambda: said(second, "assigned", partitions=2))
    stream.publish(records)
    decisions = stream.read_decisions(2 * COUNT + copies + 1_000)

    outcomes = defaultdict(list)
    for _, record in sorted(decisions, key=lambda each: each[1]["source"]["offset"]):
        outcomes[record["transaction_id"]].append(record)
    assert len(outcomes) == COUNT
    for told in outcomes.values():
        assert [record["duplicate_of"] for record in told] == [None, *[told[0]["decision_id"]] * (len(told) - 1)]
    assert said(second, "decisions_recalled")
    wait_until(lambda: stream.committed() == 2 * COUNT + copies + 1_000)
    audited = stream.command("audit", "--json")
    report = json.loads(audited.stdout)
    assert (audited.returncode, report["duplicates"]) == (0, COUNT + copies + 1_000)


@pytest.mark.parametrize("output_format", ["confluent", "json"])
def test_what_counts_is_recalled_from_any_partition_and_open_transactions_are_waited_for(kafka, topic, output_format):
    settings = WorkerSettings(
        bootstrap_servers=kafka.bootstrap_servers,
        input_topic=topic(3),
        decisions_topic=topic(2),
        output_format=output_format,
    )
    written = decided([b"card"] * 12, topic=settings.input_topic, decided_at=int(time.time() * 1000))
    written = replace(written, duplicate_of=np.where(np.arange(12) == 4, 0, -1))
    values = decision_encoder(settings)(written) + decision_encoder(settings)(replace(written, replay="night"))
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": uuid.uuid4().hex})
    producer.init_transactions(30)
    for half in (values[:6], values[6:]):
        producer.begin_transaction()
        for number, value in enumerate(half):
            producer.produce(settings.decisions_topic, value, partition=number % 2)
        producer.flush(30)
        if half[0] == values[0]:
            producer.commit_transaction(30)
    recall = DecisionsTopic(settings, Cluster(settings)).recall

    with ThreadPoolExecutor() as executor:
        recalling = executor.submit(lambda: list(recall({0: written.decided_at, 1: written.decided_at})))
        with pytest.raises(TimeoutError):
            recalling.result(1)  # half of it is not committed yet
        producer.commit_transaction(30)
        recalled = recalling.result(30)

    found = sorted(
        (p, o, i) for each in recalled for p, o, i in zip(each.partition, each.offset, each.ids, strict=True)
    )
    assert found == [(row % 3, row * 1_000, b"tx-%d" % row) for row in (0, 3, 6, 9, 1, 7, 10)]
    assert {at for each in recalled for at in each.decided_at.tolist()} == {written.decided_at}
