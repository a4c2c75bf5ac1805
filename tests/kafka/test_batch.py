"""A data set and a stream of the same rows come to the same decisions, on a real Apache Kafka."""

import io
import subprocess
import sys

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
from worker_stream import PREFIX, TRANSACTION, transactions

SAME = ("unit", "event_time", "score", "decision", "policy", "experiment", "degraded", "reason_codes")


def test_a_batch_decides_each_row_as_the_worker_did(stream, sample, tmp_path):
    records = list(transactions(sample, 5_000))
    stream.publish(records)
    split = ("--challenger", stream.model, "--challenger-share", "0.3")
    stream.start(*split)
    rows = [fastavro.schemaless_reader(io.BytesIO(value[len(PREFIX) :]), TRANSACTION, None) for _, value in records]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "day.parquet")

    live = {record["transaction_id"]: record for _, record in stream.read_decisions(len(rows))}
    command = [
        sys.executable,
        "-m",
        "fraudstream",
        "batch",
        "--in",
        tmp_path / "day.parquet",
        "--out",
        tmp_path / "out",
    ]
    subprocess.run([*command, "--model", stream.model, *split], check=True, capture_output=True)

    batch = pq.read_table(tmp_path / "out" / "day.parquet").to_pylist()
    assert len(batch) == len(live) == len(rows)
    for record in batch:
        assert [record[name] for name in SAME] == [live[record["transaction_id"]][name] for name in SAME]
