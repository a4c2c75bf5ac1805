"""Make the baseline of a model from a data set, and put it beside the model."""

from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np

from drift.baseline import Baseline
from drift.baseline_file import FILE, to_bytes
from drift.reference import build
from drift.training_set import Scored, period_of
from models.artifact import read_directory, save
from models.manifest import MANIFEST_FILE, SIGNATURE_FILE, Manifest, from_json
from models.model import Model
from models.split import parts
from models.train import fingerprint
from schemas.dataset import Dataset


def baseline_of(
    model: Model,
    dataset: Dataset,
    source: str,
    card: str | None = None,
    categorical: Collection[str] = (),
    on_window: Callable[[int, int], None] = lambda _done, _of: None,
) -> Baseline:
    """What ``model`` expects if traffic is like ``dataset``, which has its features and is called ``source``.

    Raises ConfigurationError as ``build`` and ``period_of`` do.
    """
    features = dataset.frame[list(model.features)].to_numpy(np.float32)
    scored = Scored(model.score(features), model.policy.review_at, _learned(model.manifest, dataset))
    ranges = {
        feature.name: (feature.minimum, feature.maximum)
        for feature in model.manifest.features
        if feature.minimum is not None and feature.maximum is not None
    }
    period = period_of(dataset, source, model.features, scored, card)
    return build(period, model.name, model.version, ranges, categorical, on_window=on_window)


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
