"""Run a real MLflow server, with SQLite, for as long as a test needs it."""

import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from deploy.jvm import CACHE, Server, free_ports, is_listening, locked
from schemas.errors import ConfigurationError

_HERE = Path(__file__).resolve().parent
_LOCK = _HERE / "requirements.lock"


@contextlib.contextmanager
def running_mlflow() -> Iterator[str]:
    """The URL of an empty server, started as the Dockerfile starts it, that lives as long as the block.

    Raises ConfigurationError where its packages cannot be had, FraudstreamError if it does not come up.
    """
    python = _environment() / "bin" / "python"
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="fraudstream-mlflow-") as home:
        everywhere = "0.0.0.0"  # noqa: S104 - what is exchanged # nosec B104
        words = _words_of_the_image({"/mlflow": home, "5000": str(port), everywhere: "127.0.0.1"})
        command = ["env", "-u", "MLFLOW_TRACKING_URI", *_variables_of_the_image(), str(python), "-m", *words]
        server = Server(command, Path(home) / "mlflow.log")
        try:
            server.wait_until(lambda: is_listening(port))
            yield f"http://127.0.0.1:{port}"
        finally:
            server.stop()


def _words_of_the_image(here: Mapping[str, str]) -> list[str]:
    """What the Dockerfile starts, with what is elsewhere ``here``."""
    started = re.findall(r"^(?:ENTRYPOINT|CMD) (.*)", _dockerfile(), re.MULTILINE)
    there = re.compile("|".join(map(re.escape, here)))
    return [there.sub(lambda found: here[found[0]], word) for part in started for word in json.loads(part)]


def _variables_of_the_image() -> list[str]:
    return re.findall(r"\bMLFLOW_\w+=\S+", _dockerfile())


def _dockerfile() -> str:
    return (_HERE / "Dockerfile").read_text().replace("\\\n", "")


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
