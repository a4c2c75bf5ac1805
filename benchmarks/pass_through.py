"""The ceiling: copy a topic exactly-once with the worker's clients, as fast as they can, and do nothing else."""

import argparse
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Message, Producer, TopicPartition

from consumer.clients import make_consumer, producer_maker
from consumer.settings import WorkerSettings

BATCH = 5_000
COMMIT_SECONDS = 30.0
TAIL_SECONDS = 0.02


def run(settings: WorkerSettings) -> None:
    """Two producers in turn, and one batch is published while the next is consumed: the worker's own way."""
    make = producer_maker(settings)
    producers = [make({"transactional.id": f"{settings.slot_id}.{name}"}) for name in "ab"]
    for producer in producers:
        producer.init_transactions(COMMIT_SECONDS)
    consumer = make_consumer(settings)
    consumer.subscribe([settings.input_topic], on_assign=_from_the_beginning)
    publisher = ThreadPoolExecutor(1)
    publishing: Future[None] | None = None
    while True:
        messages = consumer.consume(settings.batch_size, TAIL_SECONDS)
        if not messages:
            if publishing is not None:
                publishing.result()
            continue
        # What is consumed is written: the objects for value and key must be made.
        pairs = zip(map(Message.value, messages), map(Message.key, messages), strict=True)
        batch: list[dict[str, Any]] = [{"value": value, "key": key} for value, key in pairs]
        offsets = consumer.position(consumer.assignment())
        if publishing is not None:
            publishing.result()
        publishing = publisher.submit(publish, producers[0], consumer, settings.decisions_topic, batch, offsets)
        producers.reverse()


def publish(
    producer: Producer, consumer: Consumer, topic: str, batch: list[dict[str, Any]], offsets: list[TopicPartition]
) -> None:
    producer.begin_transaction()
    assert producer.produce_batch(topic, batch) == len(batch)
    known = [partition for partition in offsets if partition.offset >= 0]
    producer.send_offsets_to_transaction(known, consumer.consumer_group_metadata(), COMMIT_SECONDS)
    producer.commit_transaction(COMMIT_SECONDS)


def _from_the_beginning(consumer: Consumer, partitions: list[TopicPartition]) -> None:
    for partition in partitions:
        partition.offset = 0
    consumer.incremental_assign(partitions)


def settings_of(description: str | None) -> WorkerSettings:
    """The settings of a contender that is a script: where from, where to, as whom."""
    parser = argparse.ArgumentParser(description=description)
    for option in ("--bootstrap-servers", "--group", "--input-topic", "--decisions-topic"):
        parser.add_argument(option, required=True)
    parser.add_argument("--batch-size", type=int, default=BATCH)
    parser.add_argument("--model", type=Path)
    return WorkerSettings(**vars(parser.parse_args()))


if __name__ == "__main__":
    run(settings_of(__doc__))
