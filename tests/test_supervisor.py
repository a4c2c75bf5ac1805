"""Fallen workers come back, with patience; those that can never run end the whole."""

import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from consumer.settings import WorkerSettings
from consumer.supervisor import NO_BROKER, Supervisor, pause_after


def die_until_third_life(settings):
    """Fall twice, then run until told to stop."""
    lives = Path(f"{settings.application}.{settings.slot}")
    with lives.open("a") as file:
        file.write("x")
    if lives.stat().st_size < 3:
        os.kill(os.getpid(), signal.SIGKILL)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while True:
        time.sleep(0.01)


def refuse(settings):
    return 78


def find_no_broker(settings):
    """Each time but the first, when there is a broker, and the process is killed."""
    lives = Path(settings.application)
    with lives.open("a") as file:
        file.write("x")
    if lives.stat().st_size == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return NO_BROKER


def never_find_a_broker(settings):
    return NO_BROKER


def ignore_the_request_to_end(settings):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Path(settings.application).write_text("x")
    while True:
        time.sleep(0.01)


def supervise(target, application, connection, **settings):
    connection.send(Supervisor(WorkerSettings(application=str(application), **settings), target).run())


def start(target, application, **settings):
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=supervise, args=(target, application, there), kwargs=settings
    )
    process.start()
    return process, here


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_the_pause_doubles_up_to_half_a_minute():
    assert [pause_after(failures) for failures in (1, 2, 3, 20)] == [0.2, 0.4, 0.8, 30.0]


def test_a_killed_worker_is_restarted_in_its_slot(tmp_path):
    supervisor, exit_code = start(die_until_third_life, tmp_path / "lives", workers=2)
    lives = [tmp_path / "lives.0", tmp_path / "lives.1"]

    wait_until(lambda: all(path.exists() and path.stat().st_size == 3 for path in lives))
    os.kill(supervisor.pid, signal.SIGTERM)
    supervisor.join(10)

    assert exit_code.recv() == 0


def test_a_configuration_error_ends_all_workers(tmp_path):
    supervisor, exit_code = start(refuse, tmp_path / "unused", workers=2)
    supervisor.join(20)

    assert exit_code.recv() == 78


def test_brokers_that_go_away_after_a_slot_has_run_are_waited_for(tmp_path):
    supervisor, exit_code = start(find_no_broker, tmp_path / "lives")
    lives = tmp_path / "lives"

    wait_until(lambda: lives.exists() and lives.stat().st_size >= 4)
    os.kill(supervisor.pid, signal.SIGTERM)
    supervisor.join(10)

    assert exit_code.recv() == 0


def test_brokers_that_do_not_answer_the_first_start_are_a_wrong_setting(tmp_path):
    supervisor, exit_code = start(never_find_a_broker, tmp_path / "unused", workers=2)
    supervisor.join(20)

    assert exit_code.recv() == 78


def test_a_worker_that_will_not_end_is_killed(tmp_path):
    supervisor, exit_code = start(ignore_the_request_to_end, tmp_path / "alive", stop_seconds=0.5)
    wait_until((tmp_path / "alive").exists)
    os.kill(supervisor.pid, signal.SIGTERM)
    supervisor.join(10)

    assert exit_code.recv() == 1


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child that its parent is gone")
def test_workers_do_not_outlive_a_killed_supervisor(tmp_path):
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
