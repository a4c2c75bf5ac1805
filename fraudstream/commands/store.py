"""The options by which a command finds the store of models, and the bar that shows what moves to and from it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from consumer.settings import WorkerSettings
from fraudstream.settings import read_settings
from models.registry import Registry, Watch, registry_at

if TYPE_CHECKING:
    from consumer.trusted import TrustedModels
    from models.model import Model

Store = Annotated[
    str | None, typer.Option(help="Where models are kept: s3://bucket/prefix or a directory.", show_default=False)
]
Endpoint = Annotated[str | None, typer.Option(help="Address of an S3-compatible service.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def open_registry(config: Path | None, store: str | None, endpoint: str | None) -> Registry:
    """The models in the store of the settings. Raises ConfigurationError where there is none."""
    settings = store_settings(config, store, endpoint)
    return registry_at(settings.store, settings.store_endpoint)


def store_settings(config: Path | None, store: str | None, endpoint: str | None) -> WorkerSettings:
    """The settings, with the store that the options name."""
    return read_settings(config, {"store": store, "store_endpoint": endpoint})


@contextlib.contextmanager
def trusted_models(settings: WorkerSettings, registry: Registry | None = None) -> Iterator["TrustedModels"]:
    """What loads models as a worker with these settings does, with a bar for what comes from the store."""
    # XGBoost takes a second to load; `fraudstream --help` should not wait for it.
    from consumer.trusted import TrustedModels  # noqa: PLC0415

    with moving() as watch, contextlib.closing(TrustedModels(settings, watch, registry)) as trusted:
        yield trusted


def load_model(settings: WorkerSettings, name: str) -> "Model":
    """The model of a directory or of a ``NAME@VERSION``. Raises ConfigurationError where it is not to be trusted."""
    with trusted_models(settings) as trusted:
        return trusted.named(name)


@contextlib.contextmanager
def moving() -> Iterator[Watch]:
    """What to tell of bytes that move; it draws a bar a file where somebody sees it."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def watch(name: str, done: int, size: int) -> None:
            if name not in tasks:
                tasks[name] = progress.add_task(name, total=size)
            progress.update(tasks[name], completed=done)

        yield watch
