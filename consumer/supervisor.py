"""Keep N workers running, one process and one slot each: restart those that fall, and find the record that fells."""

import ctypes
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from typing import Any

import structlog

from consumer.in_hand import InHand, shared_memory
from consumer.quarantine import Hand, Suspects
from consumer.settings import WorkerSettings

log = structlog.get_logger()

FIRST_PAUSE_SECONDS = 0.2
LONGEST_PAUSE_SECONDS = 30.0
OUTAGE_PAUSE_SECONDS = 5.0
"""At most between two starts that find no broker: each asks for ten seconds, so they are soon found again."""
FORGIVEN_AFTER_SECONDS = 60.0
FINAL_EXIT_CODES = (77, 78)
"""A missing right and a wrong setting do not mend themselves by trying again."""
CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)
"""What native code dies of. Not SIGKILL: that comes from outside, and no record is to blame."""


@dataclass(slots=True)
class _Slot:
    """One slot, its process, and when it may start again."""

    settings: WorkerSettings
    memory: Any
    suspects: Suspects = field(default_factory=Suspects)
    process: BaseProcess | None = None
    started: float = 0.0
    restart_at: float = 0.0
    failures: int = 0


def pause_after(failures: int, exit_code: int) -> float:
    """Seconds before the next start after so many failures in a row, the last of them with this exit code."""
    longest = OUTAGE_PAUSE_SECONDS if exit_code == os.EX_TEMPFAIL else LONGEST_PAUSE_SECONDS
    return min(longest, FIRST_PAUSE_SECONDS * 2.0 ** min(failures - 1, 10))


class Supervisor:
    """Runs ``target`` once for each slot of the settings, in processes of their own, until told to stop."""

    def __init__(self, settings: WorkerSettings, target: Callable[[WorkerSettings, Hand], int]) -> None:
        self._target = target
        self._stop_seconds = settings.stop_seconds
        self._context = multiprocessing.get_context("spawn")
        self._slots = [
            _Slot(
                settings.model_copy(update={"slot": settings.slot + number, "workers": 1}), shared_memory(self._context)
            )
            for number in range(settings.workers)
        ]
        self._stopping = False

    def run(self, finished: Callable[[], bool] = lambda: False) -> int:
        """Start all slots, restart what falls, stop when ``finished`` or on SIGTERM or SIGINT.

        The exit code of the whole.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        exit_code = 0
        while not self._stopping and not exit_code and not finished():
            exit_code = max((self._tend(slot) for slot in self._slots), default=0)
            time.sleep(0.05)
        return self._end() or exit_code

    def _on_signal(self, _number: int, _frame: object) -> None:
        self._stopping = True

    def _tend(self, slot: _Slot) -> int:
        """Look after one slot; non-zero when it can never run again."""
        now = time.monotonic()
        if slot.process is None:
            if now >= slot.restart_at:
                self._start(slot, now)
            return 0
        if slot.process.is_alive():
            return 0
        code = slot.process.exitcode or 0
        slot.process = None
        if code in FINAL_EXIT_CODES:
            return code
        if -code in CRASHES:
            self._suspect(slot)
        slot.failures = 1 if now - slot.started > FORGIVEN_AFTER_SECONDS else slot.failures + 1
        slot.restart_at = now + pause_after(slot.failures, code)
        log.warning("worker_fell", slot=slot.settings.slot_id, exit_code=code, restart_in=slot.restart_at - now)
        return 0

    def _suspect(self, slot: _Slot) -> None:
        """Take note of what the process had in hand that has just crashed."""
        in_hand = InHand(slot.memory).take()
        known = slot.suspects.quarantined
        slot.suspects = slot.suspects.after_crash(in_hand)
        ranges = [f"{each.partition}:{each.first}-{each.last}" for each in in_hand]
        log.error("worker_crashed", slot=slot.settings.slot_id, in_hand=ranges)
        for partition, offset in slot.suspects.quarantined - known:
            log.error("record_quarantined", slot=slot.settings.slot_id, partition=partition, offset=offset)

    def _start(self, slot: _Slot, now: float) -> None:
        hand = Hand(slot.memory, slot.suspects, restarted=slot.started > 0)
        slot.started = now
        slot.process = self._context.Process(
            target=_run_slot, args=(self._target, slot.settings, hand, os.getpid()), name=slot.settings.slot_id
        )
        slot.process.start()

    def _end(self) -> int:
        """Ask every worker to end, then insist. 1 if one had to be killed."""
        running = [slot.process for slot in self._slots if slot.process is not None]
        for process in running:
            process.terminate()
        deadline = time.monotonic() + self._stop_seconds
        killed = 0
        for process in running:
            process.join(max(0.0, deadline - time.monotonic()))
            if process.is_alive():
                log.error("worker_killed", slot=process.name)
                process.kill()
                process.join()
                killed = 1
        return killed


def _run_slot(target: Callable[[WorkerSettings, Hand], int], settings: WorkerSettings, hand: Hand, parent: int) -> None:
    die_with_parent(parent)
    os.setpgrp()  # Ctrl-C reaches the parent alone, which passes it on: a second signal would end us at once
    sys.exit(target(settings, hand))


def die_with_parent(parent: int) -> None:
    """Have the kernel kill this process when its parent is gone, however it went (Linux: prctl(2))."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        if os.getppid() != parent:  # it went before we asked
            os.kill(os.getpid(), signal.SIGKILL)
