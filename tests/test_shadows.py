"""A shadow scores what the stream decides, and whatever it does, the stream goes on without it."""

import threading
import time
from dataclasses import dataclass, field

import numpy as np
import pytest
from structlog.testing import capture_logs

from consumer.shadows import Shadow, ShadowRunner
from schemas.columns import Columns, NumberColumn


@dataclass
class Scorer:
    """Its score is its first feature; it may be told to wait or to break."""

    gate: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None
    features: tuple = ("V1",)

    def score(self, features):
        self.gate.wait(10)
        if self.error:
            raise self.error
        return features[:, 0].astype(np.float64)


def scorer(error=None, *, waiting=False):
    made = Scorer(error=error)
    if not waiting:
        made.gate.set()
    return made


def batch(values):
    return Columns(np.zeros(len(values), np.uint8), {"V1": NumberColumn(np.array(values), None)})


@pytest.fixture
def told():
    return []


@pytest.fixture
def runner(told):
    made = ShadowRunner(0.05, lambda name, outcome: told.append((name, outcome)))
    yield made
    made.close()


def test_the_scores_of_the_decided_rows_are_taken(runner, told):
    pending = runner.begin([Shadow("next", scorer())], batch([0.1, np.inf, 0.3]))

    scores = pending.take(np.array([0, 2]))

    assert scores["next"] == pytest.approx([0.1, 0.3])
    assert told == [("next", "scored")]


def test_a_shadow_that_is_late_costs_its_budget_and_no_more(runner, told):
    slow = scorer(waiting=True)
    began = time.monotonic()
    scores = runner.begin([Shadow("slow", slow)], batch([0.1])).take(np.array([0]))
    waited = time.monotonic() - began

    again = runner.begin([Shadow("slow", slow)], batch([0.2])).take(np.array([0]))
    slow.gate.set()

    assert (scores, again) == ({}, {})
    assert 0.05 <= waited < 5
    assert told == [("slow", "late"), ("slow", "late")]


def test_a_shadow_that_was_late_comes_back(runner, told):
    slow = scorer(waiting=True)
    runner.begin([Shadow("slow", slow)], batch([0.1])).take(np.array([0]))
    slow.gate.set()
    deadline = time.monotonic() + 10
    while ("slow", "scored") not in told and time.monotonic() < deadline:
        scores = runner.begin([Shadow("slow", slow)], batch([0.2])).take(np.array([0]))

    assert scores["slow"] == pytest.approx([0.2])


def test_one_shadow_that_fails_does_not_silence_another_and_is_complained_of_once(runner, told):
    shadows = [Shadow("broken", scorer(ValueError("card 4111 is odd"))), Shadow("sound", scorer())]

    with capture_logs() as logs:
        scores = [runner.begin(shadows, batch([0.1])).take(np.array([0])) for _ in range(2)]

    assert [list(each) for each in scores] == [["sound"], ["sound"]]
    assert told == [("broken", "failed"), ("sound", "scored")] * 2
    assert [(entry["shadow"], entry["reason"]) for entry in logs] == [("broken", "ValueError")]


def test_without_shadows_nothing_is_waited_for(runner, told):
    assert runner.begin([], batch([0.1])).take(np.array([0])) == {}
    assert told == []
