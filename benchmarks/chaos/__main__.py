"""Break workers and brokers on purpose and prove that nothing is lost: ``python -m benchmarks.chaos``."""

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from benchmarks.bed import in_real_mix, train
from benchmarks.chaos import report
from benchmarks.chaos.faults import faults
from benchmarks.chaos.play import Played, play
from benchmarks.chaos.scenarios import scenarios
from benchmarks.chaos.stage import Setting
from deploy.jvm import free_ports
from deploy.kafka.broker import Detour, running_broker
from deploy.toxiproxy.server import running_link
from schemas.errors import FraudstreamError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reliability.md"


class Suite(StrEnum):
    """What is broken: processes, or what lies between and below them."""

    KILLS = "kills"
    FAULTS = "faults"


def main(
    suite: Annotated[Suite, typer.Option(help="Break processes, or the network, the broker and its disk.")] = (
        Suite.KILLS
    ),
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
    of a suite takes some ten minutes on two cores, and rewrites its table in docs/reliability.md.
    """
    console = Console(width=None if sys.stdout.isatty() else 150)
    known = scenarios(kills, broker_kills) if suite is Suite.KILLS else faults()
    chosen = [each for each in known if not only or each.name in only]
    if not chosen:
        raise typer.BadParameter(f"{only} is no scenario", param_hint="--only")
    played: list[Played] = []
    try:
        with _laid_out(console, keep_logs, linked=suite is Suite.FAULTS) as setting:
            for scenario in chosen:
                with console.status(f"{scenario.name}: {scenario.what}"):
                    played.append(play(setting, scenario, events // scenario.share, seed))
                console.print(report.line(played[-1]), soft_wrap=True)
    except FraudstreamError as error:
        console.print(f"[red]{error}", soft_wrap=True)
        sys.exit(error.exit_code)
    console.print(report.table(played))
    if not only:
        command = "make faults" if suite is Suite.FAULTS else f"make chaos KILLS={kills} EVENTS={events}"
        report.update(PAGE, played, command, suite)
    sys.exit(0 if all(each.clean for each in played) else 1)


@contextlib.contextmanager
def _laid_out(console: Console, logs: Path | None, *, linked: bool) -> Iterator[Setting]:
    """A broker, a model and a folder, and a proxy before the broker if they are to be ``linked``, for the block."""
    with contextlib.ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fraudstream-chaos-")))
        with console.status("training a model on the bundled sample"):
            train(home / "model")
        if logs is not None:
            logs.mkdir(parents=True)
        setting = partial(Setting, model=home / "model", source=in_real_mix(), home=logs or home)
        if not linked:
            yield setting(stack.enter_context(running_broker()))
            return
        behind, before = free_ports(2)
        broker = stack.enter_context(running_broker(detour=Detour(behind, before)))
        yield setting(broker, link=stack.enter_context(running_link(before, behind)))


if __name__ == "__main__":
    typer.run(main)
