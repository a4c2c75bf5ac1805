"""Score the files of a data set one after another: skip what is finished, and let no file spoil another."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from consumer.decide import Decider
from fraudstream.batch.finished import Counts, Mark, mark_of
from fraudstream.batch.places import DataFile, Place
from fraudstream.batch.score import Task, score_file
from fraudstream.batch.tables import Chunk
from models.store import StoreUnavailableError
from schemas.errors import ConfigurationError, FraudstreamError

DEAD_LETTERS = "_dead-letters/"
"""Where dead letters lie: beside the decisions, under a name that readers of data sets pass over."""


@dataclass(frozen=True, slots=True)
class DataSet:
    """Files of one place that can be read, at least one, and how many others it holds.

    Those of a directory (``many``) bear their names in the ids that are derived for them.
    """

    place: Place
    files: Sequence[DataFile]
    many: bool
    passed_over: int


class Watcher(Protocol):
    """Who follows the work."""

    def begins(self, file: DataFile) -> None:
        """A file is taken up."""

    def chunk(self, rows: int, share: float) -> None:
        """So many rows more were decided, and this share of the file is read."""

    def fails(self, error: FraudstreamError) -> None:
        """The file that was begun is given up."""


class StoppedError(Exception):
    """The person who watches wants to stop."""


@dataclass(frozen=True, slots=True)
class Job:
    """A file that is to be scored, and what is known of an earlier time that it was."""

    file: DataFile
    task: Task
    before: Mark | None


@dataclass(slots=True)
class Summary:
    """What became of the files, and of the rows that were decided now; ``left`` are files that nobody got to."""

    counts: Counts = field(default_factory=Counts)
    scored: list[str] = field(default_factory=list)
    finished_before: list[str] = field(default_factory=list)
    failed: dict[str, FraudstreamError] = field(default_factory=dict)
    left: list[str] = field(default_factory=list)
    interrupted: bool = False


def plan(data: DataSet, out: Place, decider: Decider, *, overwrite: bool) -> list[Job]:
    """What there is to do, in order.

    Raises ConfigurationError where two files would get one output, and where an output is there already that is not
    ours or, unless ``overwrite``, that was decided otherwise.
    """
    there = {file.name for file in out.files()}
    jobs: dict[str, Job] = {}
    for file in data.files:
        task = _task(data, file.name, there)
        if task.output in jobs:
            other = jobs[task.output].task.address
            raise ConfigurationError(f"{task.address} and {other} would both become {out.address(task.output)}")
        before = _before(out, task.output, decider, overwrite=overwrite) if task.output in there else None
        jobs[task.output] = Job(file, task, before)
    return list(jobs.values())


def _task(data: DataSet, name: str, there: set[str]) -> Task:
    # The name of an output depends on its input alone, not on what else there is: it stays when files come and go.
    output = name if name.endswith(".parquet") else f"{name}.parquet"
    letters = DEAD_LETTERS + output
    return Task(data.place.address(name), f"{name}/" if data.many else "", output, letters, letters in there)


def _before(out: Place, name: str, decider: Decider, *, overwrite: bool) -> Mark:
    mark = mark_of(out, name)
    if mark is None:
        raise ConfigurationError(f"{out.address(name)} is there already, and `fraudstream batch` did not write it")
    if mark.decider != decider.digest and not overwrite:
        raise ConfigurationError(
            f"{out.address(name)} was decided by {mark.models}, or under other settings, and not as it would be now: "
            "name another --out, or say --overwrite"
        )
    return mark


@dataclass(frozen=True, slots=True)
class Run:
    """One run over a data set, on ``threads`` threads; ``stopped`` says whether to end with the chunk in hand."""

    place: Place
    out: Place
    decider: Decider
    threads: int
    watcher: Watcher
    stopped: Callable[[], bool]

    def all(self, jobs: Sequence[Job]) -> Summary:
        """Score each file whose decisions are not what they would become; a file that fails is told of and left out.

        Raises ConflictError where another run writes to the same place.
        """
        summary = Summary(left=[job.file.name for job in jobs])
        with self.out.reserve(), ThreadPoolExecutor(self.threads, thread_name_prefix="decide") as executor:
            for job in jobs:
                self.watcher.begins(job.file)
                try:
                    self._one(job, executor, summary)
                except StoppedError:
                    summary.interrupted = True
                    break
                except FraudstreamError as error:
                    self.watcher.fails(error)
                    summary.failed[job.file.name] = error
                    if isinstance(error, StoreUnavailableError):  # nor would it be there for the next file
                        break
                summary.left.remove(job.file.name)
        return summary

    def _one(self, job: Job, executor: Executor, summary: Summary) -> None:
        with self.place.open(job.file.name) as opened:
            if job.before and (job.before.decider, job.before.input) == (self.decider.digest, opened.digest()):
                summary.finished_before.append(job.file.name)
                return
            now = round(time.time() * 1_000)
            counts = score_file(
                opened, job.task, self.decider, self.out, executor, ahead=self.threads, now=now, watch=self._watch
            )
        summary.counts.add(counts)
        summary.scored.append(job.file.name)

    def _watch(self, chunk: Chunk) -> None:
        if self.stopped():
            raise StoppedError
        self.watcher.chunk(len(chunk.rows) + len(chunk.broken), chunk.share)
