"""docker-compose.yml as Docker Compose itself understands it: merged, interpolated, and checked."""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def tool(name):
    """A program that came with a package of the development group."""
    return str(Path(sys.executable).parent / name)


@functools.cache
def services():
    """The services by name, each with every field that it has in the end."""
    command = [tool("docker-compose"), "--project-directory", str(ROOT), "config", "--format", "json"]
    # Nobody's .env or variables: what is checked are the defaults.
    environment = {"PATH": os.environ["PATH"], "COMPOSE_DISABLE_ENV_FILE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["services"]
