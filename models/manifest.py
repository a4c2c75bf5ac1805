"""Say what stands beside a model file: what it takes, what it promises and how to tell that it is the one."""

import hashlib
import json
import math
import re
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from models.metrics import Metrics
from schemas.errors import BadModelError

FORMAT = 2
"""A reader refuses a manifest of another format: it would not know what it is missing."""

MAX_BYTES = 2 * 2**20
MAX_FILES = 64
MAX_MEMBERS = 32

MODEL_FILE = "model.ubj"
MANIFEST_FILE = "manifest.json"
SIGNATURE_FILE = "manifest.sig"
REPORT_FILE = "report.html"

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Names that mean the same file in a directory, a bucket and a URL, and never one beside it."""

Combine = Literal["log_odds", "probability"]
"""Whether the members of an ensemble are averaged before or after the logistic function."""


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

    @classmethod
    def of(cls, content: bytes) -> "File":
        """What a manifest says of a file with this content."""
        return cls(hashlib.sha256(content).hexdigest(), len(content))


@dataclass(frozen=True, slots=True)
class Member:
    """A booster, by the name of its file, and its share in the score."""

    file: str
    weight: float


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

    A model is one booster or several, its ``members``, whose scores are averaged by weight, as ``combine`` says.
    ``prior_shift`` is added to the margin (log-odds) of the trees: it undoes the thinning of the training set.
    ``settings`` and ``libraries`` are what it takes to train the same bytes again.
    """

    format: int
    name: str
    version: str
    features: tuple[Feature, ...]
    files: dict[str, File]
    members: tuple[Member, ...]
    combine: Combine
    prior_shift: float
    policy: Policy
    metrics: Metrics
    training_data: TrainingData
    golden_rows: tuple[GoldenRow, ...]
    settings: dict[str, int | float | str]
    libraries: dict[str, str]


def digest(manifest: Manifest) -> bytes:
    """The 32 bytes that name the model in every decision: all that turns features into log-odds, but the prior shift.

    The digest of the model file for a model of one booster, so that ``sha256sum`` finds it. For an ensemble the digest
    of a text: a line with ``combine``, then for each member a line with its digest, weight and file name.
    """
    if len(manifest.members) == 1:
        return bytes.fromhex(manifest.files[manifest.members[0].file].sha256)
    lines = [f"{manifest.files[member.file].sha256} {member.weight!r} {member.file}" for member in manifest.members]
    return hashlib.sha256("\n".join([manifest.combine, *lines, ""]).encode()).digest()


def to_json(manifest: Manifest) -> bytes:
    """The manifest as JSON that a person can read."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def from_json(data: bytes, source: str) -> Manifest:
    """The manifest that ``to_json`` wrote; ``source`` names it in the error.

    Raises BadModelError where it is not one, is one of another format, or contradicts itself.
    """
    if len(data) > MAX_BYTES:
        raise BadModelError(f"{source} is larger than a manifest may be: {len(data):,} of {MAX_BYTES:,} bytes")
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
        json.loads(data, object_pairs_hook=once)
    except RecursionError as error:
        raise BadModelError(f"{source} is not a model manifest: it is nested too deeply") from error
    except ValueError as error:
        raise BadModelError(f"{source} is not a model manifest: {brief(error)}") from error
    if manifest.format != FORMAT:
        raise BadModelError(f"{source} has format {manifest.format}; this version reads format {FORMAT}")
    problem = _problem(manifest)
    if problem:
        raise BadModelError(f"{source} {problem}")
    return manifest


def brief(error: Exception) -> str:
    """The text of an error about untrusted bytes, which it may quote, as one short line."""
    return "".join(char if char.isprintable() else "?" for char in str(error)[:200])


def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Two readers of an object that names something twice may each take another one of the two."""
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("it names something twice in one object")
    return members


def _problem(manifest: Manifest) -> str | None:
    return _file_problem(manifest) or _member_problem(manifest) or _value_problem(manifest)


def _file_problem(manifest: Manifest) -> str | None:
    if len(manifest.files) > MAX_FILES:
        return f"names more than {MAX_FILES} files"
    for name, file in manifest.files.items():
        if not FILE_NAME.fullmatch(name):
            return "names a file outside its directory, or one with a name that not every store can hold"
        if name in (MANIFEST_FILE, SIGNATURE_FILE):
            return f"cannot vouch for {name}"
        if not re.fullmatch("[0-9a-f]{64}", file.sha256) or file.size < 0:
            return f"has no digest and size for {name}"
    return None


def _member_problem(manifest: Manifest) -> str | None:
    members = manifest.members
    if not 1 <= len(members) <= MAX_MEMBERS:
        return f"must have 1 to {MAX_MEMBERS} members"
    if len({member.file for member in members}) != len(members):
        return "has one file as two members"
    for member in members:
        if member.file not in manifest.files:
            return f"names no {brief(ValueError(member.file))} among its files"
    if any(member.weight <= 0 for member in members) or abs(sum(member.weight for member in members) - 1) > 1e-9:
        return "has members whose weights are not positive with a sum of 1"
    return None


def _value_problem(manifest: Manifest) -> str | None:
    names = [feature.name for feature in manifest.features]
    if not names or len(set(names)) != len(names):
        return "has no features, or one twice"
    rows = manifest.golden_rows
    if not rows or any(len(row.features) != len(names) for row in rows):
        return "has no golden rows with a value for each feature"
    if any(not 0 <= row.score <= 1 for row in rows):
        return "has a golden row whose score is no probability"
    if not math.isfinite(manifest.prior_shift):
        return "has a prior shift that is not finite"
    if not 0 <= manifest.policy.review_at <= manifest.policy.decline_at <= 1:
        return "has a policy that reviews from a higher score on than it declines, or at no probability"
    return None
