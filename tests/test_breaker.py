"""An endpoint is left alone when too much goes wrong, and asked again when it has had its time."""

from models.breaker import CircuitBreaker, Ended, State
from models.endpoint import Breaker

RULES = Breaker(window=10, least=4, errors=0.5, timeouts=0.3, probe_seconds=5, probes=2)


def closed(rules=RULES):
    breaker = CircuitBreaker(rules)
    for _ in range(rules.probes):
        breaker.probed(right=True, now=0)
    return breaker


def after(breaker, *ended, now=0.0):
    for each in ended:
        breaker.ended(each, now)
    return breaker.state(now)


def test_it_begins_half_open_and_closes_after_enough_right_probes():
    breaker = CircuitBreaker(RULES)

    states = [breaker.state(0), breaker.probed(right=True, now=0), breaker.probed(right=True, now=0)]

    assert states == [State.HALF_OPEN, State.HALF_OPEN, State.CLOSED]


def test_half_of_the_requests_failing_open_it_and_fewer_do_not():
    good, bad = Ended.ANSWERED, Ended.FAILED

    assert after(closed(), good, good, good, bad, bad) is State.CLOSED
    assert after(closed(), good, good, good, bad, bad, bad) is State.OPEN


def test_fewer_time_outs_than_failures_open_it():
    good, late = Ended.ANSWERED, Ended.TIMED_OUT

    assert after(closed(), good, good, good, good, good, late, late) is State.CLOSED
    assert after(closed(), good, good, good, good, late, late) is State.OPEN


def test_a_few_requests_say_nothing_yet():
    assert after(closed(), Ended.FAILED, Ended.FAILED, Ended.FAILED) is State.CLOSED
    assert after(closed(), Ended.FAILED, Ended.FAILED, Ended.FAILED, Ended.FAILED) is State.OPEN


def test_a_long_good_time_is_forgotten_when_it_lies_beyond_the_window():
    breaker = closed()

    after(breaker, *[Ended.ANSWERED] * 100, *[Ended.FAILED] * 4)
    assert breaker.state(0) is State.CLOSED
    assert after(breaker, Ended.FAILED) is State.OPEN


def test_it_stays_open_until_the_probe_is_due_and_a_wrong_probe_opens_it_for_as_long_again():
    breaker = closed()
    after(breaker, *[Ended.FAILED] * 4, now=100)

    assert (breaker.state(104.9), breaker.opens_in(104)) == (State.OPEN, 1)
    assert (breaker.state(105), breaker.opens_in(105)) == (State.HALF_OPEN, 0)
    assert breaker.probed(right=False, now=106) is State.OPEN
    assert (breaker.state(110.9), breaker.state(111)) == (State.OPEN, State.HALF_OPEN)
    assert breaker.openings == 2


def test_right_probes_count_only_in_a_row_and_a_closed_breaker_begins_anew():
    breaker = closed()
    after(breaker, *[Ended.FAILED] * 4, now=0)
    assert breaker.state(5) is State.HALF_OPEN
    breaker.probed(right=True, now=5)
    breaker.probed(right=False, now=5)
    assert breaker.state(10) is State.HALF_OPEN

    assert breaker.probed(right=True, now=10) is State.HALF_OPEN
    assert breaker.probed(right=True, now=10) is State.CLOSED
    assert after(breaker, *[Ended.FAILED] * 3, now=10) is State.CLOSED


def test_a_late_end_of_a_request_from_before_does_not_move_the_time_of_the_probe():
    breaker = closed()
    after(breaker, *[Ended.FAILED] * 4, now=0)

    after(breaker, Ended.FAILED, now=4)

    assert breaker.state(5) is State.HALF_OPEN
