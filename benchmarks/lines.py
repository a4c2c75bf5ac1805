"""Turn results into the lines of the one table, the same in the terminal and in the docs."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from benchmarks.latency import typical
from benchmarks.results import ONE, TIMES, WITHOUT_REASONS, Results, Spread, bars, cpu, ratio, warm
from benchmarks.throughput import Run

HEADER = ("", "measured", "least to largest", "CPU, µs an event", "broker, µs", "memory, MB", "bar", "reached")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table, in the order of ``HEADER``; empty where there is nothing to say."""

    what: str
    measured: str
    spread: str = ""
    cpu: str = ""
    broker: str = ""
    memory: str = ""
    bar: str = ""
    reached: str = ""

    def cells(self) -> tuple[str, ...]:
        """The cells under ``HEADER``."""
        return (self.what, self.measured, self.spread, self.cpu, self.broker, self.memory, self.bar, self.reached)


def sections(results: Results) -> Iterator[tuple[str, list[Line]]]:
    """The parts that were measured, each with its title."""
    named = (
        ("The bars", list(_bars(results))),
        ("Throughput, events a second", list(_throughput(results.throughput))),
        ("What sampling for the drift monitor costs, events a second", list(_throughput(results.sampling))),
        ("Batch sizes, events a second", list(_batches(results))),
        ("Reasons, where 1 % is flagged, events a second", list(_reasons(results.reasons))),
        ("Replay beside live scoring, neither with samples, events a second", list(_throughput(results.replays))),
        (
            "Latency at 10,000 events/s: p50, and p90 / p99 / p99.9 in ms, medians of the rounds",
            list(_latencies(results)),
        ),
        ("Where the worker's time goes, µs an event, each step alone", list(_stages(results))),
        ("Memory of the worker", list(_soak(results))),
        ("Batch scoring, rows a second of one core", list(_batch(results))),
    )
    return ((title, lines) for title, lines in named if lines)


def _bars(results: Results) -> Iterator[Line]:
    for bar in bars(results):
        digits = 2 if bar.unit == TIMES and bar.measured.median < 10 else 0
        yield Line(
            bar.claim,
            f"{bar.measured.median:,.{digits}f} {bar.unit}",
            _between(bar.measured, digits),
            bar=f"{'≥' if bar.at_least else '≤'} {bar.bar:,g} {bar.unit}",
            reached="yes" if bar.reached else "no",
        )


def _throughput(runs: Sequence[Run]) -> Iterator[Line]:
    for name in dict.fromkeys(run.contender for run in runs):
        own = [run for run in runs if run.contender == name]
        rate = Spread.of([warm(run) for run in own])
        yield Line(
            name,
            f"{rate.median:,.0f}",
            _between(rate, 0),
            cpu=f"{Spread.of([run.cpu for run in own]).median:,.1f}",
            broker=f"{Spread.of([run.broker_cpu for run in own]).median:,.1f}",
            memory=f"{max(run.memory for run in own):,.0f}",
        )


def _batches(results: Results) -> Iterator[Line]:
    for size, runs in results.batches.items():
        names = tuple(dict.fromkeys(run.contender for run in runs))
        for line in _throughput(runs):
            yield Line(f"{line.what}, batches of {size:,}", *line.cells()[1:])
        paired = ratio(runs, names[0], names[1], warm)
        assert paired is not None
        yield Line(
            f"exactly-once ÷ at-least-once, batches of {size:,}", f"{paired.median:.2f} {TIMES}", _between(paired, 2)
        )


def _reasons(runs: Sequence[Run]) -> Iterator[Line]:
    yield from _throughput(runs)
    paired = ratio(runs, ONE, WITHOUT_REASONS, cpu)
    if paired is not None:
        yield Line("CPU with reasons ÷ without", f"{paired.median:.2f} {TIMES}", _between(paired, 2))


def _latencies(results: Results) -> Iterator[Line]:
    for latency in typical(results.latency):
        batch = f", batches of {latency.batch:,.0f}" if latency.batch else ""
        yield Line(
            f"{latency.contender}{batch}",
            f"{latency.p50:,.1f}",
            f"{latency.p90:,.1f} / {latency.p99:,.1f} / {latency.p999:,.1f}",
            cpu=f"{latency.cpu:,.1f}",
        )


def _stages(results: Results) -> Iterator[Line]:
    for stage, cost in results.stages.items():
        yield Line(stage, f"{cost['wall']:.2f}", cpu=f"{cost['cpu']:.2f}")


def _soak(results: Results) -> Iterator[Line]:
    looks = results.soak.memory_after if results.soak else {}
    for events, memory in list(looks.items())[1::2]:
        yield Line(f"after {events:,} events", f"{memory:,.0f} MB", memory=f"{memory:,.0f}")


def _batch(results: Results) -> Iterator[Line]:
    found = results.batch
    if found is None:
        return
    for what, costs in (("reading alone", found.read), ("XGBoost alone", found.predict), ("batch", found.batch)):
        rate, cost = Spread.of([1e6 / each for each in costs]), Spread.of(costs)
        yield Line(what, f"{rate.median:,.0f}", _between(rate, 0), cpu=f"{cost.median:.2f}")
    clock, share = Spread.of(found.wall), Spread.of(found.shares())
    yield Line("batch ÷ XGBoost alone", f"{share.median:.2f} {TIMES}", _between(share, 2))
    yield Line("batch, on two cores by the clock", f"{clock.median:,.0f}", _between(clock, 0))
    for stage, each in found.stages.items():
        yield Line(f"of a row: {stage}", "", cpu=f"{each:.2f}")


def _between(spread: Spread, digits: int) -> str:
    return "" if spread.least == spread.largest else f"{spread.least:,.{digits}f} to {spread.largest:,.{digits}f}"
