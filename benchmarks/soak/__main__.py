"""Find what only shows after hours: ``python -m benchmarks.soak``."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks.bed import in_real_mix, train
from benchmarks.chaos.stage import Setting
from benchmarks.report import machine
from benchmarks.soak import report
from benchmarks.soak.judge import HOUR
from benchmarks.soak.play import BROKER, JUDGED_FROM_SECONDS, TOPIC_SETTINGS, Tell, soaking
from deploy.kafka.broker import running_broker
from schemas.errors import FraudstreamError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "soak.md"


def main(
    hours: Annotated[float, typer.Option(min=0.01, help="How long.")] = 2.0,
    rate: Annotated[
        float | None,
        typer.Option(min=100, help="Transactions a second.", show_default="half of what is measured at the beginning"),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the moments and the order of the faults.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    keep_logs: Annotated[Path | None, typer.Option(help="A new folder for the logs of the processes.")] = None,
) -> None:
    """Run two workers and a drift monitor under load and faults, and tell whether what they hold of the machine grows.

    Exits 1 where an audit finds something, or where after the warm-up memory grows by 1 MB an hour or more, or threads
    or open files grow. From half an hour on the result replaces that of docs/soak.md.
    """
    console = Console(stderr=True, width=None if sys.stderr.isatty() else 150)
    try:
        with (
            _laid_out(console, keep_logs) as setting,
            _bar(console) as tell,
            soaking(setting, hours * HOUR, seed, tell) as run,
        ):
            soaked = run.play(rate)
    except FraudstreamError as error:
        console.print(f"[red]{error}", soft_wrap=True)
        sys.exit(error.exit_code)
    command = f"make soak HOURS={hours:g}" + ("" if rate is None else f" RATE={rate:g}")
    if as_json:
        document = {"command": command, "machine": machine(), "clean": soaked.clean, "result": soaked}
        sys.stdout.buffer.write(msgspec.json.encode(document) + b"\n")
    else:
        shown = Console(width=None if sys.stdout.isatty() else 150)
        shown.print(report.table(soaked))
        for sentence in report.sentences(soaked):
            shown.print(sentence, markup=False, highlight=False, soft_wrap=True)
    if hours * HOUR >= JUDGED_FROM_SECONDS:
        report.draw(PAGE.with_suffix(".svg"), run.lives, run.faults)
        report.update(PAGE, soaked, command)
    sys.exit(0 if soaked.clean else 1)


@contextlib.contextmanager
def _laid_out(console: Console, logs: Path | None) -> Iterator[Setting]:
    """A broker that forgets in time, and workers with the settings of a user."""
    with tempfile.TemporaryDirectory(prefix="fraudstream-soak-") as scratch:
        home = Path(scratch)
        with console.status("training a model on the bundled sample"):
            train(home / "model")
        if logs is not None:
            logs.mkdir(parents=True)
        with running_broker(properties=BROKER) as broker:
            yield Setting(broker, home / "model", in_real_mix(), logs or home, worker=(), topic_settings=TOPIC_SETTINGS)


@contextlib.contextmanager
def _bar(console: Console) -> Iterator[Tell]:
    """A bar where that is a terminal, and a line for each thing that happens."""
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("soak", total=1.0)

        def tell(what: str, share: float) -> None:
            progress.update(task, completed=share)
            if what:
                console.print(f"{share:4.0%} {what}", markup=False, highlight=False)

        yield tell


if __name__ == "__main__":
    typer.run(main)
