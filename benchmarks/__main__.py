"""Measure the worker beside its peers on a real Kafka, and say which bars it reaches: ``python -m benchmarks``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks import contenders, report
from benchmarks.bed import Bed, laid_out
from benchmarks.contenders import SMALL_SHARE, Contender
from benchmarks.results import Results
from benchmarks.stages import profile
from benchmarks.throughput import Run, run
from schemas.errors import FraudstreamError

HERE = Path(__file__).resolve().parent


class Part(StrEnum):
    """What can be measured alone."""

    THROUGHPUT = "throughput"
    STAGES = "stages"


def field() -> list[Contender]:
    """All contenders, those next to each other that are compared."""
    return [
        contenders.naive(),
        contenders.pass_through(),
        contenders.fraudstream("exactly_once"),
        contenders.fraudstream("at_least_once"),
        contenders.kafka_streams(),
        contenders.fraudstream("exactly_once", workers=2),
        contenders.kafka_streams(threads=2),
    ]


class Bench:
    """One call: the parts in order, what they found, and a line for each run as it ends."""

    def __init__(self, bed: Bed, events: int, rounds: int, console: Console) -> None:
        self._bed = bed
        self._events = events
        self._rounds = rounds
        self._console = console
        self.results = Results()

    def preload(self) -> None:
        with self._console.status(f"filling a topic with {self._events:,} transactions"):
            self._large = self._bed.preload("transactions", self._events)
            self._small = self._bed.preload("transactions-small", self._events // SMALL_SHARE)

    def throughput(self) -> None:
        """Every contender once a round, so that each is compared with neighbours; odd rounds run backwards."""
        self._run(contenders.pass_through(), -1)  # warms the broker up, and counts for nothing
        for number in range(self._rounds):
            order = field() if number % 2 == 0 else field()[::-1]
            for contender in order:
                self.results.throughput.append(self._run(contender, number))

    def stages(self) -> None:
        with self._console.status("taking the worker apart"):
            self.results.stages = profile(self._bed, self._large, min(self._events, 200_000))

    def _run(self, contender: Contender, number: int) -> Run:
        source = self._large if contender.share == 1 else self._small
        what = f"round {number + 1} of {self._rounds}" if number >= 0 else "warming up"
        with self._console.status(f"{what}: {contender.name}"):
            result = run(self._bed, contender, source, self._events // contender.share, number)
        self._console.print(
            f"{what}: {contender.name:38} {result.warm_rate:>9,.0f} events/s   {result.cpu:>7,.1f} µs of CPU an event"
            f"   {result.memory:>5,.0f} MB"
        )
        return result


def main(
    quick: Annotated[bool, typer.Option("--quick", help="A fifth of the events and one round: about 3 minutes.")] = False,
    only: Annotated[list[Part] | None, typer.Option(help="Measure this part alone; may be given again.")] = None,
    events: Annotated[int | None, typer.Option(help="Transactions a run.")] = None,
    rounds: Annotated[int | None, typer.Option(help="Times that each contender runs.")] = None,
    out: Annotated[Path, typer.Option(help="The JSON file.")] = HERE / "results" / "latest.json",
) -> None:
    """Measure the worker beside its peers on a real Kafka, every output read back and checked."""
    console = Console()
    parts = only or list(Part)
    try:
        with laid_out(console) as bed:
            bench = Bench(bed, events or (200_000 if quick else 1_000_000), rounds or (1 if quick else 3), console)
            bench.preload()
            if Part.THROUGHPUT in parts:
                bench.throughput()
            if Part.STAGES in parts:
                bench.stages()
    except FraudstreamError as error:
        console.print(f"[red]{error}")
        raise typer.Exit(error.exit_code) from None
    report.write(out, bench.results)
    console.print(report.table(bench.results))


if __name__ == "__main__":
    typer.run(main)
