"""Where the commands of drift find a model and a baseline, and how they voice a doubt."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from consumer.settings import WorkerSettings
from fraudstream.commands.store import moving, registry_of
from fraudstream.stored_file import read_file
from models.registry import Version
from models.signature import public_keys
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from drift.baseline import Baseline
    from models.model import Model

# XGBoost and SciPy take two seconds to load; `fraudstream --help` should not wait for them.
# ruff: noqa: PLC0415


def load_model(settings: WorkerSettings, name: str) -> "Model":
    """The model of a directory, or of a ``NAME@VERSION`` in the store. Raises ConfigurationError where it is none."""
    from models.artifact import from_files, load

    keys = public_keys(settings.model_public_keys)
    if not _is_version(name):
        return load(Path(name), keys=keys)
    with moving() as watch:
        files = registry_of(settings).fetch(Version.parse(name), watch)
    return from_files(files, name, keys=keys)


def load_baseline(settings: WorkerSettings, name: str) -> "Baseline":
    """The baseline in a file, or beside a model. Raises ConfigurationError where there is none."""
    from drift.baseline_file import FILE, MOST_BYTES, from_bytes

    if _is_version(name):
        content = registry_of(settings).file(Version.parse(name), FILE)
        if content is None:
            raise ConfigurationError(f"{name} was published without a baseline: make one with --out")
        return from_bytes(content, f"{FILE} of {name}")
    location = str(Path(name) / FILE) if Path(name).is_dir() else name
    return from_bytes(read_file(location, settings.store_endpoint, MOST_BYTES), location)


def tell_doubts(baseline: "Baseline") -> None:
    """Say why alarms against the baseline may be false."""
    for doubt in baseline.doubts:
        warn(doubt)


def warn(text: str) -> None:
    """Say something that is no result, beside what a pipe takes."""
    print(f"fraudstream: {text}", file=sys.stderr)  # noqa: T201 - for the person


def _is_version(name: str) -> bool:
    return "@" in name and "://" not in name and not Path(name).exists()
