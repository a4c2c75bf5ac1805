"""``fraudstream demo``: watch real card transactions being scored."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from fraudstream import demo as run
from producer import sample_path
from producer.transactions import from_frame
from schemas.dataset import read_dataset
from schemas.errors import FraudstreamError

HELD_OUT = 0.2
REFRESH_SECONDS = 0.1


def demo(
    bootstrap_servers: Annotated[
        str | None, typer.Option(help="A real Kafka, for exactly-once; the broker inside this process if unset.")
    ] = None,
    rate: Annotated[float, typer.Option(min=1, max=20_000, help="Transactions a second.")] = 500,
    as_json: Annotated[bool, typer.Option("--json", help="Only the summary, as one JSON object.")] = False,
) -> None:
    """Train a model on real card transactions, start a worker, stream the later part of the data, and count.

    Nothing has to be installed or running: the broker is librdkafka's mock cluster inside this process. It knows no
    transactions, so there the worker delivers at least once; with --bootstrap-servers it delivers exactly once.
    Exits 1 if a transaction is missing or, delivered exactly once, doubled.
    """
    console = Console(stderr=as_json, quiet=as_json)
    with tempfile.TemporaryDirectory(prefix="fraudstream-demo-") as scratch:
        summary = _run(console, Path(scratch), bootstrap_servers, rate)
    if as_json:
        typer.echo(json.dumps(summary.to_dict()))
    else:
        _print_summary(console, summary)
    if summary.missing or (summary.doubled and summary.delivery == "exactly_once"):
        sys.exit(1)


def _run(console: Console, scratch: Path, bootstrap_servers: str | None, rate: float) -> run.Summary:
    dataset = read_dataset(sample_path())
    rows = run.later_part(from_frame(dataset.frame), HELD_OUT)
    delivery = "exactly_once" if bootstrap_servers else "at_least_once"
    with _step(console, f"Training on the first 80 % of {len(dataset.frame):,} real card transactions"):
        model = _train(scratch / "model")
    tally = run.Tally(frozenset(rows.transaction_id[rows.is_fraud].astype(str).tolist()))
    with ExitStack() as stack:
        address = bootstrap_servers or stack.enter_context(run.embedded_broker())
        topics = run.prepare_topics(address, embedded=bootstrap_servers is None)
        if bootstrap_servers is not None:
            stack.callback(run.delete_topics, address, topics)
        with _step(console, f"Starting a worker ({delivery.replace('_', ' ')})"):
            stack.enter_context(run.worker(address, topics, model, delivery, scratch / "worker.log"))
        console.print(f"Streaming the last 20 %, {len(rows):,} transactions that the model has never seen:\n")
        _stream_with_view(console, address, topics, rows, rate, tally)
    return run.summarise(tally, delivery, dataset.legitimate_kept)


@contextmanager
def _step(console: Console, text: str) -> Iterator[None]:
    began = time.monotonic()
    with console.status(f"{text} ..."):
        yield
    console.print(f"[green]✓[/] {text} [dim]{time.monotonic() - began:.1f} s[/]")


def _train(out: Path) -> Path:
    command = [sys.executable, "-m", "fraudstream", "train", "--out", str(out), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise FraudstreamError(f"training failed: {' '.join(done.stderr.strip().splitlines()[-1:])}")
    return out


def _stream_with_view(
    console: Console, address: str, topics: run.Topics, rows: run.Transactions, rate: float, tally: run.Tally
) -> None:
    shown = 0.0
    with Live(console=console, auto_refresh=False) as live:

        def show() -> None:
            nonlocal shown
            if time.monotonic() - shown > REFRESH_SECONDS:
                shown = time.monotonic()
                live.update(_view(tally, len(rows)), refresh=True)

        run.stream(address, topics, rows, rate, tally, show)
        live.update(_view(tally, len(rows)), refresh=True)


def _view(tally: run.Tally, total: int) -> Panel:
    recent = tally.latencies[-1000:]
    p50, p99 = np.percentile(recent, [50, 99]) * 1000 if recent else (0.0, 0.0)
    caught = tally.fraud_outcomes["decline"] + tally.fraud_outcomes["review"]
    passed = tally.fraud_outcomes["approve"]
    facts = Table.grid(padding=(0, 3))
    facts.add_row("scored", f"{len(tally.seen):,} of {total:,}", "throughput", f"{tally.rate:,.0f}/s")
    facts.add_row("latency p50", f"{p50:.0f} ms", "p99", f"{p99:.0f} ms")
    facts.add_row(
        "approved",
        f"{tally.outcomes['approve']:,}",
        "frauds caught",
        Text(f"{caught}", "bold green") + Text(f" and {passed} missed" if passed else "", "yellow"),
    )
    facts.add_row("in review", f"{tally.outcomes['review']:,}", "declined", f"{tally.outcomes['decline']:,}")
    return Panel(
        Group(ProgressBar(total=total, completed=len(tally.seen)), Text(), facts, Text(), _last_declined(tally)),
        title="fraud.decisions",
        border_style="cyan",
    )


def _last_declined(tally: run.Tally) -> Table:
    table = Table("last declined", "card", "score", "because of", "in truth", box=None, pad_edge=False, expand=True)
    for decision in reversed(tally.declined):
        reasons = ", ".join(code["feature"] for code in decision["reason_codes"])
        fraud = decision["transaction_id"] in tally.frauds
        truth = Text("fraud", "green") if fraud else Text("legitimate", "yellow")
        table.add_row(decision["transaction_id"], decision["unit"], f"{decision['score']:.4f}", reasons, truth)
    return table


def _print_summary(console: Console, summary: run.Summary) -> None:
    table = Table.grid(padding=(0, 3))
    counts = f"missing [bold]{summary.missing}[/], doubled [bold]{summary.doubled}[/]"
    if summary.dead_letters:
        counts += f", dead letters {summary.dead_letters}"
    caught = summary.frauds_declined + summary.frauds_reviewed
    table.add_row("transactions in", f"{summary.transactions_in:,}")
    table.add_row("decisions out", f"{summary.decisions_out:,}   {counts}")
    table.add_row("delivery", _DELIVERY[summary.delivery])
    table.add_row("latency", f"p50 {summary.p50_ms:.0f} ms, p99 {summary.p99_ms:.0f} ms, from sending to reading")
    table.add_row(
        "recall",
        f"{summary.recall:.1%}: {caught} of {summary.frauds} frauds "
        f"({summary.frauds_declined} declined, {summary.frauds_reviewed} sent to review)",
    )
    table.add_row(
        "precision",
        f"{summary.precision:.1%} of what was flagged here; {summary.precision_at_real_prior:.1%} where frauds are as "
        "rare as in reality",
    )
    console.print(Panel(table, title="summary", border_style="green"))
    console.print("\nNext:\n" + "\n".join(f"  [cyan]{command}[/]\n    {text}" for command, text in _next(summary)))


_DELIVERY = {
    "exactly_once": "exactly once: decisions and offsets in one Kafka transaction",
    "at_least_once": "at least once, as the broker inside this process knows no transactions",
}


def _next(summary: run.Summary) -> list[tuple[str, str]]:
    steps = [
        ("make test", "the same on a real Apache Kafka, with workers killed on the way"),
        (".venv/bin/fraudstream score --help", "point a worker at a topic of your own"),
        (".venv/bin/fraudstream config", "every setting, and what it means"),
    ]
    if summary.delivery == "at_least_once":
        address = "127.0.0.1:9092"
        command = f"make kafka && .venv/bin/fraudstream demo --bootstrap-servers {address}"
        steps.insert(0, (command, "this demo on a real broker, exactly once"))
    return steps
