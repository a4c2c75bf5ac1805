"""Say what is done to the workers and the broker in each scenario, while transactions keep coming."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from confluent_kafka import Consumer, Producer

from benchmarks.chaos.stage import Stage
from consumer.settings import WorkerSettings

SECONDS = 20
"""Scenarios that do something every second do it so often."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """``play`` is given a stage and the number of records to let through; ``sabotage`` is built into the workers."""

    name: str
    what: str
    play: Callable[[Stage, int], None]
    share: int = 5
    """It is given one record for so many of the kills."""
    sabotage: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    """Of the workers, beside those that all have."""


def scenarios(kills: int, broker_kills: int) -> list[Scenario]:
    """All of them."""
    killed = f"SIGKILL of one of 3 workers, {kills} times" + (
        f", of the broker, {broker_kills} times" if broker_kills else ""
    )
    return [
        Scenario("kills", killed, partial(_kills, kills, broker_kills), share=1),
        Scenario(
            "aborts", "every third transaction of 2 workers aborted", _run_through, sabotage=("abort_one_in_three",)
        ),
        Scenario("fences", f"a fence every second, {SECONDS} times, 2 workers", _fences),
        Scenario("rescale", "1 → 2 → 5 → 3 → 1 workers under load", _rescale),
        Scenario("rolling restart", "3 workers restarted one by one, twice, under load", _rolling_restart),
        Scenario("rebalance storm", f"a member joins and leaves, {SECONDS} times, 2 workers", _storm),
    ]


def _kills(kills: int, broker_kills: int, stage: Stage, events: int) -> None:
    """Kill at a random moment of a stretch of records, by whoever has published something since it was started."""
    stage.crew.start(0, 1, 2)
    with_broker = {(number + 1) * kills // (broker_kills + 1) for number in range(broker_kills)}
    for number, done in enumerate(_parts(stage, events, kills + 1)):
        if number == kills:
            return
        stretch = events / (kills + 1)
        goal = done + stage.random.uniform(0.05, 0.8) * stretch
        stage.wait(lambda goal=goal: stage.done() >= goal, "progress")  # type: ignore[misc]
        victim = stage.busy_worker()
        time.sleep(stage.random.uniform(0, 0.05))
        stage.crew.kill(victim)
        if number in with_broker:
            stage.kill_broker()


def _run_through(stage: Stage, events: int) -> None:
    stage.crew.start(0, 1)
    stage.loader.allow(events)


def _fences(stage: Stage, events: int) -> None:
    """Somebody else initialises the transactional ids of the workers, one every second."""
    stage.crew.start(0, 1)
    for number, _ in enumerate(_parts(stage, events, SECONDS)):
        stage.hold(1)
        slot = stage.settings.model_copy(update={"slot": number % 2}).slot_id
        fence(stage.settings, f"{slot}.{'ab'[number // 2 % 2]}")


def fence(settings: WorkerSettings, transactional_id: str) -> None:
    """Initialise the transactional id of a worker, as another process on its slot would."""
    intruder = Producer(
        {"bootstrap.servers": settings.bootstrap_servers, "transactional.id": transactional_id, "log_level": 0}
    )
    intruder.init_transactions(30)


def _rescale(stage: Stage, events: int) -> None:
    stage.crew.start(0)
    sizes = (1, 2, 5, 3, 1)
    for size, _ in zip(sizes, _parts(stage, events, len(sizes)), strict=True):
        running = {worker.slot for worker in stage.crew.workers}
        stage.crew.start(*(set(range(size)) - running))
        stage.crew.stop(*(running - set(range(size))))
        stage.wait_for_owners(size)


def _rolling_restart(stage: Stage, events: int) -> None:
    stage.crew.start(0, 1, 2)
    stage.wait_for_owners(3)
    for number, done in enumerate(_parts(stage, events, 6)):
        goal = done + events / 6 / 4
        stage.wait(lambda goal=goal: stage.done() >= goal, "progress")  # type: ignore[misc]
        stage.crew.stop(number % 3)
        stage.crew.start(number % 3)
        stage.wait_for_owners(3)


def _storm(stage: Stage, events: int) -> None:
    """A guest without a slot joins the group, is given partitions, does nothing with them and leaves."""
    stage.crew.start(0, 1)
    for _ in _parts(stage, events, SECONDS):
        visit(stage)


def visit(stage: Stage) -> None:
    """Be such a guest for a second."""
    guest = Consumer(
        {
            "bootstrap.servers": stage.settings.bootstrap_servers,
            "group.id": stage.settings.group,
            "partition.assignment.strategy": "cooperative-sticky",
            "enable.auto.commit": False,
            "log_level": 0,
        }
    )
    guest.subscribe([stage.settings.input_topic])
    deadline = time.monotonic() + 1
    while time.monotonic() < deadline:
        guest.poll(0.05)
        stage.crew.tend()
    guest.close()


def _parts(stage: Stage, events: int, count: int) -> Iterator[int]:
    """Let the records through in so many parts, each when some worker is ready; what was done before it."""
    for number in range(count):
        stage.wait_for_owners()
        done = stage.done()
        stage.loader.allow(events * (number + 1) // count)
        yield done
