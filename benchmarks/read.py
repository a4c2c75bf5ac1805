"""Note when each decision becomes readable to a read_committed reader (a process of its own)."""

import argparse
import time
from pathlib import Path

import numpy as np
from confluent_kafka import Consumer, TopicPartition

from benchmarks.bed import PARTITIONS, QUIET
from benchmarks.check import numbers_of_decisions, values_of

MOST = 10_000
PATIENCE_SECONDS = 20.0


def run(bootstrap_servers: str, topic: str, count: int, out: Path) -> None:
    """Read until ``count`` records have come or none comes any more; write their numbers and times (s) to ``out``."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap_servers,
            "group.id": f"{topic}.reader",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 10,
            "fetch.queue.backoff.ms": 5,
        }
        | QUIET
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    values: list[bytes] = []
    times: list[tuple[float, int]] = []
    deadline = time.monotonic() + 10 * PATIENCE_SECONDS
    while len(values) < count and time.monotonic() < deadline:
        first = consumer.poll(0.2)
        if first is None or first.error() is not None:
            continue
        batch = [first, *consumer.consume(MOST, 0)]
        times.append((time.time(), len(batch)))
        values += values_of(batch)
        deadline = time.monotonic() + PATIENCE_SECONDS
    consumer.close()
    received = np.repeat([at for at, _ in times], [size for _, size in times])
    np.savez(out, number=numbers_of_decisions(values), received=received)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    run(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
