"""Hold what was measured, pair it within rounds, and hold it against the bars."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from benchmarks.batch import Batch
from benchmarks.latency import Latency
from benchmarks.throughput import Run

ONE = "fraudstream exactly-once"
TWO = f"{ONE}, 2 workers"
AT_LEAST_ONCE = "fraudstream at-least-once"
COPY = "pass-through"
NO_SAMPLES = f"{ONE}, no samples"
NAIVE = "naive"
STREAMS = "kafka-streams"
REPLAY = "fraudstream replay"
WITHOUT_REASONS = f"{ONE}, no reasons"
TIMES = "x"
STREAMS_TWO = f"{STREAMS}, 2 threads"


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of a few figures, between their least and their largest."""

    median: float
    least: float
    largest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of one figure or more."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Bar:
    """A claim: what was measured, what it must be at least or at most, and whether it is."""

    claim: str
    measured: Spread
    at_least: bool
    bar: float
    unit: str

    @property
    def reached(self) -> bool:
        """Whether the median is on the right side."""
        return self.measured.median >= self.bar if self.at_least else self.measured.median <= self.bar


@dataclass(slots=True)
class Results:
    """Everything that one call of ``make bench`` has measured."""

    throughput: list[Run] = field(default_factory=list)
    sampling: list[Run] = field(default_factory=list)
    batches: dict[int, list[Run]] = field(default_factory=dict)
    reasons: list[Run] = field(default_factory=list)
    replays: list[Run] = field(default_factory=list)
    stages: dict[str, dict[str, float]] = field(default_factory=dict)
    latency: list[Latency] = field(default_factory=list)
    soak: Run | None = None
    batch: Batch | None = None

    def ratio(self, one: str, other: str, measure: Callable[[Run], float]) -> Spread | None:
        """One contender against another, paired within each round; None unless both ran."""
        return ratio(self.throughput, one, other, measure)


def ratio(runs: Sequence[Run], one: str, other: str, measure: Callable[[Run], float]) -> Spread | None:
    """One contender against another, paired within each round; None unless both ran."""
    others = {run.round: run for run in runs if run.contender == other}
    ratios = [measure(run) / measure(others[run.round]) for run in runs if run.contender == one and run.round in others]
    return Spread.of(ratios) if ratios else None


def warm(run: Run) -> float:
    """Events a second after the first fifth."""
    return run.warm_rate


def whole(run: Run) -> float:
    """Events a second over all events."""
    return run.rate


def cpu(run: Run) -> float:
    """µs of CPU an event: noise of the machine moves it less than the rates."""
    return run.cpu


RATIOS: tuple[tuple[str, str, str, Callable[[Run], float], float], ...] = (
    ("exactly-once ÷ pass-through", ONE, COPY, warm, 0.60),
    ("exactly-once ÷ Kafka Streams", ONE, STREAMS, warm, 1.15),
    ("exactly-once ÷ naive", ONE, NAIVE, warm, 50),
    ("exactly-once ÷ at-least-once", ONE, AT_LEAST_ONCE, warm, 0.90),
    ("two workers ÷ one, all events", TWO, ONE, whole, 1.35),
    ("two workers ÷ Kafka Streams on two threads, all events", TWO, STREAMS_TWO, whole, 1.0),
    ("two workers ÷ Kafka Streams on two threads, warm", TWO, STREAMS_TWO, warm, 1.0),
)
SAMPLING = 0.95
"""Of its throughput without samples a worker keeps at least so much with them."""
LATENCIES = ((ONE, 30.0), (AT_LEAST_ONCE, 15.0))
EXPLAINED = 0.95
REPLAYED = 0.95
"""A replay is as fast as live scoring, but for the noise of the machine."""
ROWS_A_SECOND = 500_000
MEMORY_MB = 400
GROWTH = 1.05
"""Memory is flat if its last look is at most so many times its look after a fifth of the events."""


def bars(results: Results) -> Iterator[Bar]:
    """Every bar that was measured this time."""
    for claim, one, other, measure, least in RATIOS:
        measured = results.ratio(one, other, measure)
        if measured is not None:
            yield Bar(claim, measured, at_least=True, bar=least, unit=TIMES)
    sampling = ratio(results.sampling, ONE, NO_SAMPLES, warm)
    if sampling is not None:
        yield Bar("with samples ÷ without, exactly-once", sampling, at_least=True, bar=SAMPLING, unit=TIMES)
    explained = ratio(results.reasons, ONE, WITHOUT_REASONS, warm)
    if explained is not None:
        yield Bar("with reasons ÷ without, 1 % flagged", explained, at_least=True, bar=EXPLAINED, unit=TIMES)
    replayed = ratio(results.replays, REPLAY, NO_SAMPLES, warm)
    if replayed is not None:
        yield Bar("replay ÷ live, exactly-once", replayed, at_least=True, bar=REPLAYED, unit=TIMES)
    for name, most in LATENCIES:
        found = [latency.p99 for latency in results.latency if latency.contender == name]
        if found:
            claim = f"p99 at 10,000 events/s, {name.removeprefix('fraudstream ')}"
            yield Bar(claim, Spread.of(found), at_least=False, bar=most, unit="ms")
    if results.soak is not None:
        looks = list(results.soak.memory_after.values())
        claim = f"over {results.soak.events:,} events"
        yield Bar(f"worker memory {claim}", Spread.of([max(looks)]), at_least=False, bar=MEMORY_MB, unit="MB")
        yield Bar(f"its growth {claim}", Spread.of([looks[-1] / looks[1]]), at_least=False, bar=GROWTH, unit=TIMES)
    if results.batch is not None:
        measured = Spread.of(results.batch.rates())
        yield Bar("batch, rows a second of one core", measured, at_least=True, bar=ROWS_A_SECOND, unit="rows")
