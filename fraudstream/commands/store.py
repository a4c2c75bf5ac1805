"""The options by which a command finds the store of models, and the bar that shows what moves to and from it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn

from consumer.settings import WorkerSettings
from fraudstream.settings import read_settings
from models.registry import Registry, Watch
from models.signature import public_keys
from models.store import open_store
from schemas.errors import ConfigurationError

Store = Annotated[
    str | None, typer.Option(help="Where models are kept: s3://bucket/prefix or a directory.", show_default=False)
]
Endpoint = Annotated[str | None, typer.Option(help="Address of an S3-compatible service.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def open_registry(config: Path | None, store: str | None, endpoint: str | None) -> Registry:
    """The models in the store of the settings. Raises ConfigurationError where there is none."""
    return registry_of(read_settings(config, {"store": store, "store_endpoint": endpoint}))


def registry_of(settings: WorkerSettings) -> Registry:
    """The models in the store of these settings. Raises ConfigurationError where there is none."""
    if settings.store is None:
        raise ConfigurationError("store: say where models are kept, with --store, FRAUDSTREAM_STORE or in the file")
    return Registry(open_store(settings.store, settings.store_endpoint))


def trusted_keys(config: Path | None) -> tuple[Ed25519PublicKey, ...]:
    """The keys of ``model_public_keys``: with any, a model must be signed. Raises ConfigurationError as that does."""
    return public_keys(read_settings(config, {}).model_public_keys)


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
