"""Mutated records do the worker no harm; one that did would be found."""

import os
import signal
from collections import Counter
from functools import partial

import pytest

from benchmarks.fuzz.hunt import BATCH, Killer, fuzz, hunt
from benchmarks.fuzz.subject import WrongOutcomeError, subjects
from consumer.delivery import Outbox
from models import artifact


@pytest.fixture(scope="module")
def fuzzed(small_models, sandbox, tmp_path_factory):
    model = artifact.from_files(small_models["1"], "m@1", sandbox=sandbox)
    return subjects(model, tmp_path_factory.mktemp("fuzz"))


def test_every_mutated_record_is_decided_or_a_dead_letter(fuzzed):
    found = fuzz(fuzzed, seed=20_260_131, numbers=range(40))

    assert found.total() == 40 * BATCH
    # Where all or none were decided the mutations would try nothing.
    assert found.total() * 0.05 < found["decided"] < found.total() * 0.95
    assert len(found) > 10


def test_records_as_they_are_sent_are_all_decided(fuzzed):
    for subject in fuzzed:
        assert subject.decide(subject.records) == Counter(decided=len(subject.records))


def test_the_same_seed_makes_the_same_records_of_any_batch(fuzzed):
    subject = fuzzed[0]

    assert subject.mutants(1, 7, 100) == subject.mutants(1, 7, 100)
    assert subject.mutants(1, 7, 100) != subject.mutants(2, 7, 100)
    assert subject.mutants(1, 7, 100) != subject.mutants(1, 8, 100)


class Frail:
    """Decides nothing but whether to die: of values that end with this byte."""

    name, frame = "frail", 0

    def __init__(self, deadly, die):
        self.deadly, self.die = deadly, die

    def mutants(self, seed, number, size):
        return [bytes([(number * size + row) % 251, row % 256]) for row in range(size)]

    def decide(self, values):
        if any(value[-1:] == self.deadly and value[:1] == b"\x05" for value in values):
            self.die()
        return Counter(decided=len(values))


def segfault():
    os.kill(os.getpid(), signal.SIGSEGV)


def fail():
    raise RuntimeError("no InvalidRecord")


def frail(die):
    return [Frail(b"\x09", die)]


@pytest.mark.parametrize("die", [segfault, fail])
def test_a_record_that_kills_the_process_or_raises_is_found(die, capfd):
    found = hunt(partial(frail, die), seed=1, numbers=range(40), progress=lambda _: None)

    (row,) = [
        at for at, value in enumerate(Frail(b"\x09", die).mutants(1, found.number, BATCH)) if value == b"\x05\x09"
    ]
    assert found == Killer(found.number, row, "frail", b"\x05\x09")


def test_a_batch_that_loses_a_record_is_noticed(fuzzed, monkeypatch):
    monkeypatch.setattr(type(fuzzed[0].process), "__call__", lambda *_: Outbox())

    with pytest.raises(WrongOutcomeError):
        fuzzed[0].decide(fuzzed[0].records)
