"""Make the baseline of a model, and put it beside the model, also where that is trained only now."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from drift.baseline import Baseline
from drift.baseline_file import FILE, to_bytes
from drift.period import Period
from drift.reference import build
from drift.training_set import Scored, period_of
from drift.windows import SCALES, Scale
from models.artifact import read_directory, save
from models.manifest import MANIFEST_FILE, SIGNATURE_FILE, Manifest, from_json
from models.model import Model, open_model
from models.split import parts
from models.train import Trained, TrainingSettings, fingerprint, train_to
from schemas.dataset import Dataset


def training_period(model: Model, dataset: Dataset, source: str, card: str | None = None) -> Period:
    """The data set ``source``, which has the features of ``model``, as a reference period with its scores.

    Raises ConfigurationError as ``period_of`` does.
    """
    features = dataset.frame[list(model.features)].to_numpy(np.float32)
    scored = Scored(model.score(features), model.policy.review_at, _learned(model.manifest, dataset))
    return period_of(dataset, source, model.features, scored, card)


def baseline_of(
    manifest: Manifest,
    period: Period,
    categorical: Collection[str] = (),
    on_window: Callable[[int, int], None] = lambda _done, _of: None,
    scales: Sequence[Scale] = SCALES,
) -> Baseline:
    """What a model expects if traffic is like ``period``. Raises ConfigurationError as ``build`` does."""
    ranges = {
        feature.name: (feature.minimum, feature.maximum)
        for feature in manifest.features
        if feature.minimum is not None and feature.maximum is not None
    }
    return build(period, manifest.name, manifest.version, ranges, categorical, scales, on_window)


def train_with_baseline(
    path: Path,
    dataset: Dataset,
    settings: TrainingSettings,
    source: str,
    on_round: Callable[[], None] = lambda: None,
    reasons: bytes | None = None,
    card: str | None = None,
) -> Trained:
    """Train on the data set ``source`` and write the artifact with its report and its baseline to ``path``.

    ``card`` names the column with the card, if there is one. Raises ConfigurationError as ``train_to`` does.
    """
    trained = train_to(path, dataset, settings, on_round, reasons)
    model = open_model(trained.manifest, trained.boosters, threads=1)
    expected = baseline_of(model.manifest, training_period(model, dataset, source, card))
    return replace(trained, manifest=put_beside(path, expected))


def put_beside(directory: Path, baseline: Baseline) -> Manifest:
    """Put the baseline into the directory of a model; the manifest that then names it, with its digest.

    A signature of the model was given to another manifest, and is dropped. Raises ConfigurationError where the
    directory holds no model or cannot be written.
    """
    files = read_directory(directory)
    described = from_json(files.pop(MANIFEST_FILE), str(directory / MANIFEST_FILE))
    files.pop(SIGNATURE_FILE, None)
    return save(directory, described, files | {FILE: to_bytes(baseline)})


def _learned(manifest: Manifest, dataset: Dataset) -> int:
    """How many of the first rows the trees know: those of the training part, if this is what they were trained on."""
    if fingerprint(dataset) != manifest.training_data:
        return 0
    shares = float(manifest.settings["train_share"]), float(manifest.settings["validation_share"])
    return int(parts(dataset, shares)[0].stop)
