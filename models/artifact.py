"""Decide whether a directory holds the model it claims to hold, and score with it."""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import xgboost as xgb
from numpy.typing import NDArray
from scipy.special import expit

from models.manifest import File, GoldenRow, Manifest, Policy, from_json, to_json
from models.reasons import REASONS_FILE, ReasonName, read_reasons
from models.shap import Explainer, explainer
from schemas.errors import ConfigurationError

MODEL_FILE = "model.ubj"
MANIFEST_FILE = "manifest.json"
REPORT_FILE = "report.html"
GOLDEN_TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Model:
    """A model in this process. ``sha256`` is the digest of its file, ``reasons`` names some of its features."""

    manifest: Manifest
    sha256: bytes
    booster: xgb.Booster
    features: tuple[str, ...]
    explainer: Explainer
    reasons: Mapping[str, ReasonName]

    @property
    def name(self) -> str:
        """What the model is called."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """Which of the models of this name it is."""
        return self.manifest.version

    @property
    def policy(self) -> Policy:
        """The thresholds chosen when it was trained."""
        return self.manifest.policy

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, k) float32 features in the order of ``features``, NaN where missing, to (n,) probabilities of fraud."""
        margin = self.booster.inplace_predict(features, predict_type="margin", validate_features=False)
        return probability(margin, self.manifest.prior_shift)

    @property
    def codes(self) -> tuple[str, ...]:
        """What each feature is called in a decision: the code that it was given, or its own name."""
        return tuple(self.reasons[name].code if name in self.reasons else name for name in self.features)

    def contributions(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, k) float32 features to (n, k + 1) shares of the log-odds by TreeSHAP (Lundberg 2020), the bias last.

        The bias includes the prior shift, so that each row sums to the log-odds of its score.
        """
        shares = self.explainer.contributions(features)
        shares[:, -1] += self.manifest.prior_shift
        return shares


def probability(margin: NDArray[np.float32], prior_shift: float) -> NDArray[np.float64]:
    """(n,) log-odds of the trees to (n,) probabilities at the real share of frauds."""
    shifted = np.add(margin, prior_shift, dtype=np.float64)
    return np.asarray(expit(shifted, out=shifted))


def load(path: Path, threads: int = 1) -> Model:
    """The model in the directory ``path``, scoring on ``threads`` threads.

    Digest first, then the trees, then the golden rows: a damaged model file can crash the interpreter or score
    silently wrong, so nothing reads it before it is known to be the file that was written.

    Raises ConfigurationError where a file is missing, altered or of another kind, where the features of the trees are
    not those of the manifest, or where a golden row scores differently.
    """
    manifest = from_json(_read(path / MANIFEST_FILE), str(path / MANIFEST_FILE))
    if MODEL_FILE not in manifest.files:
        raise ConfigurationError(f"{path / MANIFEST_FILE} names no {MODEL_FILE}")
    files = {name: _verified(path / name, file) for name, file in manifest.files.items()}
    data = files[MODEL_FILE]
    features = tuple(feature.name for feature in manifest.features)
    booster = _booster(data, str(path / MODEL_FILE))
    if booster.feature_names != list(features):
        raise ConfigurationError(f"the features of {path / MODEL_FILE} are not those of its manifest")
    booster.set_param({"nthread": threads})
    reasons = read_reasons(files.get(REASONS_FILE, b"{}"), str(path / REASONS_FILE), features)
    model = Model(manifest, hashlib.sha256(data).digest(), booster, features, explainer(booster), reasons)
    _check_golden_rows(model, path)
    return model


def save(path: Path, manifest: Manifest, files: Mapping[str, bytes]) -> Manifest:
    """Write an artifact to the directory ``path``: all of it or nothing. An artifact that is there is replaced.

    Returns the manifest that was written, which describes ``files``.

    Raises ConfigurationError where ``path`` is something else than an artifact, or cannot be written.
    """
    if path.exists() and not (path.is_dir() and (_is_artifact(path) or not any(path.iterdir()))):
        raise ConfigurationError(f"{path} exists and is not a model: give another directory")
    described = replace(manifest, files={name: _described(content) for name, content in files.items()})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
            _write(Path(scratch), path, {**files, MANIFEST_FILE: to_json(described)})
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be written: {error.strerror}") from error
    return described


def _write(scratch: Path, path: Path, files: Mapping[str, bytes]) -> None:
    new, old = scratch / "new", scratch / "old"
    new.mkdir()
    for name, content in files.items():
        with (new / name).open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    if path.exists():
        # A directory cannot be renamed onto another one that has files in it: the old one steps aside first.
        path.rename(old)
    new.rename(path)


def _described(content: bytes) -> File:
    """What the manifest says of a file with this content."""
    return File(hashlib.sha256(content).hexdigest(), len(content))


def golden_rows(features: NDArray[np.float32], scores: NDArray[np.float64]) -> tuple[GoldenRow, ...]:
    """(n, k) features, NaN where missing, and their (n,) probabilities, as the manifest keeps them."""
    return tuple(
        GoldenRow(tuple(None if np.isnan(value) else float(value) for value in row), float(score))
        for row, score in zip(features, scores, strict=True)
    )


def _verified(path: Path, expected: File) -> bytes:
    content = _read(path)
    if _described(content) != expected:
        raise ConfigurationError(f"{path} is not the file its manifest describes: it was altered or half copied")
    return content


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}") from error


def _booster(data: bytes, source: str) -> xgb.Booster:
    # Both of XGBoost's formats are one object, {…}. A pickle never starts so, and nothing here would run one.
    if not data.startswith(b"{"):
        raise ConfigurationError(f"{source} is not an XGBoost model in UBJ or JSON; other formats can carry code")
    booster = xgb.Booster()
    try:
        booster.load_model(bytearray(data))
    except xgb.core.XGBoostError as error:
        raise ConfigurationError(f"{source} is not a model that this XGBoost can read") from error
    return booster


def _check_golden_rows(model: Model, path: Path) -> None:
    rows = model.manifest.golden_rows
    if not rows or any(len(row.features) != len(model.features) for row in rows):
        raise ConfigurationError(f"{path / MANIFEST_FILE} has no golden rows with a value for each feature")
    # None becomes NaN on the way to float.
    expected = np.array([row.score for row in rows])
    scores = model.score(np.array([row.features for row in rows], np.float32))
    if not np.allclose(scores, expected, rtol=0, atol=GOLDEN_TOLERANCE):
        worst = float(np.abs(scores - expected).max())
        raise ConfigurationError(f"{path} scores its golden rows otherwise than in training: off by {worst:.2g}")


def _is_artifact(path: Path) -> bool:
    return (path / MANIFEST_FILE).is_file()
