"""Where the commands of drift find a baseline, and how they voice a doubt."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from consumer.settings import WorkerSettings
from fraudstream.stored_file import read_file
from models.registry import Version, is_version, registry_at
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from drift.baseline import Baseline

# XGBoost and SciPy take two seconds to load; `fraudstream --help` should not wait for them.
# ruff: noqa: PLC0415


def load_baseline(settings: WorkerSettings, name: str) -> "Baseline":
    """The baseline in a file, or beside a model. Raises ConfigurationError where there is none."""
    from drift.baseline_file import FILE, MOST_BYTES, from_bytes

    if is_version(name):
        content = registry_at(settings.store, settings.store_endpoint).file(Version.parse(name), FILE)
        if content is None:
            raise ConfigurationError(f"{name} was published without a baseline: make one with --out")
        return from_bytes(content, f"{FILE} of {name}")
    location = str(Path(name) / FILE) if Path(name).is_dir() else name
    return from_bytes(read_file(location, settings.store_endpoint, MOST_BYTES), location)


def tell_doubts(doubts: Iterable[str]) -> None:
    """Say why alarms against a baseline may be false."""
    for doubt in doubts:
        warn(doubt)


def warn(text: str) -> None:
    """Say something that is no result, beside what a pipe takes."""
    print(f"fraudstream: {text}", file=sys.stderr)  # noqa: T201 - for the person
