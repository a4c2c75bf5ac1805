"""A shadow scores what the stream decides, and whatever it does, the stream goes on without it."""

import threading
import time
import weakref
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from structlog.testing import capture_logs

from consumer.shadows import Shadow, ShadowRunner
from schemas.columns import Columns, NumberColumn, Reason
from schemas.errors import ConfigurationError


@dataclass
class Scorer:
    """Its score is its first feature, 0 where missing; it may be told to wait, to break or to answer nonsense."""

    gate: threading.Event = field(default_factory=threading.Event)
    error: Exception | None = None
    answer: np.ndarray | None = None
    features: tuple = ("V1", "V2")

    def score(self, features):
        self.gate.wait(10)
        if self.error:
            raise self.error
        assert not np.isinf(features).any()
        return np.nan_to_num(features[:, 0].astype(np.float64)) if self.answer is None else self.answer


def shadow(name, *, waiting=False, required=(False, False), **options):
    made = Scorer(**options)
    if not waiting:
        made.gate.set()
    return Shadow(name, made, np.array(required))


def batch(v1, v2=None):
    def number(values):
        null = np.array([value is None for value in values])
        return NumberColumn(np.array([np.nan if value is None else value for value in values]), null)

    return Columns(np.zeros(len(v1), np.uint8), {"V1": number(v1), "V2": number(v2 or [0.0] * len(v1))})


@pytest.fixture
def told():
    return []


@pytest.fixture
def runner_of(told):
    def make(*shadows, budget=10.0):
        return ShadowRunner(shadows, budget, lambda name, outcome: told.append((name, outcome)))

    return make


def scored(runner, columns):
    return runner.take(runner.begin(columns, []), np.arange(len(columns)))


def test_the_scores_of_the_decided_rows_are_taken(runner_of, told):
    runner = runner_of(shadow("next"))

    scores = runner.take(runner.begin(batch([0.1, 0.2, 0.3]), []), np.array([0, 2]))

    assert scores["next"] == pytest.approx([0.1, 0.3])
    assert told == [("next", "scored")]


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_row_that_the_model_may_not_be_shown_has_no_score_though_an_arm_with_other_features_decides_it(
    runner_of, value
):
    scores = scored(runner_of(shadow("next")), batch([0.1, 0.2], v2=[0.0, value]))

    assert scores["next"] == pytest.approx([0.1, np.nan], nan_ok=True)


def test_a_missing_feature_is_missing_to_the_shadow_unless_its_model_requires_it(runner_of):
    runner = runner_of(shadow("lenient"), shadow("strict", required=(False, True)))

    scores = scored(runner, batch([0.1, 0.2], v2=[0.0, None]))

    assert scores["lenient"] == pytest.approx([0.1, 0.2])
    assert scores["strict"] == pytest.approx([0.1, np.nan], nan_ok=True)


def test_a_shadow_that_never_ends_is_waited_for_no_longer_than_its_budget_and_then_not_at_all(runner_of, told):
    slow = shadow("slow", waiting=True)
    runner = runner_of(slow, budget=0.01)

    assert (scored(runner, batch([0.1])), scored(runner, batch([0.2]))) == ({}, {})
    assert told == [("slow", "late"), ("slow", "late")]
    slow.scorer.gate.set()


def test_a_shadow_that_is_busy_is_given_no_other_batch(runner_of):
    slow = shadow("slow", waiting=True)
    runner = runner_of(slow)

    begun = [runner.begin(batch([0.1]), [])["slow"] is not None for _ in range(3)]
    slow.scorer.gate.set()

    assert begun == [True, False, False]


def test_a_shadow_that_is_late_does_not_hold_up_another(runner_of, told):
    slow = shadow("slow", waiting=True)
    runner = runner_of(slow, shadow("quick"), budget=0.05)
    deadline = time.monotonic() + 10
    while ("quick", "scored") not in told and time.monotonic() < deadline:
        scores = scored(runner, batch([0.1]))
    slow.scorer.gate.set()

    assert list(scores) == ["quick"]
    assert ("slow", "scored") not in told


def test_a_shadow_that_was_late_comes_back_with_the_scores_of_the_batch_at_hand(runner_of, told):
    slow = shadow("slow", waiting=True)
    runner = runner_of(slow, budget=0.01)
    scored(runner, batch([0.1]))
    slow.scorer.gate.set()
    deadline = time.monotonic() + 10
    while ("slow", "scored") not in told and time.monotonic() < deadline:
        scores = scored(runner, batch([0.2]))

    assert scores["slow"] == pytest.approx([0.2])


def test_one_shadow_that_fails_does_not_silence_another_and_is_complained_of_once_without_values(runner_of, told):
    runner = runner_of(shadow("broken", error=ValueError("card 4111 is odd")), shadow("sound"))

    with capture_logs() as logs:
        scores = [scored(runner, batch([0.1])) for _ in range(2)]

    assert [list(each) for each in scores] == [["sound"], ["sound"]]
    assert told == [("broken", "failed"), ("sound", "scored")] * 2
    assert [(entry["shadow"], entry["reason"]) for entry in logs] == [("broken", "ValueError")]


def test_a_shadow_whose_fields_cannot_be_read_fails_alone_until_they_can(runner_of, told):
    attempts = []

    def reader_of(features):
        attempts.append(features)
        if len(attempts) == 1:
            raise ConfigurationError("the schema of the input has no field V2")
        return Reading(batch([0.5, 0.6]))

    runner = runner_of(replace(shadow("own"), reader_of=reader_of), shadow("sound"))

    scores = [scored(runner, batch([0.1, 0.2])) for _ in range(3)]

    assert [list(each) for each in scores] == [["sound"], ["own", "sound"], ["own", "sound"]]
    assert scores[1]["own"] == pytest.approx([0.5, 0.6])
    assert attempts == [("V1", "V2")] * 2


def test_a_row_that_the_variants_cannot_read_has_no_score_though_a_shadow_reads_it(runner_of):
    own = replace(shadow("own"), reader_of=lambda _features: Reading(batch([0.5, 0.6])))
    columns = batch([0.1, 0.2])
    columns.reason[1] = Reason.KILLED_THE_PROCESS

    scores = scored(runner_of(own), columns)

    assert scores["own"] == pytest.approx([0.5, np.nan], nan_ok=True)


@dataclass
class Reading:
    """A reader of what was decoded before."""

    columns: Columns

    def read(self, payloads):
        return self.columns


def test_our_own_errors_are_said_in_full(runner_of):
    with capture_logs() as logs:
        scored(runner_of(shadow("broken", error=ConfigurationError("V3 is missing"))), batch([0.1]))

    assert logs[0]["reason"] == "V3 is missing"


@pytest.mark.parametrize("answer", [np.array([0.5]), np.array([[0.1], [0.2]]), np.array(["a", "b"])])
def test_an_answer_that_is_no_score_for_each_row_is_a_failure(runner_of, told, answer):
    assert scored(runner_of(shadow("odd", answer=answer)), batch([0.1, 0.2])) == {}
    assert told == [("odd", "failed")]


def test_a_score_that_is_no_number_is_none(runner_of):
    scores = scored(runner_of(shadow("odd", answer=np.array([np.inf, 0.2]))), batch([0.1, 0.2]))

    assert scores["odd"] == pytest.approx([np.nan, 0.2], nan_ok=True)


def test_without_shadows_nothing_is_scored(runner_of, told):
    assert scored(runner_of(), batch([0.1])) == {}
    assert told == []


def test_a_runner_that_nobody_holds_lets_go_of_its_models_and_threads():
    model = shadow("ending")
    runner = ShadowRunner([model], 10.0, lambda _name, _outcome: None)
    scored(runner, batch([0.1]))
    gone, model = weakref.ref(model.scorer), None

    runner = None

    deadline = time.monotonic() + 10
    while gone() is not None or any(thread.name == "shadow ending" for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "the model is held"
        time.sleep(0.01)
