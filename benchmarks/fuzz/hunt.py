"""Fuzz in a process of its own, which a record may kill, and find that record."""

import faulthandler
import logging
import multiprocessing
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any, TypeAlias

import structlog

from benchmarks.fuzz.subject import Subject, subjects
from models.artifact import load

BATCH = 500

Make: TypeAlias = Callable[[], list[Subject]]
Note: TypeAlias = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Killer:
    """A record that was not survived: which of batch ``number`` it is, of what framing, and its bytes."""

    number: int
    row: int
    framing: str
    value: bytes | None


def fuzz(fuzzed: list[Subject], seed: int, numbers: range, note: Note = lambda _number: None) -> Counter[str]:
    """What became of the records of these batches; the framings take turns. Raises as ``Subject.decide``."""
    found: Counter[str] = Counter()
    for number in numbers:
        note(number)
        subject = _turn(fuzzed, number)
        found += subject.decide(subject.mutants(seed, number, BATCH))
    return found


def hunt(make: Make, seed: int, numbers: range, progress: Note) -> Counter[str] | Killer:
    """Fuzz in another process; where that dies or raises, the batch is decided again there, record by record."""
    found = _in_another_process(partial(_fuzz, make, seed, numbers), progress)
    if not isinstance(found, int):
        return found
    number = found
    if number < 0:
        raise RuntimeError("it ended before the first batch")
    row = _in_another_process(partial(_one_by_one, make, seed, number), lambda _row: None)
    subject = _turn(make(), number)
    if not isinstance(row, int):  # it takes the whole batch
        return Killer(number, -1, subject.name, None)
    return Killer(number, row, subject.name, subject.mutants(seed, number, BATCH)[row])


def of_model(model: Path, home: Path) -> list[Subject]:
    """What is fuzzed, with the model in a directory."""
    return subjects(load(model), home)


def _turn(fuzzed: list[Subject], number: int) -> Subject:
    return fuzzed[number % len(fuzzed)]


def _fuzz(make: Make, seed: int, numbers: range, note: Note) -> Counter[str]:
    return fuzz(make(), seed, numbers, note)


def _one_by_one(make: Make, seed: int, number: int, note: Note) -> Counter[str]:
    subject = _turn(make(), number)
    for row, value in enumerate(subject.mutants(seed, number, BATCH)):
        note(row)
        subject.decide([value])
    return Counter()


def _in_another_process(work: Callable[[Note], Counter[str]], progress: Note) -> Counter[str] | int:
    """What the work came to, or the number that it noted last before it ended in another way."""
    context = multiprocessing.get_context("spawn")
    last, result = context.Value("q", -1), context.SimpleQueue()
    process = context.Process(target=_work, args=(work, last, result))
    process.start()
    while process.is_alive():
        process.join(0.5)
        progress(last.value)
    return int(last.value) if process.exitcode else result.get()


def _work(work: Callable[[Note], Counter[str]], last: Any, result: SimpleQueue[Counter[str]]) -> None:
    faulthandler.enable()
    warnings.simplefilter("error")
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))

    def note(number: int) -> None:
        last.value = number

    result.put(work(note))
