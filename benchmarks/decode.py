"""Time the decoder against fastavro on the same transactions: payloads in, the model's matrix and the ids out."""

import argparse
import io
import json
import random
import sys
import timeit
from collections.abc import Callable
from typing import Any

import fastavro
from rich.console import Console
from rich.table import Table

from schemas import framing
from schemas.load import load
from schemas.sources import PinnedSchemas

BATCHES = (1, 70, 500, 2_000, 10_000)
MISSING = (0.0, 0.01, 0.2)
FEATURES = [*(f"V{at}" for at in range(1, 29)), "amount"]
SCHEMA_ID = 1
REPEATS = 7
ROWS_PER_REPEAT = 2_000


def payloads(count: int, missing: float) -> list[bytes]:
    chance = random.Random(7)
    schema = fastavro.parse_schema(load("transaction"))
    out = []
    for at in range(count):
        record: dict[str, Any] = {f"V{v}": None if chance.random() < missing else chance.gauss() for v in range(1, 29)}
        record["transaction_id"] = f"{chance.getrandbits(128):032x}"
        record["card_id"] = f"card-{chance.randrange(100_000)}"
        record["event_time"] = 1_700_000_000_000 + at
        record["amount"] = chance.expovariate(1 / 80)
        buffer = io.BytesIO(framing.confluent_prefix(SCHEMA_ID))
        buffer.seek(0, io.SEEK_END)
        fastavro.schemaless_writer(buffer, schema, record)
        out.append(buffer.getvalue())
    return out


def microseconds(work: Callable[[], object], rows: int) -> float:
    """The least time a row of several repeats: noise only ever adds."""
    number = max(1, ROWS_PER_REPEAT // rows)
    return min(timeit.repeat(work, number=number, repeat=REPEATS)) / number / rows * 1e6


def compare(batch: int, missing: float) -> dict[str, float]:
    records = payloads(batch, missing)
    schema = fastavro.parse_schema(load("transaction"))
    roles = ["transaction_id", "card_id", "event_time"]
    reader = framing.confluent(PinnedSchemas({SCHEMA_ID: load("transaction")}), [*roles, *FEATURES])

    def ours() -> object:
        columns = reader.read(records)
        return columns.matrix(FEATURES), columns.columns["event_time"]

    def theirs() -> object:
        return [fastavro.schemaless_reader(io.BytesIO(record[5:]), schema) for record in records]

    columns, peer = microseconds(ours, batch), microseconds(theirs, batch)
    return {"batch": batch, "missing": missing, "columns_us": columns, "fastavro_us": peer, "ratio": peer / columns}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    results = [compare(batch, missing) for missing in MISSING for batch in BATCHES]
    if options.json:
        sys.stdout.write(json.dumps({"benchmark": "decode", "unit": "us/record", "results": results}) + "\n")
        return
    table = Table("batch", "null features", "columns, µs/record", "fastavro, µs/record", "times as fast")
    for row in results:
        table.add_row(
            f"{row['batch']:,}",
            f"{row['missing']:.0%}",
            f"{row['columns_us']:.2f}",
            f"{row['fastavro_us']:.1f}",
            f"{row['ratio']:.1f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
