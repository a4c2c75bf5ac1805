"""``fraudstream replay diff``: what a replay decides otherwise than was decided live."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console

from consumer.replay import Plan
from consumer.settings import WorkerSettings
from fraudstream.commands.bars import reading_bars
from fraudstream.commands.connection import connect
from fraudstream.replaying import Replaying
from schemas.errors import ConfigurationError, FraudstreamError

if TYPE_CHECKING:
    from consumer.difference import Difference


def diff(
    settings: WorkerSettings,
    name: Annotated[str, typer.Argument(help="The name under which the replay was run.")],
    largest: Annotated[int, typer.Option(min=0, help="How many of the largest differences to name.")] = 10,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots to this file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Compare the decisions of a replay with the live ones about the same records.

    Shows which decisions flip, how much the scores differ and where most. Joins no group; of a replay that is not
    complete it compares what is there.

    fraudstream replay diff new-model --html difference.html
    """
    # SciPy and the schema compiler take a moment to load; `fraudstream --help` should not wait for them.
    from fraudstream.difference import page, summary, tables  # noqa: PLC0415
    from fraudstream.replay_diff import ReplayDiff  # noqa: PLC0415

    connection = connect(settings)
    replaying = Replaying(connection, settings, name)
    plan = replaying.found()
    if plan is None:
        raise FraudstreamError(f"there is no replay {name} of group {settings.group} and topic {settings.input_topic}")
    with reading_bars() as tell:
        found = ReplayDiff(connection, settings, replaying.settings, plan, largest).run(tell)
    if html:
        _write(html, page(found, plan))
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(_plain(found, plan)) + b"\n")
        return
    console = Console()
    for table in tables(found):
        console.print(table)
    console.print(summary(found), soft_wrap=True, highlight=False, markup=False)
    if html:
        console.print(f"The plots are in {html}", soft_wrap=True, highlight=False, markup=False)


def _plain(found: "Difference", plan: Plan) -> dict[str, Any]:
    """All but the single scores."""
    from consumer.difference import QUANTILES  # noqa: PLC0415
    from fraudstream.difference import OUTCOMES  # noqa: PLC0415

    rows = zip(OUTCOMES, found.decisions, strict=True)
    return {
        "name": plan.name,
        "from": plan.first,
        "to": plan.last,
        "compared": found.compared,
        "only_live": found.only_live,
        "only_replayed": found.only_replayed,
        "changed": found.changed,
        "decisions": {live: dict(zip(OUTCOMES, counts, strict=True)) for live, counts in rows},
        "mean_absolute_difference": found.mean_absolute,
        "quantiles": dict(zip(map(str, QUANTILES), found.quantiles, strict=False)),
        "largest": [asdict(each) | {"difference": each.difference} for each in found.largest],
    }


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--html: {path} cannot be written: {error.strerror}") from None
