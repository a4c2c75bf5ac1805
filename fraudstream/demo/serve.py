"""Run a worker as a user would, ``fraudstream score`` in a process of its own, untouched by settings lying around."""

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

from deploy.jvm import Server, free_ports
from fraudstream.demo.cluster import Cluster
from fraudstream.settings import PREFIX
from schemas.errors import FraudstreamError

START_SECONDS = 60.0


@contextmanager
def worker(cluster: Cluster, model: Path, scratch: Path, starting: AbstractContextManager[None]) -> Iterator[Server]:
    """A worker that serves; ``scratch`` takes its settings and its log. Raises FraudstreamError if it does not start.

    ``starting`` lasts until it is ready. It is stopped at the end, and Linux kills it when this process is killed.
    """
    (port,) = free_ports(1)
    settings = scratch / "fraudstream.toml"
    settings.write_text(_toml(_settings(cluster, model, port)))
    command = [sys.executable, "-m", "fraudstream", "score", "--config", str(settings)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    server = Server(command, scratch / "worker.log", environment)
    try:
        with starting:
            _wait_until_ready(server, f"http://127.0.0.1:{port}/readyz")
        yield server
    finally:
        server.stop()


def last_words(server: Server) -> str:
    """What a worker that has ended said last."""
    lines = server.log_path.read_text(errors="replace").strip().splitlines()
    return lines[-1].removeprefix("fraudstream: ") if lines else "it said nothing"


def _settings(cluster: Cluster, model: Path, port: int) -> dict[str, Any]:
    return {
        "bootstrap_servers": cluster.connection.bootstrap_servers,
        "group": cluster.topics.transactions,
        "input_topic": cluster.topics.transactions,
        "decisions_topic": cluster.topics.decisions,
        "dead_letters_topic": cluster.topics.dead_letters,
        "samples_topic": cluster.topics.samples,
        "sample_rate": 1,  # a run is too short for less
        "delivery": cluster.delivery.value,
        "model": str(model),
        "metrics_port": port,
        "log_format": "json",
        "kafka": cluster.connection.given,
    }


def _toml(settings: dict[str, Any]) -> str:
    """TOML with its tables at the end. Strings of JSON are strings of TOML."""
    plain = [f"{name} = {json.dumps(value)}" for name, value in settings.items() if not isinstance(value, dict)]
    for name, table in settings.items():
        if isinstance(table, dict):
            plain += [f"[{name}]", *(f"{json.dumps(key)} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(plain) + "\n"


def _wait_until_ready(server: Server, url: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if not server.running:
            raise FraudstreamError(f"the worker ended before it began: {last_words(server)}")
        try:
            with urlopen(url, timeout=1):  # noqa: S310 - our own loopback address # nosec B310
                return
        except (URLError, OSError):
            time.sleep(0.05)
    raise FraudstreamError(f"the worker was not ready within {START_SECONDS:.0f} s")
