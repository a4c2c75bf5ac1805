"""``fraudstream drift``: whether what is scored still looks like what the model was trained on."""

import typer

from fraudstream.commands.drift_run import SETTINGS, run
from fraudstream.commands.options import with_settings

drift = typer.Typer(
    help="Watch whether what is scored still looks like what the model was trained on.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
drift.command()(with_settings(run, SETTINGS))
