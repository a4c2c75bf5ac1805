"""Time batch scoring beside what it cannot do without: reading the same file, and XGBoost over the same rows."""

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.bed import train
from benchmarks.stages import Stages, TimedScorer
from consumer.decide import Decider
from consumer.settings import WorkerSettings
from fraudstream.batch import score
from fraudstream.batch.assemble import decider
from fraudstream.batch.directory import Directory
from fraudstream.batch.layout import Layout, layout_of
from fraudstream.batch.outputs import DecisionsFile
from fraudstream.batch.score import Task, score_file
from fraudstream.batch.tables import Chunk, Table, open_table
from models.artifact import load
from models.registry import unwatched
from producer import sample_path
from schemas.columns import Columns

ROUNDS = 5
COPIES = 14
"""Honest transactions of the real data to one of the bundled sample."""
CORES = 2


@dataclass(frozen=True, slots=True)
class Batch:
    """µs of CPU that a row takes in each round: ``read`` and ``predict`` alone, and ``batch``, which is all.

    ``wall`` holds the rows a second of each round on two cores, by the clock. ``stages`` are the parts of ``batch``.
    """

    rows: int
    read: list[float]
    predict: list[float]
    batch: list[float]
    wall: list[float]
    stages: dict[str, float]

    def rates(self) -> list[float]:
        """Rows a second of one core, round by round."""
        return [1e6 / cost for cost in self.batch]

    def shares(self) -> list[float]:
        """How much of XGBoost's own speed is reached, round by round."""
        return [bare / whole for bare, whole in zip(self.predict, self.batch, strict=True)]


def measure(model_dir: Path, data: Path, scratch: Path) -> Batch:
    """The three next to each other, again and again; what came out is checked once against XGBoost."""
    decides = decider(WorkerSettings.model_validate({"model": model_dir}), None, unwatched)
    scoring = _Scoring(decides, data, Directory(scratch))
    matrices = scoring.matrices()
    rows = sum(map(len, matrices))
    booster = load(model_dir).ensemble.boosters[0]
    found = Batch(rows, [], [], [], [], {})
    for _ in range(ROUNDS):
        found.read.append(_cpu(scoring.read) / rows)
        found.predict.append(_cpu(lambda: [booster.inplace_predict(matrix) for matrix in matrices]) / rows)
        found.batch.append(_cpu(scoring.run) / rows)
        with ThreadPoolExecutor(CORES) as executor:
            began = time.perf_counter()
            scoring.run(executor, CORES)
            found.wall.append(rows / (time.perf_counter() - began))
    _check(scoring, np.concatenate([decides.rollout.arms[0].scorer.score(matrix) for matrix in matrices]))
    found.stages.update(_stages(scoring, rows))
    return found


@dataclass(frozen=True, slots=True)
class _Scoring:
    """One file, scored again and again."""

    decider: Decider
    data: Path
    out: Directory

    def run(self, executor: Executor | None = None, ahead: int = 0, decides: Decider | None = None) -> None:
        """Score it, by default in this thread alone."""
        place = Directory(self.data.parent)
        task = Task(place.address(self.data.name), "", "scored.parquet", "dead-letters.parquet", stale=False)
        now = round(time.time() * 1_000)
        with place.open(self.data.name) as opened:
            score_file(
                opened,
                task,
                decides or self.decider,
                self.out,
                executor or _Here(),
                ahead=ahead,
                now=now,
                watch=lambda _: None,
            )

    def read(self) -> None:
        """Read what scoring reads, and do nothing with it."""
        for _ in self._chunks():
            pass

    def matrices(self) -> list[NDArray[np.float32]]:
        """What the model sees, chunk by chunk."""
        return [columns.matrix(self.decider.rollout.fields) for columns in self._columns()]

    def scores(self) -> NDArray[np.float64]:
        """What came out."""
        scores: NDArray[np.float64] = pq.read_table(self.out.address("scored.parquet"))["score"].to_numpy()
        return scores

    def _chunks(self) -> Iterator[tuple[Layout, Chunk]]:
        with Directory(self.data.parent).open(self.data.name) as opened:
            table = open_table(opened, str(self.data))
            layout = layout_of(table.schema, str(self.data), self.decider.roles, self.decider.rollout.fields, "")
            for chunk in table.chunks(layout.read):
                yield layout, chunk

    def _columns(self) -> Iterator[Columns]:
        for layout, chunk in self._chunks():
            yield layout.columns(chunk.batch, chunk.rows)


class _Here(Executor):
    """Does everything at once, in the thread that asks."""

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(work(*arguments, **named))
        return done


def _check(scoring: _Scoring, expected: NDArray[np.float64]) -> None:
    if not np.array_equal(scoring.scores(), expected):
        raise RuntimeError("the scores in the file are not those of the model")


def _cpu(work: Callable[[], object]) -> float:
    """µs of all threads: the clock of a busy machine says nothing."""
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1e6


def _stages(scoring: _Scoring, rows: int) -> dict[str, float]:
    """µs a row in each part of scoring, by a run whose functions are watched."""
    stages = Stages()
    arms = scoring.decider.rollout.arms
    watched = tuple(replace(arm, scorer=TimedScorer(arm.scorer, stages)) for arm in arms)
    decides = replace(scoring.decider, rollout=replace(scoring.decider.rollout, arms=watched))
    with ExitStack() as stack:
        stack.enter_context(patch.object(score, "open_table", lambda *given: _TimedTable(open_table(*given), stages)))
        for owner, name, stage in (
            (Layout, "columns", "columns, ids"),
            (Columns, "matrix", "matrix"),
            (score, "decide", "validate, route, policy"),
            (score, "decision_batch", "table of decisions"),
            (DecisionsFile, "_flush", "write parquet"),
        ):
            stack.enter_context(patch.object(owner, name, stages.timed(stage, getattr(owner, name))))
        with stages.stage("open, digest, sync"):
            scoring.run(decides=decides)
    return {name: cost["cpu"] for name, cost in stages.an_event(rows).items()}


class _TimedTable:
    """A table whose reading is a stage."""

    def __init__(self, table: Table, stages: Stages) -> None:
        self._table = table
        self._stages = stages
        self.schema = table.schema

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        chunks = self._table.chunks(columns)
        while True:
            with self._stages.stage("read parquet"):
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk


def in_real_mix(path: Path) -> None:
    """A file of the bundled sample whose honest rows come 14 times, so that frauds are as rare as in reality.

    The copies differ in their last digits, or they would be compressed to nothing.
    """
    table = pq.read_table(sample_path())
    honest = table.filter(pa.compute.equal(table["Class"], 0))
    numbers = [name for name in table.column_names if name.startswith("V")]
    with pq.ParquetWriter(path, table.schema, compression="zstd", use_dictionary=False) as writer:
        for copy in range(COPIES):
            rows = table if copy == 0 else honest
            for name in numbers:
                moved = pa.compute.multiply(rows[name], 1 + copy * 1e-9)
                rows = rows.set_column(rows.schema.get_field_index(name), name, moved)
            writer.write_table(rows)


def measure_batch(data: Path | None) -> Batch:
    """Measured with a model as a user trains it, on a parquet file or on the bundled sample in its real mix."""
    with tempfile.TemporaryDirectory(prefix="fraudstream-bench-") as scratch:
        home = Path(scratch)
        train(home / "model")
        if data is None:
            in_real_mix(home / "mix.parquet")
        return measure(home / "model", data or home / "mix.parquet", home)
