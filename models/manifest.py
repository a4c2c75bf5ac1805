"""Say what stands beside a model file: what it takes, what it promises and how to tell that it is the one."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from models.metrics import Metrics
from schemas.errors import ConfigurationError

FORMAT = 1
"""A reader refuses a manifest of another format: it would not know what it is missing."""

MANIFEST_FILE = "manifest.json"
SIGNATURE_FILE = "manifest.sig"


@dataclass(frozen=True, slots=True)
class Feature:
    """One input column: what the model expects there.

    ``missing`` says whether a record without it may be scored (``allow``: XGBoost sees it as missing). Values outside
    ``minimum`` … ``maximum`` are further from the training data than that data is wide; None where nothing is known.
    """

    name: str
    dtype: Literal["float32"]
    missing: Literal["allow", "reject"]
    minimum: float | None
    maximum: float | None


@dataclass(frozen=True, slots=True)
class File:
    """Digest (hex) and size (bytes) of a file of the artifact."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Policy:
    """Scores from ``review_at`` on are reviewed, from ``decline_at`` on declined. Both are probabilities."""

    version: str
    review_at: float
    decline_at: float


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The data the model was made from: a digest of its content, its size, its times (s) and how it was thinned."""

    sha256: str
    rows: int
    frauds: int
    first_time: float
    last_time: float
    legitimate_kept: float


@dataclass(frozen=True, slots=True)
class GoldenRow:
    """Feature values in order (None where missing) and the probability the model gave them in training."""

    features: tuple[float | None, ...]
    score: float


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything about a model but its trees.

    ``prior_shift`` is added to the margin (log-odds) of the trees: it undoes the thinning of the training set.
    ``settings`` and ``libraries`` are what it takes to train the same bytes again.
    """

    format: int
    name: str
    version: str
    features: tuple[Feature, ...]
    files: dict[str, File]
    prior_shift: float
    policy: Policy
    metrics: Metrics
    training_data: TrainingData
    golden_rows: tuple[GoldenRow, ...]
    settings: dict[str, int | float | str]
    libraries: dict[str, str]


def to_json(manifest: Manifest) -> bytes:
    """The manifest as JSON that a person can read."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def from_json(data: bytes, source: str) -> Manifest:
    """The manifest that ``to_json`` wrote; ``source`` names it in the error.

    Raises ConfigurationError where it is not one, or one of another format.
    """
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError as error:
        raise ConfigurationError(f"{source} is not a model manifest: {error}") from error
    if any(Path(name).name != name for name in manifest.files):
        raise ConfigurationError(f"{source} names a file outside its directory")
    if manifest.format != FORMAT:
        raise ConfigurationError(f"{source} has format {manifest.format}; this version reads format {FORMAT}")
    return manifest
