"""Run worker processes, kill them, start them again, and note which ended by themselves."""

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from urllib.request import urlopen

from benchmarks.watch import worker_metrics
from deploy.jvm import Server, free_ports


class Worker:
    """One process on one slot, as a user would start it."""

    def __init__(self, command: Sequence[str], slot: int, log: Path) -> None:
        self.slot = slot
        self._port = free_ports(1)[0]
        # A worker adds its slot to the port that it is given.
        own = ("--slot", str(slot), "--metrics-port", str(self._port - slot))
        self.process = Server([*command, *own], log)

    @property
    def below(self) -> int:
        """The process that works, where this one is the parent that restarts it (Linux)."""
        pid = self.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        (working,) = (each for each in children if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes())
        return int(working)

    @property
    def scored(self) -> int:
        """Records that this very process has published; 0 while it does not answer."""
        with suppress(OSError, HTTPException):
            return int(worker_metrics(self._port).get("batches", {}).get("records_sum", 0))
        return 0

    @property
    def ready(self) -> bool:
        """Whether it owns partitions."""
        with suppress(OSError, HTTPException), urlopen(f"http://127.0.0.1:{self._port}/readyz", timeout=5) as answer:
            return bool(answer.status == HTTPStatus.OK)
        return False


class Crew:
    """The workers of one scenario, by slot."""

    def __init__(self, options: Sequence[str], home: Path, sabotage: Sequence[str] = ()) -> None:
        """``options`` are those of ``fraudstream score``; ``sabotage`` names faults that the workers bring along."""
        program = ["fraudstream"] if not sabotage else ["benchmarks.chaos.sabotage", ",".join(sabotage)]
        self._command = [sys.executable, "-m", *program, "score", *options]
        self._home = home
        self._workers: dict[int, Worker] = {}
        self.killed = 0
        self.ended: Counter[int] = Counter()
        """How many ended by themselves, by exit code."""

    @property
    def workers(self) -> list[Worker]:
        """Those that should be running."""
        return list(self._workers.values())

    def start(self, *slots: int) -> None:
        """Start a worker on each of the slots."""
        for slot in slots:
            self._workers[slot] = Worker(self._command, slot, self._home / f"slot-{slot}.log")

    def kill(self, worker: Worker) -> None:
        """SIGKILL, and a new one on the same slot."""
        self.lose(worker)
        self.start(worker.slot)

    def lose(self, worker: Worker) -> None:
        """SIGKILL, and nobody in its place."""
        worker.process.kill()
        self.killed += 1
        del self._workers[worker.slot]

    def stop(self, *slots: int) -> None:
        """Ask the workers of these slots to end; whoever does not end well is noted."""
        leaving = [self._workers.pop(slot) for slot in slots]
        for worker in leaving:
            worker.process.stop()
            if worker.process.exit_code:
                self.ended[worker.process.exit_code] += 1

    def tend(self) -> None:
        """Start again whoever has ended by itself."""
        for worker in self.workers:
            if (code := worker.process.exit_code) is not None:
                self.ended[code] += 1
                self.start(worker.slot)

    def close(self) -> None:
        """Leave no process behind."""
        for worker in self.workers:
            worker.process.kill()
        self._workers.clear()
