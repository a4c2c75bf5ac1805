"""``fraudstream doctor``: is everything there that a worker needs, and what to do if not."""

import sys
from collections.abc import Iterator
from dataclasses import asdict

import msgspec
import typer
from rich.console import Console

from consumer.settings import WorkerSettings
from fraudstream.commands.store import AsJson
from fraudstream.doctor.finding import Finding, Verdict

_SIGNS = {
    Verdict.GOOD: "[green]✓[/]",
    Verdict.DOUBTFUL: "[yellow]![/]",
    Verdict.WRONG: "[red]✗[/]",
    Verdict.SKIPPED: "-",
}


def doctor(settings: WorkerSettings, as_json: AsJson = False) -> None:
    """Check brokers, topics, rights, clocks, schemas and models, and say how to mend what is wrong.

    Takes the settings of `fraudstream score`. Exits 0 if a worker would run, 1 if something is wrong. Leaves nothing
    behind that a reader of committed records could see: rights are tried in a transaction that is aborted.

    fraudstream doctor --model model
    """
    console = Console()
    found = []
    for finding in _findings(settings):
        found.append(finding)
        if not as_json:
            _show(console, finding)
    healthy = all(finding.verdict is not Verdict.WRONG for finding in found)
    if as_json:
        told = {"healthy": healthy, "findings": [asdict(finding) for finding in found]}
        sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
    raise typer.Exit(int(not healthy))


def _findings(settings: WorkerSettings) -> Iterator[Finding]:
    # Kafka's answers come first: XGBoost and SciPy take seconds to load.
    from fraudstream.doctor.cluster import Cluster  # noqa: PLC0415

    yield from Cluster(settings).findings()
    from fraudstream.doctor import serving  # noqa: PLC0415

    yield from serving.findings(settings)


def _show(console: Console, finding: Finding) -> None:
    console.print(f"{_SIGNS[finding.verdict]} ", end="")
    console.print(f"{finding.check}: {finding.told}", markup=False, highlight=False, soft_wrap=True)
    if finding.advice:
        console.print(f"    → {finding.advice}", markup=False, highlight=False, soft_wrap=True)
