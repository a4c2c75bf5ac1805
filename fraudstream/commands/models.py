"""``fraudstream models``: the versions of models that are published, and how they differ."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from fraudstream.commands.connection import Config
from fraudstream.commands.sign import sign
from fraudstream.commands.store import (
    AsJson,
    Endpoint,
    Store,
    moving,
    open_registry,
    store_settings,
    trusted_models,
)
from models.manifest import Manifest
from models.registry import Registry, Version
from producer import sample_path
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from models.compare import Comparison
    from models.model import Model

# XGBoost and scikit-learn take two seconds to load; only the commands that score wait for them.
# ruff: noqa: PLC0415

models = typer.Typer(
    help="Sign, publish, list, compare and verify models.", no_args_is_help=True, rich_markup_mode=None
)
models.command()(sign)


@models.command()
def publish(
    directory: Annotated[
        Path | None, typer.Argument(metavar="DIR", help="What `fraudstream train` wrote.", show_default=False)
    ] = None,
    from_mlflow: Annotated[
        str | None, typer.Option(metavar="models:/NAME@ALIAS", help="Take the model from MLflow, not from DIR.")
    ] = None,
    mlflow: Annotated[
        str | None, typer.Option(envvar="MLFLOW_TRACKING_URI", help="Address of MLflow.", show_default=False)
    ] = None,
    config: Config = None,
    store: Store = None,
    store_endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Publish a model. It is loaded first, and refused where it is not what it claims to be.

    A version never changes: the same bytes again are nothing new, other bytes are refused.

    fraudstream models publish model --store s3://bucket/fraud
    """
    registry = open_registry(config, store, store_endpoint)
    files = _to_publish(directory, from_mlflow, mlflow)
    with trusted_models(store_settings(config, store, store_endpoint)) as trusted:
        model = trusted.files(files, from_mlflow or str(directory))
    with moving() as watch:
        is_new = registry.publish(files, watch)
    version = Version(model.name, model.version)
    if as_json:
        _print_json({"name": model.name, "version": model.version, "store": registry.store.url, "new": is_new})
        return
    done = "is published in" if is_new else "was published already, with the same bytes, in"
    Console().print(f"{version} {done} {registry.store.url}", soft_wrap=True, highlight=False)


@models.command("list")
def list_(config: Config = None, store: Store = None, store_endpoint: Endpoint = None, as_json: AsJson = False) -> None:
    """List what is published."""
    registry = open_registry(config, store, store_endpoint)
    manifests = [registry.manifest(version) for version in registry.versions()]
    if as_json:
        _print_json([_brief(manifest) for manifest in manifests])
        return
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "version", "PR-AUC", "ROC-AUC", "features", "rows", "bytes"):
        table.add_column(heading, justify="left" if heading in ("name", "version") else "right", overflow="fold")
    for manifest in manifests:
        name, version, *figures = _brief(manifest).values()
        table.add_row(name, version, *(f"{x:.4f}" if isinstance(x, float) else f"{x:,}" for x in figures))
    Console().print(table if manifests else f"nothing is published in {registry.store.url}", soft_wrap=not manifests)


@models.command()
def show(
    name: Annotated[str, typer.Argument(help="NAME@VERSION, or NAME before VERSION.")],
    version: Annotated[str | None, typer.Argument(help="VERSION.", show_default=False)] = None,
    config: Config = None,
    store: Store = None,
    store_endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Show what is known of a version: its figures, policy, features, files and origin."""
    from models.report import facts, table

    registry = open_registry(config, store, store_endpoint)
    wanted = Version(name, version) if version else Version.parse(name)
    manifest = registry.manifest(wanted)
    if as_json:
        _print_json(manifest)
        return
    described = Table(box=None, pad_edge=False, show_header=False)
    for label, value in (*facts(manifest), *_storage(registry, wanted, manifest)):
        described.add_row(label, value)
    Console().print(table(manifest), described)


@models.command()
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="NAME@VERSION, or the directory of a model.")],
    second: Annotated[str, typer.Argument(metavar="B", help="What to compare it with.")],
    data: Annotated[
        Path | None, typer.Option(help="Transactions to score, .csv or parquet. Default: the bundled sample.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots to this file.")] = None,
    config: Config = None,
    store: Store = None,
    store_endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Compare two models: figures, features, scores on their golden rows and on a data set, and decisions.

    fraudstream models compare card-fraud@3f2a91 retrained --html comparison.html
    """
    from models.compare import compare as compare_models
    from models.comparison import page, tables
    from schemas.dataset import read_dataset

    path = data or sample_path()
    with trusted_models(store_settings(config, store, store_endpoint)) as trusted:
        one, other = trusted.named(first), trusted.named(second)
    features = list(dict.fromkeys((*one.features, *other.features)))
    comparison = compare_models((first, second), one, other, read_dataset(path, features=features), path.name)
    if html:
        _write(html, page(comparison))
    if as_json:
        _print_json(_summary(comparison))
        return
    console = Console()
    for table in tables(comparison):
        console.print(table)
    if html:
        console.print(f"The plots are in {html}", soft_wrap=True, highlight=False)


@models.command()
def verify(
    model: Annotated[
        str | None, typer.Argument(metavar="A", help="NAME@VERSION, or a directory. Default: all that is published.")
    ] = None,
    config: Config = None,
    store: Store = None,
    store_endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Read models in full, and check that each still is what was published and scores its golden rows. Exit 0 or 1."""
    names = [model] if model else [str(version) for version in open_registry(config, store, store_endpoint).versions()]
    with trusted_models(store_settings(config, store, store_endpoint)) as trusted:
        verdicts = {name: _verdict(trusted.named, name) for name in names}
    if as_json:
        _print_json([{"model": name, "sound": not reason, "reason": reason} for name, reason in verdicts.items()])
    else:
        table = Table(box=None, pad_edge=False, show_header=False)
        for name, reason in verdicts.items():
            table.add_row(name, reason or "sound")
        Console().print(table if verdicts else "nothing is published")
    raise typer.Exit(int(any(verdicts.values())))


def _to_publish(directory: Path | None, from_mlflow: str | None, mlflow: str | None) -> dict[str, bytes]:
    from models.artifact import read_directory
    from models.tracking import Tracking

    if directory and not from_mlflow:
        return read_directory(directory)
    if directory or not from_mlflow:
        raise ConfigurationError("say what to publish: a directory, or --from-mlflow models:/NAME@ALIAS")
    if not mlflow:
        raise ConfigurationError("mlflow: say where MLflow is, with --mlflow or MLFLOW_TRACKING_URI")
    return Tracking(mlflow).fetch(from_mlflow)


def _verdict(load: Callable[[str], "Model"], name: str) -> str | None:
    """Why a model is not sound. A store that is away or refuses us says nothing about it, and is raised."""
    try:
        load(name)
    except ConfigurationError as error:
        return str(error)
    return None


def _brief(manifest: Manifest) -> dict[str, Any]:
    evaluation = manifest.metrics.model
    return {
        "name": manifest.name,
        "version": manifest.version,
        "pr_auc": evaluation.pr_auc,
        "roc_auc": evaluation.roc_auc,
        "features": len(manifest.features),
        "rows": manifest.training_data.rows,
        "bytes": sum(file.size for file in manifest.files.values()),
    }


def _storage(registry: Registry, version: Version, manifest: Manifest) -> list[tuple[str, str]]:
    """(what, how it is kept) as text."""
    files = [f"{name} ({file.size:,} bytes, sha256 {file.sha256})" for name, file in manifest.files.items()]
    return [
        ("files", "\n".join(files)),
        ("signed", "yes" if registry.is_signed(version) else "no"),
        ("kept in", f"{registry.store.url}/{version.key('')}"),
    ]


def _summary(comparison: "Comparison") -> dict[str, Any]:
    """What ``--json`` prints: everything but the single scores."""
    return {
        "models": comparison.names,
        "metrics": [manifest.metrics.model for manifest in comparison.manifests],
        "policies": [manifest.policy for manifest in comparison.manifests],
        "features": comparison.changes,
        "golden_rows": comparison.golden,
        "data": comparison.data,
        "on_data": comparison.on_data,
    }


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--html: {path} cannot be written: {error.strerror}") from error


def _print_json(value: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
