"""Run a real MLflow server, with SQLite, for as long as a test needs it."""

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from deploy.jvm import CACHE, Server, free_ports, is_listening, locked
from schemas.errors import ConfigurationError

_LOCK = Path(__file__).resolve().parent / "requirements.lock"


@contextlib.contextmanager
def running_mlflow() -> Iterator[str]:
    """The URL of an empty server that lives as long as the block.

    Raises ConfigurationError where its packages cannot be had, FraudstreamError if it does not come up.
    """
    python = _environment() / "bin" / "python"
    port = free_ports(1)[0]
    with tempfile.TemporaryDirectory(prefix="fraudstream-mlflow-") as home:
        command = [str(python), "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{home}/mlflow.db", "--artifacts-destination", f"{home}/files"]
        # Without the first it starts three more processes; without the second it reports to its makers.
        settings = ["MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false", "MLFLOW_DISABLE_TELEMETRY=true"]
        server = Server(["env", "-u", "MLFLOW_TRACKING_URI", *settings, *command], Path(home) / "mlflow.log")
        try:
            server.wait_until(lambda: is_listening(port))
            yield f"http://127.0.0.1:{port}"
        finally:
            server.stop()


def _environment() -> Path:
    """A virtual environment with the server alone, made once for each content of its lock file."""
    digest = hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:12]
    made = CACHE / "mlflow" / f"environment-{digest}"
    made.parent.mkdir(parents=True, exist_ok=True)
    with locked(made.with_suffix(".lock")):
        if not (made / "ready").is_file():
            shutil.rmtree(made, ignore_errors=True)
            _install(made)
            (made / "ready").touch()
    return made


def _install(into: Path) -> None:
    uv = [sys.executable, "-m", "uv"]
    install = [
        *uv,
        "pip",
        "install",
        "-q",
        "--compile-bytecode",
        "--python",
        str(into),
        "--require-hashes",
        "-r",
        str(_LOCK),
    ]
    for command in ([*uv, "venv", "-q", "--python", sys.executable, str(into)], install):
        result = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
        if result.returncode != 0:
            reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise ConfigurationError(f"MLflow's server could not be installed: {reason}")
