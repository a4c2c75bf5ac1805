"""Let the worker decide mutated records: ``python -m benchmarks.fuzz --records 1000000``."""

import random
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from benchmarks.bed import train
from benchmarks.fuzz.hunt import BATCH, Killer, hunt, of_model

MOST_BYTES = 2_000
"""Of a record that are shown; the rest follows from the seed."""


def main(
    records: Annotated[int, typer.Option(min=1, help="How many records are mutated and decided.")] = 1_000_000,
    seed: Annotated[int | None, typer.Option(help="Of the mutations; drawn and told if not given.")] = None,
    first: Annotated[int, typer.Option(min=0, help=f"The batch of {BATCH} records to begin with.")] = 0,
) -> None:
    """Decode, validate and decide mutated records of every framing. Exits 1 and shows the record that did harm."""
    seed = random.randrange(1_000_000) if seed is None else seed
    numbers = range(first, first + -(-records // BATCH))
    print(f"seed {seed}")
    began = time.monotonic()
    columns = (TextColumn("fuzzing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with tempfile.TemporaryDirectory(prefix="fraudstream-fuzz-") as scratch, Progress(*columns) as progress:
        home = Path(scratch)
        train(home / "model")
        task = progress.add_task("fuzzing", total=len(numbers) * BATCH)
        found = hunt(
            partial(of_model, home / "model", home),
            seed,
            numbers,
            lambda number: progress.update(task, completed=(number - first) * BATCH),
        )
        if not isinstance(found, Killer):
            progress.update(task, completed=len(numbers) * BATCH)
    if isinstance(found, Killer):
        _tell(found, seed)
        sys.exit(1)
    print(f"{found.total():,} records in {time.monotonic() - began:.0f} s: no crash, and one outcome each")
    for reason, count in found.most_common():
        print(f"{count:12,}  {reason}")


def _tell(killer: Killer, seed: int) -> None:
    print(f"batch {killer.number} ({killer.framing}) was not survived; again:")
    print(f"    python -m benchmarks.fuzz --seed {seed} --first {killer.number} --records {BATCH}")
    if killer.row < 0:
        print("No single record of it does harm.")
    elif killer.value is not None:
        print(f"record {killer.row}, {len(killer.value)} bytes: {killer.value[:MOST_BYTES].hex()}")
    else:
        print(f"record {killer.row}, a tombstone")


if __name__ == "__main__":
    typer.run(main)
