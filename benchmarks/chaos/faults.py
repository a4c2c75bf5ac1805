"""Say what is done to the network, the broker and its disk, and to a worker's sleep, while transactions keep coming."""

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.chaos.scenarios import Scenario
from benchmarks.chaos.stage import Stage
from deploy.toxiproxy.server import Link

Strike = Callable[[Stage], None]

SHORT = 12.0
"""Seconds: more than a session of these workers (6) and than ``socket.timeout.ms`` (10)."""
LONG = 45.0
"""Seconds: more than ``transaction.timeout.ms`` (30) and the brokers' sweep after it (10)."""


def faults() -> list[Scenario]:
    """All of them; 2 workers each, and the workers alone are behind the proxy."""
    return [
        Scenario(
            "slow network",
            f"200 ± 100 ms and 500 kB/s each way for {SHORT:.0f} s, twice",
            partial(_network, _slow, (SHORT, SHORT)),
        ),
        Scenario(
            "cut network",
            f"every connection closed and new ones refused, for {SHORT:.0f} s twice and for {LONG:.0f} s",
            partial(_network, Link.cut, (SHORT, SHORT, LONG)),
        ),
        Scenario(
            "black hole",
            f"connections live and nothing gets through, for {SHORT:.0f} and {LONG:.0f} s",
            partial(_network, partial(_swallow, "upstream", "downstream"), (SHORT, LONG)),
        ),
        Scenario(
            "answers lost",
            f"requests arrive and no answer does, for {SHORT:.0f} and {LONG:.0f} s",
            partial(_network, partial(_swallow, "downstream"), (SHORT, LONG)),
        ),
        Scenario("broker killed", "SIGKILL of the broker, twice, and started again at once", _broker_killed),
        Scenario(
            "brokers away",
            "no broker for 60 s, and one of 2 supervised workers killed meanwhile",
            _brokers_away,
            options=("--supervise",),
        ),
        Scenario("disk full", "no file of the broker can grow; it halts, and is started again with room", _disk_full),
        Scenario("zombie", "SIGSTOP until the other worker has taken over, then SIGCONT, twice", _zombie),
    ]


def _slow(link: Link) -> None:
    link.slow(200, 100)
    link.narrow(500)


def _swallow(*arguments: str | Link) -> None:
    *streams, link = arguments
    assert isinstance(link, Link)
    link.swallow(*map(str, streams))


def _network(harm: Callable[[Link], None], holds: tuple[float, ...], stage: Stage, events: int) -> None:
    link = stage.link
    assert link is not None
    for hold in _rounds(stage, events, holds):
        harm(link)
        stage.hold(hold)
        link.heal()


def _broker_killed(stage: Stage, events: int) -> None:
    for _ in _rounds(stage, events, (0.0, 0.0)):
        stage.kill_broker()


def _brokers_away(stage: Stage, events: int) -> None:
    """Notes as well how long it takes until both workers own partitions again."""
    mended = 0.0
    for hold in _rounds(stage, events, (60.0,)):
        stage.kill_broker(partial(_kill_below_and_hold, stage, hold))
        mended = time.monotonic()
    stage.wait_for_owners(2)
    stage.recoveries.append(time.monotonic() - mended)


def _kill_below_and_hold(stage: Stage, seconds: float) -> None:
    os.kill(stage.random.choice(stage.crew.workers).below, signal.SIGKILL)
    stage.crew.killed += 1
    stage.hold(seconds)


def _disk_full(stage: Stage, events: int) -> None:
    """A limit on the size of files: appends fail as on a full disk, in the same place of the broker (EFBIG, ENOSPC)."""
    for _ in _rounds(stage, events, (0.0,)):
        resource.prlimit(stage.broker.pid, resource.RLIMIT_FSIZE, (1, resource.RLIM_INFINITY))
        stage.loader.allow(events * 3 // 4)
        stage.wait(lambda: not stage.broker.running, "that the broker halts")
        stage.kill_broker(lambda: stage.hold(5.0))


def _zombie(stage: Stage, events: int) -> None:
    for number, _ in enumerate(_rounds(stage, events, (0.0, 0.0))):
        victim = stage.busy_worker()
        os.kill(victim.process.pid, signal.SIGSTOP)
        stage.loader.allow(events * (4 * number + 3) // 8)
        stage.wait(lambda: stage.loader.idle and stage.caught_up(), "that the other worker takes over")
        os.kill(victim.process.pid, signal.SIGCONT)


def _rounds(stage: Stage, events: int, holds: tuple[float, ...]) -> Iterator[float]:
    """One round for each hold: in the middle of some work the caller breaks something and mends it.

    Then more work comes, and how long it takes until some of it is done is noted.
    """
    stage.crew.start(0, 1)
    stage.wait_for_owners(2)
    for number, hold in enumerate(holds):
        done = stage.done()
        stage.loader.allow(events * (2 * number + 1) // (2 * len(holds)))
        stage.wait(lambda done=done: stage.done() > done, "progress")  # type: ignore[misc]
        time.sleep(stage.random.uniform(0, 0.2))
        yield hold
        mended, done = time.monotonic(), stage.done()
        stage.loader.allow(events * (2 * number + 2) // (2 * len(holds)))
        stage.wait(lambda done=done: stage.done() > done, "progress after it was mended")  # type: ignore[misc]
        stage.recoveries.append(time.monotonic() - mended)
