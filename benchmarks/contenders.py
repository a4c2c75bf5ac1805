"""Name who runs, how each is started, and how its output is judged."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import streams
from benchmarks.bed import Bed
from benchmarks.check import Check, check_copies, check_decisions
from deploy.jvm import free_ports

REPLAY = "bench"
REPLAYED = f".replay.{REPLAY}"
"""What a replay puts behind the names of the group and the topics that it is told."""
SMALL_SHARE = 100
"""The naive worker gets one event for so many of the others: it is compared by its rate."""


@dataclass(frozen=True, slots=True)
class Assignment:
    """What one run of one contender works on. ``metrics_port`` is for those that have metrics."""

    group: str
    source: str
    decisions: str
    dead_letters: str
    samples: str
    metrics_port: int

    @property
    def outputs(self) -> list[str]:
        """The topics that it may write."""
        return [self.decisions, self.dead_letters, self.samples]


@dataclass(frozen=True, slots=True)
class Contender:
    """A program that copies or scores a topic until it is stopped."""

    name: str
    command: Callable[[Bed, Assignment], list[str]]
    check: Check = check_decisions
    share: int = 1
    """It is given one event for so many of the others."""
    has_metrics: bool = False
    suffix: str = ""
    """What stands behind the names of the group and the topics that it makes of those it is told."""


def pass_through() -> Contender:
    return Contender("pass-through", partial(_script, "pass_through"), check_copies)


def naive() -> Contender:
    return Contender("naive", partial(_script, "naive"), share=SMALL_SHARE)


def fraudstream(
    delivery: str, workers: int = 1, batch_size: int = 5_000, reason_codes: int = 3, *, samples: bool = True
) -> Contender:
    """The worker as a user starts it, every output on, or all but the reasons or the samples for the drift monitor."""
    name = f"fraudstream {delivery.replace('_', '-').removesuffix('-')}"
    name += f", {workers} workers" if workers > 1 else ""
    name += "" if reason_codes else ", no reasons"
    name += "" if samples else ", no samples"
    numbers = {"--workers": workers, "--batch-size": batch_size, "--reason-codes": reason_codes}
    options = ("--delivery", delivery, *(word for option, number in numbers.items() for word in (option, str(number))))
    options += () if samples else ("--sample-rate", "0")
    check = partial(check_decisions, explained=reason_codes > 0)
    return Contender(name, partial(_worker, options), check, has_metrics=workers == 1)


def at_endpoint(name: str, store: Path, url: str) -> Contender:
    """The worker exactly-once by the rollout in ``store``, with SageMaker at ``url``."""
    options = ("--sagemaker-url", url)
    return Contender(name, partial(_worker, options, store=store), has_metrics=True)


def replay() -> Contender:
    """All of the topic decided again, as a user starts it. It takes no samples."""
    return Contender("fraudstream replay", _replay, partial(check_decisions, explained=True), suffix=REPLAYED)


def kafka_streams(threads: int = 1, commit_ms: int = 100) -> Contender:
    name = "kafka-streams" + (f", {threads} threads" if threads > 1 else "")
    return Contender(name, partial(_streams, threads, commit_ms))


def assignment(source: str, group: str, suffix: str = "") -> Assignment:
    """Topics and a port for a run of this name."""
    decisions, dead_letters, samples = (f"{group}.{what}{suffix}" for what in ("decisions", "dead-letters", "samples"))
    return Assignment(f"{group}{suffix}", source, decisions, dead_letters, samples, free_ports(1)[0])


def _script(module: str, bed: Bed, work: Assignment) -> list[str]:
    return [
        *(sys.executable, "-m", f"benchmarks.{module}", "--bootstrap-servers", bed.bootstrap_servers),
        *("--group", work.group, "--input-topic", work.source, "--decisions-topic", work.decisions),
        *("--model", str(bed.model_dir)),
    ]


def _worker(options: tuple[str, ...], bed: Bed, work: Assignment, store: Path | None = None) -> list[str]:
    serving = ("--model", str(bed.model_dir)) if store is None else ("--store", str(store))
    return [
        *(sys.executable, "-m", "fraudstream", "score", "--bootstrap-servers", bed.bootstrap_servers),
        *(*serving, "--group", work.group, "--input-topic", work.source),
        *("--decisions-topic", work.decisions, "--dead-letters-topic", work.dead_letters),
        *("--samples-topic", work.samples),
        *("--metrics-port", str(work.metrics_port), "--log-format", "json", "--log-level", "warning", *options),
    ]


def _replay(bed: Bed, work: Assignment) -> list[str]:
    group, decisions, dead_letters = (
        name.removesuffix(REPLAYED) for name in (work.group, work.decisions, work.dead_letters)
    )
    return [
        *(sys.executable, "-m", "fraudstream", "replay", "--bootstrap-servers", bed.bootstrap_servers),
        *("--name", REPLAY, "--model", str(bed.model_dir), "--group", group, "--input-topic", work.source),
        *("--decisions-topic", decisions, "--dead-letters-topic", dead_letters),
    ]


def _streams(threads: int, commit_ms: int, bed: Bed, work: Assignment) -> list[str]:
    topics = (work.source, work.decisions, work.dead_letters)
    return streams.command(bed, work.group, topics, threads, commit_ms)
