"""Try models in a process that may crash, hang or run out of memory instead of this one."""

import hashlib
import json
import os
import select
import struct
import subprocess
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from models.manifest import brief
from schemas.errors import BadModelError, FraudstreamError

TRIAL_SECONDS = 20.0
TRIAL_BYTES = 512 * 2**20
"""What a trial may take on top of what its process takes before it."""

START_SECONDS = 60.0
"""The import of XGBoost takes one second, on a machine with nothing else to do."""

MAX_VERDICT_BYTES = 4096

_KEPT = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")


class Sandbox:
    """One process with XGBoost loaded, which tries each model in a fork of its own.

    It starts to load when this object is made, so that whoever makes it early does not wait for it later. It has none
    of this process's environment: secrets are no business of a model.
    """

    def __init__(self, seconds: float = TRIAL_SECONDS, memory: int = TRIAL_BYTES) -> None:
        """``seconds`` and ``memory`` (bytes) are what one trial may take."""
        self._seconds = seconds
        environment = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environment |= {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        # A fork has no threads but its own: a pool made before it would be waited for in vain.
        environment |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "models.trial", repr(seconds), str(memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the worker, which ends this process in its own time
            bufsize=0,
        )

    def check(self, files: Mapping[str, bytes], source: str) -> None:
        """Raise BadModelError, naming ``source`` and the reason, unless the model loads and scores as it should.

        ``files`` holds the manifest and the members. Raises FraudstreamError where no process can be had to try it.
        """
        try:
            self._send(files)
            verdict = self._receive(time.monotonic() + START_SECONDS + self._seconds)
        except (OSError, ValueError) as error:
            self.close()
            raise FraudstreamError(
                f"{source} could not be tried: `{sys.executable} -m models.trial` did not answer ({error})"
            ) from error
        if verdict is not None:
            raise BadModelError(f"{source} was refused on trial: {verdict}")

    def _send(self, files: Mapping[str, bytes]) -> None:
        assert self._process.stdin is not None
        header = json.dumps({name: len(content) for name, content in files.items()}).encode()
        for part in (struct.pack(">q", len(header)), header, *files.values()):
            rest = memoryview(part)
            while rest:
                rest = rest[self._process.stdin.write(rest) :]

    def _receive(self, deadline: float) -> str | None:
        """The reason for a refusal, or None. A process that broke out of its trial may say anything: it is bounded."""
        assert self._process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, deadline - time.monotonic()))
            if not ready:
                raise TimeoutError("it took too long")
            part = self._process.stdout.read(MAX_VERDICT_BYTES)
            if not part:
                raise EOFError("it ended")
            line += part
            if len(line) > MAX_VERDICT_BYTES:
                raise ValueError("it said too much")
        reason = json.loads(line)["reason"]
        return None if reason is None else brief(ValueError(reason))

    def close(self) -> None:
        """End the process, which waits for nothing but the next model."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Trials:
    """Tries models, the same bytes once and never again, in a sandbox that starts when it is needed.

    ``close`` ends the sandbox; what passed is remembered, and whoever needs another trial gets another sandbox.
    """

    def __init__(self) -> None:
        self._passed: set[bytes] = set()
        self._sandbox: Sandbox | None = None

    def check(self, files: Mapping[str, bytes], source: str) -> None:
        """As ``Sandbox.check``."""
        identity = _identity(files)
        if identity in self._passed:
            return
        if self._sandbox is None:
            self._sandbox = Sandbox()
        self._sandbox.check(files, source)
        self._passed.add(identity)

    def close(self) -> None:
        """End the sandbox, if there is one."""
        if self._sandbox is not None:
            self._sandbox.close()
            self._sandbox = None


def _identity(files: Mapping[str, bytes]) -> bytes:
    digests = (f"{name} {hashlib.sha256(content).hexdigest()}\n" for name, content in sorted(files.items()))
    return hashlib.sha256("".join(digests).encode()).digest()
