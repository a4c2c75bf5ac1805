"""Run calls beside each other on threads that hold up nobody's end: one that hangs is left behind."""

import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

Result = TypeVar("Result")


class Lanes(Generic[Result]):
    """``count`` daemon threads that end when nobody holds this any more and they have nothing to do.

    The threads of a ThreadPoolExecutor are waited for when a process ends.
    """

    def __init__(self, count: int, name: str) -> None:
        self._jobs: SimpleQueue[tuple[Callable[[], Result], Future[Result]] | None] = SimpleQueue()
        for _ in range(count):
            Thread(target=_work, args=(self._jobs,), name=name, daemon=True).start()
        weakref.finalize(self, _end, self._jobs, count)

    def submit(self, call: Callable[[], Result]) -> "Future[Result]":
        """The result to come."""
        future: Future[Result] = Future()
        self._jobs.put((call, future))
        return future


def _end(jobs: "SimpleQueue[tuple[Callable[[], Result], Future[Result]] | None]", count: int) -> None:
    for _ in range(count):
        jobs.put(None)


def _work(jobs: "SimpleQueue[tuple[Callable[[], Result], Future[Result]] | None]") -> None:
    while (job := jobs.get()) is not None:
        call, future = job
        if future.set_running_or_notify_cancel():
            try:
                future.set_result(call())
            except BaseException as error:  # noqa: BLE001 - it is the business of whoever asks for the result
                future.set_exception(error)
        del job, call, future
