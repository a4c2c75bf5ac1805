"""Hold what was measured, pair it within rounds, and hold it against the bars."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.throughput import Run


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of a few figures, between their least and their largest."""

    median: float
    least: float
    largest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class Bar:
    """A claim: what was measured, what it must be at least or at most, and whether it is."""

    claim: str
    measured: Spread
    bar: float
    at_least: bool
    unit: str = ""

    @property
    def reached(self) -> bool:
        return self.measured.median >= self.bar if self.at_least else self.measured.median <= self.bar


@dataclass(slots=True)
class Results:
    """Everything that one call of ``make bench`` has measured."""

    throughput: list[Run] = field(default_factory=list)
    batches: list[Run] = field(default_factory=list)
    stages: dict[str, dict[str, float]] = field(default_factory=dict)

    def of(self, contender: str) -> list[Run]:
        """The runs of a contender, by round."""
        return [run for run in self.throughput if run.contender == contender]

    def ratio(self, one: str, other: str, measure: Callable[[Run], float]) -> Spread | None:
        """One contender against another, paired within each round; None unless both ran."""
        others = {run.round: run for run in self.of(other)}
        ratios = [measure(run) / measure(others[run.round]) for run in self.of(one) if run.round in others]
        return Spread.of(ratios) if ratios else None


def warm(run: Run) -> float:
    return run.warm_rate


def whole(run: Run) -> float:
    return run.rate


ONE = "fraudstream exactly-once"
RATIOS: tuple[tuple[str, str, str, Callable[[Run], float], float], ...] = (
    ("exactly-once ÷ pass-through", ONE, "pass-through", warm, 0.60),
    ("exactly-once ÷ kafka-streams", ONE, "kafka-streams", warm, 1.15),
    ("exactly-once ÷ naive", ONE, "naive", warm, 50),
    ("exactly-once ÷ at-least-once", ONE, "fraudstream at-least-once", warm, 0.90),
    ("two workers ÷ one, all events", f"{ONE}, 2 workers", ONE, whole, 1.35),
    ("two workers ÷ kafka-streams with two threads, all events", f"{ONE}, 2 workers", "kafka-streams, 2 threads", whole, 1),
    ("two workers ÷ kafka-streams with two threads, warm", f"{ONE}, 2 workers", "kafka-streams, 2 threads", warm, 1),
)


def bars(results: Results) -> list[Bar]:
    """Every bar that was measured this time."""
    found = []
    for claim, one, other, measure, least in RATIOS:
        ratio = results.ratio(one, other, measure)
        if ratio is not None:
            found.append(Bar(claim, ratio, least, at_least=True, unit="×"))
    return found
