"""Look every few seconds at what each process holds: memory, threads, open files."""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress

import numpy as np
import psutil

from benchmarks.soak.judge import Life

SECONDS = 2.0


class Census(threading.Thread):
    """A thread that samples the processes that ``living`` names, by name and process id, until it is closed."""

    def __init__(self, living: Callable[[], Mapping[str, int]]) -> None:
        super().__init__(name="census", daemon=True)
        self._living = living
        self._began = time.monotonic()
        self._samples: dict[tuple[str, int], list[tuple[float, ...]]] = defaultdict(list)
        self._closed = threading.Event()

    @property
    def age(self) -> float:
        """Seconds since the run began, the clock of the samples."""
        return time.monotonic() - self._began

    def close(self) -> list[Life]:
        """Look no more; the life of each process that was seen, in order of birth."""
        self._closed.set()
        self.join()
        return [Life(name, *np.array(samples).T) for (name, _), samples in self._samples.items()]

    def run(self) -> None:
        """Look again and again."""
        while not self._closed.wait(SECONDS):
            for name, pid in self._living().items():
                # Between the list and the look it may have been killed.
                with suppress(psutil.Error):
                    self._samples[name, pid].append((self.age, *_look(psutil.Process(pid))))


def _look(process: psutil.Process) -> tuple[float, float, float]:
    with process.oneshot():
        return process.memory_info().rss / 1e6, process.num_threads(), process.num_fds()
