"""``fraudstream drift``: whether what is scored is still what was trained on."""

import typer

from fraudstream.commands import drift_baseline, drift_check, drift_report, drift_run
from fraudstream.commands.options import with_settings

drift = typer.Typer(help="Watch what is scored for drift.", no_args_is_help=True, rich_markup_mode=None)
drift.command()(with_settings(drift_run.run, drift_run.SETTINGS))
drift.command()(with_settings(drift_baseline.baseline, drift_baseline.SETTINGS))
drift.command()(with_settings(drift_report.report, drift_report.SETTINGS))
drift.command()(with_settings(drift_check.check, drift_check.SETTINGS))
