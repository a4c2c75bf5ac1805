"""Measure the worker beside its peers on a real Kafka, and say which bars it reaches: ``python -m benchmarks``."""

import sys
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import bench, plot, report
from benchmarks.batch import measure_batch
from benchmarks.bed import laid_out
from benchmarks.bench import Bench, Scale
from benchmarks.results import Results
from schemas.errors import FraudstreamError

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"
FULL = Scale(
    events=1_000_000,
    rounds=3,
    latency_seconds=20,
    latency_rounds=3,
    soak_events=5_000_000,
    batch_rounds=2,
    sampling_rounds=10,
    reasons_rounds=5,
    batches={100: 100_000, 1_000: 250_000, 5_000: 500_000, 20_000: 1_000_000},
)
QUICK = Scale(
    events=300_000,
    rounds=1,
    latency_seconds=5,
    latency_rounds=1,
    soak_events=300_000,
    batch_rounds=1,
    sampling_rounds=2,
    reasons_rounds=2,
    batches={1_000: 100_000, 20_000: 300_000},
)


class Part(StrEnum):
    """What can be measured alone."""

    THROUGHPUT = "throughput"
    SAMPLING = "sampling"
    BATCHES = "batches"
    REASONS = "reasons"
    REPLAY = "replay"
    LATENCY = "latency"
    STAGES = "stages"
    SOAK = "soak"
    BATCH = "batch"


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Less of everything, once: about 4 minutes.")] = False,
    only: Annotated[list[Part] | None, typer.Option(help="Measure this part alone; may be given again.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Card transactions in parquet for the batch part, not the bundled sample.")
    ] = None,
    out: Annotated[Path, typer.Option(help="The JSON file.")] = HERE / "results" / "latest.json",
) -> None:
    """Measure the worker beside its peers on a real Kafka, and batch scoring without; every output is checked.

    All of it takes about 25 minutes on two cores, and then rewrites docs/benchmarks.md and its plot. Nothing else
    should run meanwhile.
    """
    console = Console(width=None if sys.stdout.isatty() else 150)
    try:
        results = _measure(only or list(Part), QUICK if quick else FULL, data, console)
    except FraudstreamError as error:
        console.print(f"[red]{error}", soft_wrap=True)
        sys.exit(error.exit_code)
    command = " ".join(
        ["python -m benchmarks", *(["--quick"] if quick else []), *(f"--only {part}" for part in only or ())]
    )
    report.write_json(out, results, command)
    if not quick and not only:
        plot.draw(DOCS / "benchmarks.svg", results)
        report.update_docs(DOCS / "benchmarks.md", results, "make bench")
    console.print(report.table(results))


def _measure(parts: Sequence[Part], scale: Scale, data: Path | None, console: Console) -> Results:
    results = Results()
    if any(part is not Part.BATCH for part in parts):
        with laid_out(console) as bed:
            measured = Bench(bed, scale, console)
            of_the_stream = {
                Part.THROUGHPUT: lambda: measured.throughput(bench.field()),
                Part.SAMPLING: measured.sampling,
                Part.BATCHES: measured.batches,
                Part.REASONS: measured.reasons,
                Part.REPLAY: measured.replays,
                Part.LATENCY: measured.latency,
                Part.STAGES: measured.stages,
                Part.SOAK: measured.soak,
            }
            for part in parts:
                if part is not Part.BATCH:
                    of_the_stream[part]()
        results = measured.results
    if Part.BATCH in parts:
        with console.status("scoring a data set"):
            results.batch = measure_batch(data)
    return results


if __name__ == "__main__":
    typer.run(main)
