"""Decide the rows of one file and write what became of each: a decision, or a dead letter with the reason."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from consumer.dead_letters import Complaint, complaints_of
from consumer.decide import Decider, Source, decide
from fraudstream.batch.finished import Counts, Mark
from fraudstream.batch.layout import Layout, layout_of
from fraudstream.batch.outputs import DeadLettersFile, DecisionsFile, dead_letters
from fraudstream.batch.places import Opened, Place
from fraudstream.batch.tables import Chunk, open_table
from schemas.decision import Outcome
from schemas.decision_table import decision_batch
from schemas.errors import FraudstreamError

REPLAY = "batch"
"""What stands in ``replay`` of these decisions: it tells them from live ones, and gives them other ids."""


@dataclass(frozen=True, slots=True)
class Task:
    """A file to score: how it is called in decisions and messages, and what is before the ids that it lacks.

    ``output`` and ``dead_letters`` are names in the place of the output; ``stale`` says that there are dead letters
    of an earlier run.
    """

    address: str
    id_prefix: str
    output: str
    dead_letters: str
    stale: bool


def score_file(
    opened: Opened,
    task: Task,
    decider: Decider,
    out: Place,
    executor: Executor,
    *,
    ahead: int,
    now: int,
    watch: Callable[[Chunk], None],
) -> Counts:
    """Decide every row of a file as of ``now`` (ms since 1970) by ``executor``, reading ``ahead`` chunks ahead.

    ``watch`` sees each chunk before it is written, and ends all by raising. Both outputs appear at the end or not at
    all. Raises ConfigurationError where the file cannot be read or lacks a column, and FraudstreamError where not one
    of its rows could be decided.
    """
    table = open_table(opened, task.address)
    layout = layout_of(table.schema, task.address, decider.roles, decider.rollout.fields, task.id_prefix)
    work = partial(_decide, layout=layout, decider=decider, address=task.address, now=now)
    counts = Counts()
    with ExitStack() as stack:
        decisions = DecisionsFile(stack, out, task.output)
        letters = DeadLettersFile(stack, out, task.dead_letters)
        for chunk, decided in _in_order(executor, work, table.chunks(layout.read), ahead):
            watch(chunk)
            decisions.write(decided.decisions)
            letters.write(decided.dead_letters)
            counts.add(decided.counts)
        if counts.rows and not any(counts.outcomes.values()):
            raise FraudstreamError(f"{task.address}: none of its {counts.rows:,} rows can be decided ({counts.why()})")
        opened.check()
        decisions.finish(Mark(opened.digest(), decider.digest, decider.models, counts))
        letters.finish(stale=task.stale)
    return counts


@dataclass(frozen=True, slots=True)
class _Decided:
    """A chunk as it is written, and counted."""

    decisions: pa.RecordBatch
    dead_letters: pa.Table | None
    counts: Counts


def _decide(chunk: Chunk, *, layout: Layout, decider: Decider, address: str, now: int) -> _Decided:
    source = Source(address, np.zeros(len(chunk.rows), np.int32), chunk.rows, REPLAY)
    columns = layout.columns(chunk.batch, chunk.rows)
    verdict = decide(columns, source, decider.roles, decider.bounds, decider.rollout, decider.reasons, now)
    complaints = complaints_of(verdict.undecodable, verdict.rejected)
    broken = {row: Complaint("read", "BROKEN_LINE", message) for row, message in chunk.broken.items()}
    counted = np.bincount(verdict.decisions.outcome, minlength=len(Outcome)).tolist()
    return _Decided(
        decision_batch(verdict.decisions),
        dead_letters(chunk, complaints, broken),
        Counts(
            {outcome.name.lower(): counted[outcome] for outcome in Outcome},
            Counter(complaint.reason for complaint in (*complaints.values(), *broken.values())),
        ),
    )


def _in_order(
    executor: Executor, work: Callable[[Chunk], _Decided], chunks: Iterable[Chunk], ahead: int
) -> Iterator[tuple[Chunk, _Decided]]:
    """Each chunk with what became of it; while one is waited for, ``ahead`` more are read and decided."""
    waiting: deque[tuple[Chunk, Future[_Decided]]] = deque()
    for chunk in chunks:
        waiting.append((chunk, executor.submit(work, chunk)))
        if len(waiting) > ahead:
            done, decided = waiting.popleft()
            yield done, decided.result()
    for done, decided in waiting:
        yield done, decided.result()
