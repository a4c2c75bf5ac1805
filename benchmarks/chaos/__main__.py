"""Break workers and brokers on purpose and prove that nothing is lost: ``python -m benchmarks.chaos``."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.bed import in_real_mix, train
from benchmarks.chaos import report
from benchmarks.chaos.play import Played, play
from benchmarks.chaos.scenarios import scenarios
from benchmarks.chaos.stage import Setting
from deploy.kafka.broker import running_broker
from schemas.errors import FraudstreamError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"


def main(
    kills: Annotated[int, typer.Option(min=1, help="How often a worker is killed.")] = 25,
    events: Annotated[
        int, typer.Option(min=1000, help="Transactions during the kills; the others get a fifth.")
    ] = 100_000,
    broker_kills: Annotated[int, typer.Option(min=0, help="How often the broker is killed meanwhile.")] = 3,
    only: Annotated[list[str] | None, typer.Option(help="Play this scenario alone; may be given again.")] = None,
    seed: Annotated[int, typer.Option(help="Of the moments and the victims; the machine adds its own.")] = 1,
    keep_logs: Annotated[Path | None, typer.Option(help="A new folder for the logs of the workers.")] = None,
) -> None:
    """Kill workers and the broker, abort, fence, rescale and restart, and audit the decisions after each.

    A reader of committed records looks on during the run. Exits 1 unless everything was clean. A run of all scenarios
    takes some ten minutes on two cores, and rewrites the table of docs/reliability.md.
    """
    console = Console(width=None if sys.stdout.isatty() else 150)
    chosen = [each for each in scenarios(kills, broker_kills) if not only or each.name in only]
    if not chosen:
        raise typer.BadParameter(f"{only} is no scenario", param_hint="--only")
    played: list[Played] = []
    try:
        with _laid_out(console, keep_logs) as setting:
            for scenario in chosen:
                with console.status(f"{scenario.name}: {scenario.what}"):
                    played.append(play(setting, scenario, events // scenario.share, seed))
                console.print(report.line(played[-1]), soft_wrap=True)
    except FraudstreamError as error:
        console.print(f"[red]{error}", soft_wrap=True)
        sys.exit(error.exit_code)
    console.print(report.table(played))
    if not only:
        report.update(PAGE, played, f"make chaos KILLS={kills} EVENTS={events}")
    sys.exit(0 if all(each.clean for each in played) else 1)


@contextlib.contextmanager
def _laid_out(console: Console, logs: Path | None) -> Iterator[Setting]:
    """A broker, a model and a folder, for as long as the block lasts."""
    with tempfile.TemporaryDirectory(prefix="fraudstream-chaos-") as scratch:
        home = Path(scratch)
        with console.status("training a model on the bundled sample"):
            train(home / "model")
        if logs is not None:
            logs.mkdir(parents=True)
        with running_broker() as broker:
            yield Setting(broker, home / "model", in_real_mix(), logs or home)


if __name__ == "__main__":
    typer.run(main)
