"""Send transactions at the times when they are due, whatever anybody else does: an open loop (a process of its own)."""

import argparse
import time
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.bed import PREFIX, in_real_mix
from producer.encode import encode_avro
from producer.publish import Pace, Publisher, send_at_pace

HEAD_START_SECONDS = 1.0
TICK_SECONDS = 0.005
"""What is due is sent every 5 ms, as by a Java producer at its default ``linger.ms``: its wait counts as latency."""


def run(bootstrap_servers: str, topic: str, first: int, count: int, rate: float, out: Path) -> None:
    """Send transactions ``first`` to ``first + count - 1``; their event times are when they were due.

    Writes to ``out`` when the first was due, and how late the client got them (ms).
    """
    publisher = Publisher({"bootstrap.servers": bootstrap_servers, "linger.ms": 0}, topic)
    source = in_real_mix()
    rows = source.stretch(first, count)
    # Everything is encoded before the first is due: the loader shares its cores with what it measures.
    encode_avro(source.stretch(0, 1000), PREFIX)
    start = np.ceil(time.time() + HEAD_START_SECONDS + count * 5e-6)
    pace = Pace(start, rate)
    due = pace.due_at(0, count, start)
    values = encode_avro(rows.happening_at((due * 1000).astype(np.int64)), PREFIX)
    keys = rows.card_id.tolist()
    late: list[NDArray[np.float64]] = []

    def send(at: int, due: NDArray[np.float64]) -> None:
        publisher.send(keys[at : at + len(due)], values[at : at + len(due)])
        late.append(time.time() - due)

    send_at_pace(pace, count, send, lambda: False, TICK_SECONDS)
    publisher.flush(30)
    p50, p99 = np.percentile(np.concatenate(late), [50, 99]) * 1000
    out.write_bytes(msgspec.json.encode({"start": float(start), "late_p50": float(p50), "late_p99": float(p99)}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bootstrap-servers", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--first", type=int, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--out", type=Path, required=True)
    run(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
