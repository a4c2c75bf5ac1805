"""``fraudstream demo``: watch real card transactions being scored."""

import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from fraudstream.commands.connection import Properties
from fraudstream.commands.options import pairs
from fraudstream.demo.cluster import Cluster, embedded_cluster, real_cluster
from fraudstream.demo.tally import Summary
from fraudstream.demo.view import print_summary, step
from schemas.errors import ConfigurationError


def demo(
    bootstrap_servers: Annotated[
        str | None, typer.Option(help="A real Kafka, for exactly once. [default: a broker inside this process]")
    ] = None,
    kafka: Properties = None,
    rate: Annotated[float, typer.Option(min=1, max=20_000, help="Transactions a second.")] = 500,
    drift: Annotated[
        bool, typer.Option("--drift", help="Send amounts in cents from the middle on, and see it noticed.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Only the summary, as one JSON object.")] = False,
) -> None:
    """Watch real card transactions being scored, on this machine alone.

    Trains on the earlier ones, starts a worker, sends it those that came later, counts what comes out, and lets the
    drift monitor look at what was scored. Nothing
    has to be installed or running: the broker is librdkafka's mock cluster, inside this process. It knows no
    transactions, so the worker delivers at least once there; with --bootstrap-servers it delivers exactly once, in
    topics of its own which are deleted at the end. Exits 1 if a decision is missing or, where it was promised
    exactly once, doubled.

    fraudstream demo --bootstrap-servers 127.0.0.1:9092
    """
    if kafka and bootstrap_servers is None:
        raise ConfigurationError(
            "--kafka: the broker inside this process takes no properties; give --bootstrap-servers"
        )
    console = Console(quiet=as_json)
    with _interruptible(), ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fraudstream-demo-")))
        cluster = stack.enter_context(
            real_cluster(bootstrap_servers, pairs("--kafka", kafka)) if bootstrap_servers else embedded_cluster()
        )
        summary = _run(console, cluster, rate, scratch, drifts=drift)
    if as_json:
        typer.echo(json.dumps(summary.to_dict()))
    else:
        print_summary(console, summary, _program())
    if not summary.kept_its_promise:
        raise typer.Exit(1)


def _run(console: Console, cluster: Cluster, rate: float, scratch: Path, *, drifts: bool) -> Summary:
    # pandas and XGBoost take seconds to load; `fraudstream --help` should not wait for them.
    with step(console, "Loading the libraries"):
        from fraudstream.demo.run import run  # noqa: PLC0415

    return run(console, cluster, rate, scratch, drifts=drifts)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Ctrl-C and SIGTERM end a run as they should: everything is taken down, and the exit code says why."""

    def stop(number: int, _frame: object) -> NoReturn:
        # Once is enough: a second one must not leave topics or a worker behind. Both end by themselves within seconds.
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        print("stopping the worker ...", file=sys.stderr)  # noqa: T201 - for the person who waits
        raise typer.Exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    yield


def _program() -> str:
    """How this program can be called again from here."""
    return (
        "fraudstream" if shutil.which("fraudstream") else os.path.relpath(Path(sys.executable).with_name("fraudstream"))
    )
