"""Run Shopify's toxiproxy for as long as a benchmark needs it: a real TCP proxy that slows, cuts and swallows."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import msgspec

from deploy.jvm import CACHE, Server, free_ports, is_listening, locked
from schemas.errors import ConfigurationError

HERE = Path(__file__).resolve().parent


class Link:
    """One way through the proxy: who connects to ``port`` reaches ``upstream``, both on 127.0.0.1."""

    def __init__(self, api: str, port: int, upstream: int) -> None:
        self.port = port
        self._api = api
        self._name = f"link-{port}"
        self._post("/proxies", name=self._name, listen=f"127.0.0.1:{port}", upstream=f"127.0.0.1:{upstream}")

    def slow(self, delay_ms: int, jitter_ms: int) -> None:
        """Delay what goes through, each way."""
        for stream in ("upstream", "downstream"):
            self._infect("latency", stream, latency=delay_ms, jitter=jitter_ms)

    def narrow(self, kilobytes_a_second: int) -> None:
        """Let so much through, each way."""
        for stream in ("upstream", "downstream"):
            self._infect("bandwidth", stream, rate=kilobytes_a_second)

    def cut(self) -> None:
        """Close every connection, and refuse new ones."""
        self._post(f"/proxies/{self._name}", enabled=False)

    def swallow(self, *streams: str) -> None:
        """Let connections live and nothing through: ``upstream`` are requests, ``downstream`` the answers."""
        for stream in streams:
            self._infect("timeout", stream, timeout=0)

    def heal(self) -> None:
        """Be a wire again. Connections whose bytes were swallowed are closed: what was swallowed never comes."""
        self._post("/reset")

    def _infect(self, kind: str, stream: str, **attributes: int) -> None:
        self._post(f"/proxies/{self._name}/toxics", type=kind, stream=stream, attributes=attributes)

    def _post(self, path: str, **content: object) -> None:
        request = Request(self._api + path, msgspec.json.encode(content), method="POST")  # noqa: S310 - our own http URL
        with urlopen(request, timeout=10):  # noqa: S310 - our own http URL # nosec B310
            pass


@contextlib.contextmanager
def running_link(port: int, upstream: int) -> Iterator[Link]:
    """A link for as long as the block lasts.

    Raises ConfigurationError where Go cannot build the proxy, FraudstreamError if it does not come up.
    """
    program = fetch_toxiproxy()
    (api,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="fraudstream-toxiproxy-") as home:
        server = Server([str(program), "-host", "127.0.0.1", "-port", str(api)], Path(home) / "toxiproxy.log")
        try:
            server.wait_until(lambda: is_listening(api))
            yield Link(f"http://127.0.0.1:{api}", port, upstream)
        finally:
            server.kill()


def fetch_toxiproxy() -> Path:
    """The program, built the first time from the version and the hashes in go.mod and go.sum.

    Raises ConfigurationError without Go, and with Go's own reason where it fails.
    """
    if shutil.which("go") is None:
        raise ConfigurationError("toxiproxy needs Go 1.24, and there is no go on the PATH")
    digest = hashlib.sha256((HERE / "go.sum").read_bytes()).hexdigest()[:12]
    program = CACHE / "toxiproxy" / f"toxiproxy-{digest}"
    program.parent.mkdir(parents=True, exist_ok=True)
    with locked(program.with_suffix(".lock")):
        if not program.is_file():
            partial = program.with_suffix(".partial")
            command = ["go", "build", "-mod=readonly", "-o", str(partial), "github.com/Shopify/toxiproxy/v2/cmd/server"]
            result = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False, env=os.environ)
            if result.returncode != 0:
                reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
                raise ConfigurationError(f"Go could not build toxiproxy: {reason}")
            partial.rename(program)
    return program
