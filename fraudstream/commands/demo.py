"""``fraudstream demo``: watch real card transactions being scored."""

import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console

from fraudstream.commands.connection import Properties, pairs
from fraudstream.demo.cluster import Cluster, embedded_cluster, real_cluster
from fraudstream.demo.serve import last_words, worker
from fraudstream.demo.tally import Summary, Tally, summarise
from fraudstream.demo.view import print_summary, step, watching
from producer import sample_path
from schemas.errors import ConfigurationError, FraudstreamError


def demo(
    bootstrap_servers: Annotated[
        str | None, typer.Option(help="A real Kafka, for exactly once. [default: a broker inside this process]")
    ] = None,
    kafka: Properties = None,
    rate: Annotated[float, typer.Option(min=1, max=20_000, help="Transactions a second.")] = 500,
    as_json: Annotated[bool, typer.Option("--json", help="Only the summary, as one JSON object.")] = False,
) -> None:
    """Train on real card transactions, start a worker, send it those that came later, and count what comes out.

    Nothing has to be installed or running: the broker is librdkafka's mock cluster, inside this process. It knows no
    transactions, so the worker delivers at least once there; with --bootstrap-servers it delivers exactly once, in
    topics of its own which are deleted at the end. Exits 1 if a decision is missing or, where it was promised exactly
    once, doubled.

    fraudstream demo --bootstrap-servers 127.0.0.1:9092
    """
    if kafka and bootstrap_servers is None:
        raise ConfigurationError("--kafka: the broker inside this process takes no properties; give --bootstrap-servers")
    console = Console(quiet=as_json)
    with _interruptible(), ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fraudstream-demo-")))
        cluster = stack.enter_context(
            real_cluster(bootstrap_servers, pairs("--kafka", kafka)) if bootstrap_servers else embedded_cluster()
        )
        summary = _run(console, cluster, rate, scratch)
    if as_json:
        typer.echo(json.dumps(summary.to_dict()))
    else:
        print_summary(console, summary, _program())
    if not summary.kept_its_promise:
        raise typer.Exit(1)


def _run(console: Console, cluster: Cluster, rate: float, scratch: Path) -> Summary:
    # pandas and XGBoost take seconds to load; `fraudstream --help` should not wait for them.
    with step(console, "Loading the libraries"):
        from fraudstream.demo.stream import Reader, held_out, sending, watch  # noqa: PLC0415
        from models.train import TrainingSettings, train_to  # noqa: PLC0415
        from producer.publish import Pace  # noqa: PLC0415
        from schemas.dataset import read_dataset  # noqa: PLC0415
    dataset, settings, model = read_dataset(sample_path()), TrainingSettings(), scratch / "model"
    rows = held_out(dataset, settings.shares)
    with step(console, f"Training on the first {rows.first:,} of {len(dataset.frame):,} real card transactions"):
        train_to(model, dataset, settings)
    with closing(Reader(cluster)) as reader:
        reader.get_ready()
        with ExitStack() as stack:
            with step(console, f"Starting a worker that delivers {cluster.delivery.value.replace('_', ' ')}"):
                server = stack.enter_context(worker(cluster, model, scratch))
            console.print(f"Sending the {rows.count:,} that came later, which the model has never seen", highlight=False)
            pace = Pace(time.time(), rate)
            tally = Tally(rows.truth(pace))
            with watching(console, tally) as show, sending(cluster, rows, pace) as check_sender:

                def check() -> None:
                    check_sender()
                    if not server.running:
                        raise FraudstreamError(f"the worker ended: {last_words(server)}")

                watch(reader, tally, rows.count / rate, show, check)
        # Only now, with the worker gone, can nothing come that would be doubled.
        reader.read_to_end(tally)
    return summarise(tally, cluster.delivery.value)


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
    return "fraudstream" if shutil.which("fraudstream") else os.path.relpath(sys.argv[0])
