"""Fallen workers come back, with patience; those that can never run end the whole."""

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka import Message
from worker_stream import wait_until

from consumer.delivery import Messages, Outbox
from consumer.in_hand import InHand
from consumer.quarantine import Careful
from consumer.records import RecordBatch
from consumer.settings import WorkerSettings
from consumer.supervisor import Supervisor, pause_after


def die_until_third_life(settings, hand):
    """Fall twice, then run until told to stop."""
    lives = Path(f"{settings.application}.{settings.slot}")
    with lives.open("a") as file:
        file.write("x")
    if lives.stat().st_size < 3:
        os.kill(os.getpid(), signal.SIGKILL)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        time.sleep(0.01)


def refuse(settings, hand):
    return 78


def ignore_the_request_to_end(settings, hand):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(settings.application).write_text("x")
    while True:
        time.sleep(0.01)


def crash_on_the_537th(settings, hand):
    """Process a thousand records in batches, and note them; one of them ends the process."""
    done = Path(f"{settings.application}.done")

    def process(records):
        if 537 in records.offsets.tolist() and (0, 537) not in hand.suspects.quarantined:
            with Path(f"{settings.application}.crashes").open("a") as file:
                file.write("x")
            ctypes.string_at(0)
        return Outbox([Messages("out", 0, records.offsets.tolist())])

    process = Careful(process, process, InHand(hand.memory), hand.suspects)
    for start in range(0, 1_000, 100):
        records = [Message(topic="in", partition=0, offset=offset, value=b"") for offset in range(start, start + 100)]
        outbox = process(RecordBatch.of("in", records))
        if not done.exists() or start >= int(done.read_text()):
            done.write_text(f"{start + 100}")
            with Path(f"{settings.application}.offsets").open("a") as file:
                file.writelines(f"{offset}\n" for messages in outbox.messages for offset in messages.messages)
    return 78


def fall_then_find_no_broker_twice(settings, hand):
    """Fall in the first life; in the next two no broker answers; then something is wrong for good."""
    lives = Path(settings.application)
    with lives.open("a") as file:
        file.write("x")
    if lives.stat().st_size == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    if lives.stat().st_size == 4:
        return 77

    # Only here: the other processes of this file start in a tenth of the time without them.
    from consumer import worker
    from consumer.topics import BrokerUnavailableError
    from fraudstream.commands.score import run_worker

    def find_none(*_):
        raise BrokerUnavailableError("bootstrap_servers: no broker answers")

    worker.Worker = find_none
    return run_worker(settings, hand)


def supervise(target, application, connection, **settings):
    connection.send(Supervisor(WorkerSettings(application=str(application), **settings), target).run())


@pytest.fixture
def start():
    """A function that runs a supervisor in a process of its own: the process, and the end of a pipe for its result."""
    processes = []

    def run(target, application, **settings):
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process(
            target=supervise, args=(target, application, there), kwargs=settings
        )
        process.start()
        processes.append(process)
        return process, here

    yield run
    for process in processes:
        process.kill()
        process.join()


def test_the_pause_doubles_up_to_half_a_minute_and_while_no_broker_answers_up_to_five_seconds():
    assert [pause_after(failures, 1) for failures in (1, 2, 3, 2_000)] == [0.2, 0.4, 0.8, 30.0]
    assert [pause_after(failures, os.EX_TEMPFAIL) for failures in (1, 2, 3, 2_000)] == [0.2, 0.4, 0.8, 5.0]


def test_a_killed_worker_is_restarted_in_its_slot(tmp_path, start):
    supervisor, exit_code = start(die_until_third_life, tmp_path / "lives", workers=2)
    lives = [tmp_path / "lives.0", tmp_path / "lives.1"]

    wait_until(lambda: all(path.exists() and path.stat().st_size == 3 for path in lives))
    os.kill(supervisor.pid, signal.SIGTERM)
    supervisor.join(10)

    assert exit_code.recv() == 0


def test_a_record_that_crashes_the_process_is_found_after_three_crashes_and_no_other_is_lost(tmp_path, start):
    supervisor, exit_code = start(crash_on_the_537th, tmp_path / "crash")
    supervisor.join(120)

    assert exit_code.recv() == 78
    assert (tmp_path / "crash.crashes").read_text() == "xxx"
    assert [int(line) for line in (tmp_path / "crash.offsets").read_text().split()] == list(range(1_000))


def test_a_slot_that_has_run_before_waits_for_brokers_that_are_away(tmp_path, start):
    supervisor, exit_code = start(fall_then_find_no_broker_twice, tmp_path / "lives")
    supervisor.join(60)

    assert exit_code.recv() == 77
    assert (tmp_path / "lives").read_text() == "xxxx"


def test_a_configuration_error_ends_all_workers(tmp_path, start):
    supervisor, exit_code = start(refuse, tmp_path / "unused", workers=2)
    supervisor.join(20)

    assert exit_code.recv() == 78


def test_a_worker_that_will_not_end_is_killed(tmp_path, start):
    supervisor, exit_code = start(ignore_the_request_to_end, tmp_path / "alive", stop_seconds=0.5)
    wait_until((tmp_path / "alive").exists)
    os.kill(supervisor.pid, signal.SIGTERM)
    supervisor.join(10)

    assert exit_code.recv() == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")
def test_workers_do_not_outlive_a_killed_supervisor(tmp_path, start):
    supervisor, _ = start(die_until_third_life, tmp_path / "lives")
    lives = tmp_path / "lives.0"
    wait_until(lambda: lives.exists() and lives.stat().st_size == 3)
    children = [int(pid) for pid in Path(f"/proc/{supervisor.pid}/task/{supervisor.pid}/children").read_text().split()]
    assert children

    os.kill(supervisor.pid, signal.SIGKILL)
    supervisor.join(5)

    wait_until(lambda: not any(alive(pid) for pid in children))


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False
