"""``fraudstream config``: show the settings in force."""

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from consumer.settings import WorkerSettings


def config(
    settings: WorkerSettings,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Print the settings in force, with secrets masked.

    They come from flags, the environment and the file. The same flags as `fraudstream score`. Each setting may
    stand in fraudstream.toml under its name, or in the environment as FRAUDSTREAM_NAME (tables as JSON).
    """
    values = settings.masked()
    if as_json:
        typer.echo(json.dumps(values))
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("setting", "value", "meaning"):
        table.add_column(heading, overflow="fold")
    for name, value in values.items():
        shown = "" if value is None else value if isinstance(value, str) else json.dumps(value)
        table.add_row(name, shown, WorkerSettings.model_fields[name].description)
    Console().print(table)
