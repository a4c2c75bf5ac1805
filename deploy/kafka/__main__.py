"""``python -m deploy.kafka start|stop|status``: a Kafka that stays up to try things on, its data kept in .cache."""

import contextlib
import fcntl
import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from deploy.jvm import CACHE, is_listening, start, wait_until
from deploy.kafka.broker import answers, broker_jars, prepare
from schemas.errors import ConfigurationError, FraudstreamError

HOME = CACHE / "kafka" / "local"
PIDFILE = HOME / "pid"
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command(name="start")
def start_command(port: Annotated[int, typer.Option(help="Where it listens, on 127.0.0.1.")] = 9092) -> None:
    """Start the broker in the background; print its address when it answers."""
    running = _running()
    if running is None:
        _start(port)
    elif running[1] != port:
        raise ConfigurationError(f"a broker of this checkout already runs on port {running[1]}; stop it first")
    typer.echo(f"127.0.0.1:{port}")


@app.command()
def stop() -> None:
    """Stop the broker. Its topics are there again at the next start."""
    running = _running()
    if running is None:
        return
    os.kill(running[0], signal.SIGTERM)
    deadline = time.monotonic() + 10
    while _running() is not None:
        if time.monotonic() > deadline:
            os.killpg(running[0], signal.SIGKILL)
        time.sleep(0.05)
    PIDFILE.unlink(missing_ok=True)


@app.command()
def status() -> None:
    """Print the broker's address; exit code 1 if it does not run."""
    running = _running()
    if running is None:
        typer.echo("no broker runs")
        raise typer.Exit(1)
    typer.echo(f"127.0.0.1:{running[1]} (process {running[0]}, data and log in {HOME})")


def _start(port: int) -> None:
    if is_listening(port):
        raise ConfigurationError(f"another program listens on port {port}; choose one with --port")
    command = prepare(broker_jars(), HOME, port, {})
    process = start(command, HOME / "broker.log")
    PIDFILE.write_text(f"{process.pid} {port}")
    try:
        wait_until(lambda: answers(port), lambda: process.poll() is None, HOME / "broker.log")
    except BaseException:
        process.kill()
        raise
    # The broker stays when this process ends; Popen would warn that nobody waits for it.
    process.returncode = 0


def _running() -> tuple[int, int] | None:
    """Process id and port of the broker, if it runs: it locks its data directory as long as it lives."""
    with contextlib.suppress(FileNotFoundError), Path(HOME / "data" / ".lock").open("r+") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid, port = PIDFILE.read_text().split()
            return int(pid), int(port)
    return None


def main() -> None:
    """Run the command; an error is one sentence and an exit code."""
    try:
        app()
    except FraudstreamError as error:
        print(error, file=sys.stderr)  # noqa: T201 - the sentence for the person
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
