"""Fetch a Java server's jars once, and run it so that it never outlives whoever started it."""

import atexit
import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from schemas.errors import ConfigurationError, FraudstreamError

CACHE = Path(__file__).resolve().parents[1] / ".cache"
DEADLINE_SECONDS = 180.0
"""Who dies while it starts is noticed at once; on a starved machine a broker was seen to need more than a minute."""

# Linux kills the server when the process that started it dies, however it dies; elsewhere atexit has to do. The
# request survives exec. If the parent died before it was made, nobody would ever answer it: hence the comparison.
_TIED_TO_PARENT = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execvp(sys.argv[2], sys.argv[2:])
"""


def fetch_jars(pom: Path, goal: str) -> Path:
    """The directory with what ``pom`` depends on: copied (or unpacked) by the Maven goal, once for each content of it.

    An interrupted fetch leaves nothing behind, and two at once fetch once. Raises ConfigurationError without Java
    or Maven, and with Maven's own reason where it fails.
    """
    digest = hashlib.sha256(pom.read_bytes()).hexdigest()[:12]
    jars = CACHE / pom.parent.name / f"jars-{digest}"
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            raise ConfigurationError(f"{pom.parent.name} needs Java 17 and Maven, and there is no {tool} on the PATH")
    jars.parent.mkdir(parents=True, exist_ok=True)
    with locked(jars.with_suffix(".lock")):
        if not jars.is_dir():
            partial = Path(tempfile.mkdtemp(prefix="fetching-", dir=jars.parent))
            try:
                _run_maven(pom, goal, partial)
                partial.rename(jars)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return jars


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Only one process at a time is in here."""
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _run_maven(pom: Path, goal: str, into: Path) -> None:
    command = [
        "mvn",
        "-q",
        "-B",
        "-ntp",
        "-Dstyle.color=never",
        "-f",
        str(pom),
        f"dependency:{goal}",
        f"-DoutputDirectory={into}",
    ]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        lines = [line for line in result.stdout.splitlines() if line.startswith("[ERROR]")]
        reason = lines[0].removeprefix("[ERROR] ") if lines else result.stderr.strip()
        raise ConfigurationError(f"Maven could not fetch the jars of {pom.parent.name}: {reason}")


class Server:
    """A server in a process group of its own, with its output in a file. Kill it or stop it; atexit kills it too."""

    def __init__(self, command: Sequence[str], log_path: Path, environment: Mapping[str, str] | None = None) -> None:
        """``environment`` is ours unless given."""
        self.log_path = log_path
        tie = [sys.executable, "-S", "-E", "-c", _TIED_TO_PARENT, str(os.getpid())]
        # A group of its own: Ctrl-C reaches only the test run, which then stops its servers in order.
        self._process = start(tie + list(command), log_path, environment)
        atexit.register(self.kill)

    @property
    def pid(self) -> int:
        """Of the server itself, and of its process group."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How the process ended (minus the number of the signal), None while it runs."""
        return self._process.poll()

    def stop(self) -> None:
        """Ask for a clean end; kill what has not ended after ten seconds."""
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        self.kill()

    def kill(self) -> None:
        """SIGKILL to the process group, and wait until it is gone. Does nothing to a server that has ended."""
        if self.running:
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()
        atexit.unregister(self.kill)

    def wait_until(self, ready: Callable[[], bool]) -> None:
        """Return when ``ready``. Raises FraudstreamError with the end of the log if it dies or takes too long."""
        wait_until(ready, lambda: self.running, self.log_path)


def start(
    command: Sequence[str], log_path: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a command as the leader of a new process group, its output appended to a file."""
    with log_path.open("ab") as log:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
        )


def wait_until(ready: Callable[[], bool], alive: Callable[[], bool], log_path: Path) -> None:
    """Return when ``ready``. Raises FraudstreamError with the end of the log if it dies or takes too long."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not ready():
        if not alive() or time.monotonic() > deadline:
            what = "took too long to start" if alive() else "ended while it started"
            tail = log_path.read_text(errors="replace")[-2000:]
            raise FraudstreamError(f"the server {what}; {log_path} ends with:\n{tail}")
        time.sleep(0.05)


def free_ports(count: int) -> list[int]:
    """Ports on 127.0.0.1 that nobody listens on, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def is_listening(port: int) -> bool:
    """Whether somebody accepts connections on this port of 127.0.0.1."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
