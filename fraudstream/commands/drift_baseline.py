"""``fraudstream drift baseline``: what a model expects, from what it was trained on or from what it scored."""

import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console

from consumer.settings import WorkerSettings
from fraudstream.commands.bars import counting_bar, reading_bars
from fraudstream.commands.connection import connect
from fraudstream.commands.drift_sources import tell_doubts, warn
from fraudstream.commands.points import moment
from fraudstream.commands.store import load_model
from fraudstream.stored_file import local_copy, write_file
from models.manifest import SIGNATURE_FILE
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from drift.baseline import Baseline
    from drift.period import Period
    from models.model import Model

# XGBoost, SciPy and pandas take two seconds to load; `fraudstream --help` should not wait for them.
# ruff: noqa: PLC0415

SETTINGS = (
    *(
        "store",
        "store_endpoint",
        "bootstrap_servers",
        "kafka",
        "msk_iam_region",
        "consumer_kafka",
        "input_topic",
        "samples_topic",
    ),
    *("drift_pane_minutes", "drift_window_minutes", "drift_hop_minutes"),
)


def baseline(
    settings: WorkerSettings,
    model: Annotated[str, typer.Option(help="Directory of the model, or NAME@VERSION.")],
    data: Annotated[
        str | None,
        typer.Option(help="What the model was trained on, .csv or parquet; a path or s3://…", show_default=False),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Instead of --data: what workers sampled, from this event time on: -14d, or 2026-01-31T12:00.",
        ),
    ] = None,
    to: Annotated[str, typer.Option("--to", help="Up to this event time, likewise.")] = "-0m",
    out: Annotated[
        str | None,
        typer.Option(help="File to write, a path or s3://…  Default: beside the model in its directory."),
    ] = None,
    categorical: Annotated[
        str | None, typer.Option(help="Features whose values are codes, by comma.", show_default=False)
    ] = None,
    card: Annotated[
        str | None, typer.Option(help="Column with the card, for how many rows belong to one.", show_default=False)
    ] = None,
    legitimate_kept: Annotated[
        float | None,
        typer.Option(help="Share of legitimate transactions left in the data. Default: what the file says, or all."),
    ] = None,
    label: Annotated[str | None, typer.Option(help="Column with 1 for fraud. Default: is_fraud or Class.")] = None,
    time: Annotated[str | None, typer.Option(help="Column with the time. Default: time or Time.")] = None,
    amount: Annotated[str | None, typer.Option(help="Column with the amount. Default: amount or Amount.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what it is of as JSON.")] = False,
) -> None:
    """Make the baseline of a model: what its features, scores and alerts are like in usual traffic.

    Without --out it is put beside the model and named in its manifest: `models publish` then publishes both.

    fraudstream drift baseline --data history.parquet --model model

    fraudstream drift baseline --from -14d --model card-fraud@3f2a91 --out s3://bucket/fortnight.npz
    """
    from drift.baseline_file import to_bytes
    from drift.model_baseline import baseline_of, put_beside
    from drift.rule import rule_of

    if (data is None) == (from_ is None):
        raise typer.BadParameter("give either --data FILE or --from TIME")
    loaded = load_model(settings, model)
    if out is None and not Path(model).is_dir():
        raise ConfigurationError("--out: say where to write it, as a published version never changes")
    if data is not None:
        columns = {"label": label, "time": time, "amount": amount}
        period = _trained_on(loaded, data, settings.store_endpoint, columns, legitimate_kept, card)
    else:
        period = _sampled(loaded, settings, moment("--from", from_ or ""), moment("--to", to))
    with counting_bar("own windows") as on_window:
        made = baseline_of(loaded.manifest, period, _words(categorical), on_window, rule_of(settings).scales)
    if out is not None:
        write_file(out, to_bytes(made), settings.store_endpoint)
    else:
        was_signed = (Path(model) / SIGNATURE_FILE).exists()
        put_beside(Path(model), made)
        if was_signed:
            warn(f"the manifest in {model} is another one now, and its signature is gone: sign it again")
    _tell(made, out or model, as_json=as_json)


def _trained_on(
    model: "Model",
    data: str,
    endpoint: str | None,
    columns: dict[str, str | None],
    legitimate_kept: float | None,
    card: str | None,
) -> "Period":
    from drift.model_baseline import training_period
    from schemas.dataset import read_dataset

    with local_copy(data, endpoint) as path:
        dataset = read_dataset(path, **columns, features=model.features, legitimate_kept=legitimate_kept)
    return training_period(model, dataset, data, card)


def _sampled(model: "Model", settings: WorkerSettings, start: int, end: int) -> "Period":
    from fraudstream.sampled_traffic import sampled_traffic

    with reading_bars() as tell:
        return sampled_traffic(connect(settings), settings, (model.name, model.version), start, end, tell)


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in text.split(",")] if text else []


def _tell(made: "Baseline", where: str, *, as_json: bool) -> None:
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(_summary(made) | {"out": where}) + b"\n")
        return
    kinds = Counter(profile.nature.value for profile in made.features)
    features = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    Console().print(
        f"The baseline of {made.name}@{made.version} is in {where}: {made.rows:,} rows, "
        f"{len(made.features)} features ({features})",
        soft_wrap=True,
        highlight=False,
    )
    tell_doubts(made.doubts)


def _summary(made: "Baseline") -> dict[str, Any]:
    return {
        "model": {"name": made.name, "version": made.version},
        "source": made.source,
        "rows": made.rows,
        "days": (made.last_time - made.first_time) / 86_400_000,
        "rows_per_card": made.rows_per_card,
        "features": {profile.name: profile.nature.value for profile in made.features},
        "alerts": made.alerts,
        "own_windows": {own.scale: {"length_ms": own.length, "count": own.count} for own in made.own},
        "doubts": made.doubts,
    }
