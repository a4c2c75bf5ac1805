"""``fraudstream train``: a model from a data set."""

import sys
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from fraudstream.commands.bars import boosting_bar
from models.manifest import Combine, Manifest
from producer import sample_path
from schemas.errors import ConfigurationError


def train(
    out: Annotated[Path, typer.Option(help="Directory to write the model to; a model that is there is replaced.")],
    data: Annotated[
        Path | None, typer.Option(help="Card transactions, .csv or parquet. Default: the bundled sample.")
    ] = None,
    name: Annotated[str, typer.Option(help="What to call the model.")] = "card-fraud",
    version: Annotated[
        str | None, typer.Option(help="Which model of this name. Default: the beginning of its digest.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same data, same seed, same bytes.")] = 7,
    ensemble: Annotated[int, typer.Option(help="Boosters to average, each on other samples of the data.")] = 1,
    combine: Annotated[Combine, typer.Option(help="What to average of an ensemble.")] = "log_odds",
    review_rate: Annotated[float, typer.Option(help="Share of the traffic that people can review.")] = 0.002,
    decline_precision: Annotated[float, typer.Option(help="Share of the declined that must be fraud.")] = 0.9,
    review_cost: Annotated[float, typer.Option(help="What a review costs, in currency units.")] = 5.0,
    legitimate_kept: Annotated[
        float | None,
        typer.Option(help="Share of legitimate transactions left in the data. Default: what the file says, or all."),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Column with 1 for fraud. Default: is_fraud or Class.")] = None,
    time: Annotated[str | None, typer.Option(help="Column with the time. Default: time or Time.")] = None,
    amount: Annotated[str | None, typer.Option(help="Column with the amount. Default: amount or Amount.")] = None,
    features: Annotated[
        str | None, typer.Option(help="Feature columns, by comma. Default: all columns of floating-point numbers.")
    ] = None,
    reason_names: Annotated[
        Path | None,
        typer.Option(help='JSON file of what features are called in decisions: {"V1": {"code": "…", "text": "…"}}.'),
    ] = None,
    mlflow: Annotated[
        str | None,
        typer.Option(envvar="MLFLOW_TRACKING_URI", help="Record the training in this MLflow, and the model too."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the figures as one JSON object.")] = False,
) -> None:
    """Train a model, and judge it on later transactions.

    Writes model.ubj (model-1.ubj and so on for an ensemble), manifest.json, report.html and baseline.npz, with which
    `fraudstream drift` compares what it will score. The data is split in time: 60 % to learn from, 20 % to stop the
    training and choose the thresholds, 20 % to test.

    fraudstream train --out model
    """
    # XGBoost, scikit-learn and pandas take two seconds to load; `fraudstream --help` should not wait for them.
    from drift.model_baseline import train_with_baseline  # noqa: PLC0415
    from models.report import table  # noqa: PLC0415
    from models.tracking import Tracking  # noqa: PLC0415
    from models.train import TrainingSettings  # noqa: PLC0415
    from schemas.dataset import read_dataset  # noqa: PLC0415

    tracking = Tracking(mlflow) if mlflow else None
    settings = TrainingSettings(
        name=name,
        version=version,
        seed=seed,
        ensemble=ensemble,
        combine=combine,
        review_rate=review_rate,
        decline_precision=decline_precision,
        review_cost=review_cost,
    )
    dataset = read_dataset(
        data or sample_path(),
        label=label,
        time=time,
        amount=amount,
        features=[column.strip() for column in features.split(",")] if features else (),
        legitimate_kept=legitimate_kept,
    )
    with boosting_bar(settings.rounds * settings.ensemble) as on_round:
        reasons = _content(reason_names)
        manifest = train_with_baseline(out, dataset, settings, (data or sample_path()).name, on_round, reasons).manifest
    recorded = tracking.record(manifest, out) if tracking else None
    if json:
        sys.stdout.buffer.write(msgspec.json.encode(_summary(out, manifest, recorded)) + b"\n")
        return
    console = Console()
    console.print(table(manifest))
    if recorded:
        console.print(f"In MLflow it is models:/{manifest.name}/{recorded}", soft_wrap=True)
    console.print(f"Model, report and baseline are in {out}: see {out / 'report.html'}", soft_wrap=True)


def _content(reason_names: Path | None) -> bytes | None:
    try:
        return None if reason_names is None else reason_names.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"--reason-names: {reason_names} cannot be read: {error.strerror}") from None


def _summary(out: Path, manifest: Manifest, recorded: str | None) -> dict[str, Any]:
    """What ``--json`` prints."""
    return {
        "out": str(out),
        "name": manifest.name,
        "version": manifest.version,
        "files": manifest.files,
        "policy": manifest.policy,
        "prior_shift": manifest.prior_shift,
        "metrics": manifest.metrics,
        "training_data": manifest.training_data,
        "mlflow_version": recorded,
    }
