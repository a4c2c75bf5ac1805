"""Time the answers to requests: the first of a process, as after a cold start, and those that follow.

``python -m benchmarks.predict`` starts several processes, each with the settings that a Lambda function would have; it
measures the handler, and neither API Gateway nor the network.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from rich.console import Console
from rich.table import Table

CHILD = "answer"
PROCESSES = 5
CALLS = 5_000
WARM_UP = 200
_ROW = ",".join(f"{value / 10:.1f}" for value in range(30))


def answer_many() -> dict[str, Any]:
    """In a process of its own: seconds of the import, of the first answer, and of each that follows."""
    started = time.perf_counter()
    from fraudstream.rest.handler import handler  # noqa: PLC0415 - its import is a part of the cold start

    imported = time.perf_counter() - started
    event = {"version": "2.0", "rawPath": "/predict", "requestContext": {"http": {"method": "POST"}}}
    event["body"] = f'{{"features": [{_ROW}], "unit": "card"}}'
    times = []
    for _ in range(CALLS + WARM_UP):
        begun = time.perf_counter()
        answer = handler(event, None)
        times.append(time.perf_counter() - begun)
        assert answer["statusCode"] == 200, answer["body"]
    return {"import": imported, "first": times[0], "warm": times[WARM_UP:]}


def main() -> None:
    """Print the table."""
    from benchmarks.bed import train  # noqa: PLC0415 - the processes that answer need none of it

    console = Console()
    with tempfile.TemporaryDirectory() as home, console.status("training") as status:
        train(Path(home) / "model")
        environment = os.environ | {"FRAUDSTREAM_MODEL": str(Path(home) / "model")}
        found = []
        for number in range(PROCESSES):
            status.update(f"process {number + 1} of {PROCESSES}")
            command = [sys.executable, "-m", "benchmarks.predict", CHILD]
            output = subprocess.run(command, env=environment, check=True, capture_output=True).stdout
            found.append(msgspec.json.decode(output))
    table = Table("", "median", "least to largest", title=f"{PROCESSES} processes, {CALLS:,} answers of each")
    cold = [each["import"] + each["first"] for each in found]
    rows = {"cold start to the first answer, s": cold, "of it the import, s": [each["import"] for each in found]}
    for name, share in (("p50", 50), ("p99", 99), ("p99.9", 99.9)):
        rows[f"warm answer, {name}, ms"] = [float(np.percentile(each["warm"], share)) * 1000 for each in found]
    for name, values in rows.items():
        table.add_row(name, f"{np.median(values):.2f}", f"{min(values):.2f} to {max(values):.2f}")
    console.print(table)


if __name__ == "__main__":
    if CHILD in sys.argv:
        sys.stdout.buffer.write(msgspec.json.encode(answer_many()))
    else:
        main()
