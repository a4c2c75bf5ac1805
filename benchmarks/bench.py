"""Order the runs: what is compared runs next to each other, again and again, and shows its figure as it ends."""

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console

from benchmarks import contenders
from benchmarks.bed import Bed, flagging
from benchmarks.contenders import Contender, fraudstream
from benchmarks.latency import Latency, measure
from benchmarks.results import Results
from benchmarks.stages import profile
from benchmarks.throughput import Run, run

STAGES_SHARE = 4
FLAGGED = 0.01
"""Share of the events that are reviewed or declined where the cost of reasons is measured."""


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    events: int
    rounds: int
    latency_seconds: int
    latency_rounds: int
    soak_events: int
    batch_rounds: int
    sampling_rounds: int
    reasons_rounds: int
    batches: dict[int, int]
    """Batch sizes to try, each with its number of events: a few seconds of them."""


def field() -> list[Contender]:
    """All contenders of the throughput part, those that are compared next to each other."""
    return [
        contenders.naive(),
        contenders.pass_through(),
        fraudstream("exactly_once"),
        fraudstream("at_least_once"),
        contenders.kafka_streams(),
        contenders.kafka_streams(threads=2),
        fraudstream("exactly_once", workers=2),
    ]


class Bench:
    """One call of ``make bench``: each part is a method, and adds to ``results``."""

    def __init__(self, bed: Bed, scale: Scale, console: Console) -> None:
        self._bed = bed
        self._scale = scale
        self._console = console
        self._filled: dict[int, str] = {}
        self.results = Results()

    def throughput(self, field: Sequence[Contender]) -> None:
        """Every contender once a round; every other round runs backwards, so that nobody is always after the same."""
        events = self._scale.events
        self._run(contenders.pass_through(), events, -1)  # warms the broker up, and counts for nothing
        for number in range(self._scale.rounds):
            for contender in field[:: 1 if number % 2 == 0 else -1]:
                self.results.throughput.append(self._run(contender, events, number))

    def sampling(self) -> None:
        """The worker with samples at the default rate beside the worker without, one right after the other.

        The difference is small against the noise of the machine: many pairs, each in the other order than the last.
        """
        field = (fraudstream("exactly_once"), fraudstream("exactly_once", samples=False))
        self._run(field[0], self._scale.events, -1)
        for number in range(self._scale.sampling_rounds):
            for contender in field[:: 1 if number % 2 == 0 else -1]:
                self.results.sampling.append(self._run(contender, self._scale.events, number))

    def batches(self) -> None:
        """Exactly-once beside at-least-once, at several batch sizes."""
        for number in range(self._scale.batch_rounds):
            for size, events in self._scale.batches.items():
                for delivery in ("exactly_once", "at_least_once")[:: 1 if number % 2 == 0 else -1]:
                    contender = fraudstream(delivery, batch_size=size)
                    result = self._run(contender, events, number, f", batches of {size:,}")
                    self.results.batches.setdefault(size, []).append(result)

    def reasons(self) -> None:
        """The worker with and without reason codes, where 1 % of the events are flagged."""
        bed = flagging(self._bed, FLAGGED)
        field = (fraudstream("exactly_once"), fraudstream("exactly_once", reason_codes=0))
        self._run(field[0], self._scale.events, -1, bed=bed)  # warms the broker up, and counts for nothing
        for number in range(self._scale.reasons_rounds):
            for contender in field[:: 1 if number % 2 == 0 else -1]:
                self.results.reasons.append(self._run(contender, self._scale.events, number, bed=bed))

    def replays(self) -> None:
        """A replay of the whole topic beside the worker that decides it live; neither takes samples."""
        field = (contenders.replay(), fraudstream("exactly_once", samples=False))
        self._run(field[1], self._scale.events, -1)  # warms the broker up, and counts for nothing
        for number in range(self._scale.rounds):
            for contender in field[:: 1 if number % 2 == 0 else -1]:
                self.results.replays.append(self._run(contender, self._scale.events, number))

    def latency(self) -> None:
        """The worker in both modes, and Kafka Streams with a commit every 10 ms, after a run that counts for nothing.

        Many small transactions are another load than few large ones: a broker that has just seen the latter spends
        half a core for a minute on compiling itself.
        """
        field = (fraudstream("exactly_once"), fraudstream("at_least_once"), contenders.kafka_streams(commit_ms=10))
        self._latency(field[0], -1)
        for number in range(self._scale.latency_rounds):
            for contender in field[:: 1 if number % 2 == 0 else -1]:
                self.results.latency.append(self._latency(contender, number))

    def _latency(self, contender: Contender, number: int) -> Latency:
        what = _round(number)
        with self._console.status(f"{what}: latency of {contender.name}"):
            found = measure(self._bed, contender, self._scale.latency_seconds, number)
        self._console.print(
            f"{what}: latency of {contender.name:37} p50 {found.p50:,.1f} ms   p99 {found.p99:,.1f} ms"
            f"   (99 % were sent at most {found.loader_late:,.1f} ms late)"
        )
        return found

    def stages(self) -> None:
        """The worker's functions one after another in this process."""
        events = self._scale.events // STAGES_SHARE
        source = self._source(events)
        with self._console.status("taking the worker apart"):
            self.results.stages = profile(self._bed, source, events)

    def soak(self) -> None:
        """Many events through one worker, with an eye on its memory."""
        events = self._scale.soak_events
        self.results.soak = self._run(fraudstream("exactly_once"), events, 0, ", soak")
        self._bed.delete_topics([self._filled.pop(events)])

    def _run(self, contender: Contender, events: int, number: int, note: str = "", bed: Bed | None = None) -> Run:
        given = events // contender.share
        source = self._source(given)
        what = _round(number)
        with self._console.status(f"{what}: {contender.name}{note}"):
            result = run(bed or self._bed, contender, source, given, number)
        self._console.print(
            f"{what}: {contender.name + note:48} {result.warm_rate:>9,.0f} events/s"
            f" {result.cpu:>8,.1f} µs of CPU an event {result.memory:>5,.0f} MB"
        )
        return result

    def _source(self, events: int) -> str:
        """A topic with so many transactions, filled the first time."""
        if events not in self._filled:
            with self._console.status(f"filling a topic with {events:,} transactions"):
                self._filled[events] = self._bed.preload(f"transactions-{events}", events)
        return self._filled[events]


def _round(number: int) -> str:
    return f"round {number + 1}" if number >= 0 else "warm-up"
