"""A leak is found in samples of one process, and what only comes and goes is none."""

import numpy as np
import pytest

from benchmarks.soak.judge import Life, judge, levels

WARM = 600.0


def life(hours=1.0, memory=0.0, files=0.0, threads=0.0):
    """Samples every 2 s of a worker that wobbles as one under load does, plus what the test adds, (n,) or a number."""
    at = np.arange(0, hours * 3600, 2.0)
    random = np.random.default_rng(1)
    return Life(
        "worker",
        at,
        250 + random.normal(0, 1.5, len(at)) + memory,
        24 + random.integers(0, 2, len(at)) + threads,
        40 + random.integers(0, 6, len(at)) + files,
    )


def hours_of(hours=1.0):
    return np.arange(0, hours * 3600, 2.0) / 3600


def test_a_process_that_only_wobbles_is_flat():
    verdict = judge(life(), WARM)

    assert verdict.judged
    assert verdict.complaints == ()


def test_memory_that_grows_by_two_mb_an_hour_under_the_wobble_is_found():
    verdict = judge(life(memory=2 * hours_of()), WARM)

    assert verdict.memory.low < 2 < verdict.memory.high
    assert verdict.complaints == (f"the memory of worker grows by {verdict.memory.per_hour:.2f} MB an hour",)


def test_half_of_the_bar_is_allowed():
    assert judge(life(hours=2, memory=0.5 * hours_of(2)), WARM).complaints == ()


def test_what_is_taken_while_it_warms_up_is_no_growth():
    filling = life(memory=np.minimum(100, 300 * hours_of()))

    assert judge(filling, 2 * WARM).complaints == ()
    assert judge(filling, 0).complaints != ()


def test_memory_that_is_given_back_is_no_growth():
    during_a_fault = 60.0 * (np.arange(1800) % 300 < 60)

    assert judge(life(memory=during_a_fault), WARM).complaints == ()


def test_memory_that_lies_free_until_it_is_given_back_is_no_growth_and_what_stays_is():
    free = hours_of() * (np.arange(1800) % 15)
    kept = 2 * hours_of()

    assert judge(life(memory=10 * free), WARM).complaints == ()
    assert judge(life(memory=10 * free + kept), WARM).complaints != ()


@pytest.mark.parametrize(("kind", "what"), [("files", "open files"), ("threads", "threads")])
def test_one_that_is_left_open_every_quarter_of_an_hour_is_found(kind, what):
    left_open = np.floor(hours_of() * 4)

    (complaint,) = judge(life(**{kind: left_open}), WARM).complaints

    assert complaint.startswith(f"the {what} of worker grow by")


@pytest.mark.parametrize("kind", ["files", "threads"])
def test_those_that_are_closed_again_are_no_growth(kind):
    reconnecting = 8.0 * (np.arange(1800) % 250 < 100)

    assert judge(life(**{kind: reconnecting}), WARM).complaints == ()


def test_a_short_life_is_not_judged_however_it_grows():
    verdict = judge(life(hours=0.3, memory=1000 * hours_of(0.3)), WARM)

    assert not verdict.judged
    assert verdict.complaints == ()
    assert verdict.most_memory > 500


def test_levels_are_those_of_each_minute_that_has_samples():
    at, values = np.array([0.0, 10, 50, 130, 150]), np.array([1.0, 9, 2, 5, 7])

    times, medians = levels(at, values, np.median)
    _, least = levels(at, values, np.min)

    assert times.tolist() == [10, 140]
    assert medians.tolist() == [2, 6]
    assert least.tolist() == [1, 5]
