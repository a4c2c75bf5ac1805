"""End a process in time after SIGTERM or SIGINT, whatever call of the Kafka client it is waiting in."""

import os
import select
import signal
import threading
from types import FrameType, TracebackType
from typing import Self

import structlog

log = structlog.get_logger()

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Stopping:
    """``requested`` is true from the first signal on; ``seconds`` later the process exits 0, ready or not.

    What that cuts off is at most a transaction that never commits, and the next start of the slot aborts it. A second
    signal ends the process at once.
    """

    def __init__(self, seconds: float) -> None:
        self.requested = False
        self._seconds = seconds

    def __enter__(self) -> Self:
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._writer, False)
        # Python's handlers wait for a call into C to return; the byte that it writes for them does not.
        self._wakeup_before = signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)
        self._handlers_before = {number: signal.signal(number, self._on_signal) for number in SIGNALS}
        self._watch = threading.Thread(target=self._end_in_time, name="stopping", daemon=True)
        self._watch.start()
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup_before)
        os.close(self._writer)
        self._watch.join()
        os.close(self._reader)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True

    def _end_in_time(self) -> None:
        if not self._next_signal(None):
            return
        second = self._next_signal(self._seconds)
        if second is None:
            log.warning("ended_while_waiting", seconds=self._seconds)
            os._exit(0)
        if second:
            os._exit(128 + second[0])

    def _next_signal(self, seconds: float | None) -> bytes | None:
        """Its number as a byte, none (empty) when all is over, None when there was none in so many seconds."""
        ready, _, _ = select.select([self._reader], [], [], seconds)
        return os.read(self._reader, 1) if ready else None
