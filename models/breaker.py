"""Decide whether an endpoint is asked at all, from how its last requests ended; ``now`` is in s of any clock."""

from collections import deque
from enum import IntEnum

from models.endpoint import Breaker


class State(IntEnum):
    """Closed: ask. Half open: ask for what is known, to see. Open: do not ask."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Ended(IntEnum):
    """How a request ended. A refusal of what was asked is an answer like any other."""

    ANSWERED = 0
    FAILED = 1
    TIMED_OUT = 2


class CircuitBreaker:
    """Counts the last requests, and opens when too many of them went wrong (Nygard, Release It!, chapter 5).

    It begins half open: nobody has yet seen the endpoint answer. The libraries at hand count failures in a row, and
    time-outs like any other.
    """

    def __init__(self, rules: Breaker) -> None:
        self._rules = rules
        self._last: deque[Ended] = deque(maxlen=rules.window)
        self._state = State.HALF_OPEN
        self._probe_at = 0.0
        self._answered = 0
        self.openings = 0

    def state(self, now: float) -> State:
        """The state; one that is open becomes half open when it is time for a probe."""
        if self._state is State.OPEN and now >= self._probe_at:
            self._state, self._answered = State.HALF_OPEN, 0
        return self._state

    def opens_in(self, now: float) -> float:
        """Seconds until an open breaker lets a probe through."""
        return max(0.0, self._probe_at - now) if self._state is State.OPEN else 0.0

    def probed(self, *, right: bool, now: float) -> State:
        """A probe was answered rightly, or not: enough right ones in a row close it, a wrong one opens it again."""
        self._answered += 1
        if not right:
            self._open(now)
        elif self._answered >= self._rules.probes:
            self._state = State.CLOSED
            self._last.clear()
        return self._state

    def ended(self, ended: Ended, now: float) -> State:
        """A request ended so."""
        self._last.append(ended)
        count = len(self._last)
        if self._state is State.CLOSED and count >= self._rules.least:
            timed_out = self._last.count(Ended.TIMED_OUT)
            wrong = timed_out + self._last.count(Ended.FAILED)
            if wrong >= self._rules.errors * count or timed_out >= self._rules.timeouts * count:
                self._open(now)
        return self._state

    def _open(self, now: float) -> None:
        self._state, self._probe_at = State.OPEN, now + self._rules.probe_seconds
        self.openings += 1
