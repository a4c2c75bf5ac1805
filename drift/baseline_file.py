"""Write a baseline as a file of plain numbers, and read one without trusting it.

The file is NumPy's npz, uncompressed: nothing in it can be run, and nothing unpacks to more than it is.
"""

import hashlib
import io
import math
import struct
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.lib import format as format_
from numpy.typing import NDArray

from drift.baseline import Baseline, Nature, OwnWindows, Profile
from drift.report import Kind
from drift.volume import HOURS, Hours
from schemas.errors import ConfigurationError

FORMAT = 1
"""A reader refuses another one: it would not know what it is missing."""

FILE = "baseline.npz"
"""What a baseline is called beside the model that it belongs to."""

MOST_BYTES = 64 * 2**20
MOST_EVENTS = 2**53
"""Beyond it a count is no exact float."""

_ARRAYS = {"values": "<f4", "counts": "<i8", "deciles": "<f4"}
"""Each holds that of all features one after the other, and that of the score at the end."""


@dataclass(frozen=True, slots=True)
class _Column:
    """A profile, with the lengths of its arrays in their place."""

    name: str
    nature: Nature
    rows: int
    missing: int
    infinite: int
    values: int
    counts: int
    deciles: int
    believed: tuple[float, float] | None
    outside: int


@dataclass(frozen=True, slots=True)
class _Own:
    """As OwnWindows, ``largest`` by kind and subject with a space between."""

    scale: str
    length: int
    count: int
    largest: dict[str, float]


@dataclass(frozen=True, slots=True)
class _About:
    """As Baseline, without its arrays."""

    format: int
    name: str
    version: str
    source: str
    first_time: int
    last_time: int
    rows: int
    rows_per_card: float
    features: tuple[_Column, ...]
    score: _Column | None
    alerts: tuple[int, int] | None
    own: tuple[_Own, ...]
    volume: Hours | None = None


class _Unsound(Exception):  # noqa: N818 - not an error of the program
    """What is wrong with the content of a file."""


def to_bytes(baseline: Baseline) -> bytes:
    """The content of the file; equal baselines give equal bytes."""
    profiles = _profiles(baseline)
    plain = {name: value for name, value in asdict(baseline).items() if name != "sha256"}
    if baseline.volume is None:
        del plain["volume"]  # as in files that are older than it
    plain |= {
        "format": FORMAT,
        "features": [_column(profile) for profile in baseline.features],
        "score": None if baseline.score is None else _column(baseline.score),
        "own": [_own(own) for own in baseline.own],
    }
    about = np.frombuffer(msgspec.json.encode(plain, order="sorted"), np.uint8)
    arrays = {
        name: np.concatenate([getattr(profile, name) for profile in profiles]).astype(kind)
        for name, kind in _ARRAYS.items()
    }
    out = io.BytesIO()
    np.savez(out, about=about, **arrays)  # type: ignore[arg-type]
    return out.getvalue()


def from_bytes(data: bytes, source: str) -> Baseline:
    """The baseline that ``to_bytes`` wrote; ``source`` names it in the error.

    Raises ConfigurationError for bytes that are no baseline, or one that contradicts itself.
    """
    try:
        about, arrays = _read(data)
        return _baseline(about, arrays, hashlib.sha256(data).hexdigest())
    except _Unsound as error:
        raise ConfigurationError(f"{source} is not a baseline: {error}") from None


def _profiles(baseline: Baseline) -> list[Profile]:
    return [*baseline.features, *([] if baseline.score is None else [baseline.score])]


def _column(profile: Profile) -> dict[str, Any]:
    plain = {name: getattr(profile, name) for name in profile.__slots__}
    return plain | {name: len(plain[name]) for name in _ARRAYS}


def _own(own: OwnWindows) -> _Own:
    largest = {f"{kind.value} {subject}": value for (subject, kind), value in own.largest.items()}
    return _Own(own.scale, own.length, own.count, largest)


def _read(data: bytes) -> tuple[_About, dict[str, NDArray[Any]]]:
    if len(data) > MOST_BYTES:
        raise _Unsound(f"it has more than {MOST_BYTES:,} bytes")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise _Unsound("it is compressed, and could unpack to any size")
            arrays = {name: _array(archive.read(f"{name}.npy"), name, kind) for name, kind in _ARRAYS.items()}
            text = _array(archive.read("about.npy"), "about", "u1").tobytes()
        about = msgspec.json.decode(text, type=_About)
    except (OSError, EOFError, KeyError, ValueError, struct.error, zipfile.BadZipFile, RuntimeError) as error:
        raise _Unsound("it is damaged, or something else") from error
    if about.format != FORMAT:
        raise _Unsound(f"it has format {about.format}, and this version reads format {FORMAT}")
    return about, arrays


def _array(data: bytes, name: str, kind: str) -> NDArray[Any]:
    """The numbers in a member. NumPy's own reader would allocate whatever the header says before it reads."""
    file = io.BytesIO(data)
    version = format_.read_magic(file)
    if version != (1, 0):
        raise ValueError(version)
    shape, _, dtype = format_.read_array_header_1_0(file)
    if dtype != np.dtype(kind) or shape != ((len(data) - file.tell()) // dtype.itemsize,):
        raise _Unsound(f"its {name} are of another type or number")
    return np.frombuffer(data, dtype, shape[0], file.tell())


def _baseline(about: _About, arrays: dict[str, NDArray[Any]], sha256: str) -> Baseline:
    columns = [*about.features, *([] if about.score is None else [about.score])]
    profiles = _cut(columns, arrays)
    if len({profile.name for profile in profiles[: len(about.features)]}) != len(about.features):
        raise _Unsound("it describes a feature twice")
    for profile in profiles:
        _check(profile)
    if about.rows < 1 or not 1 <= about.rows_per_card <= about.rows or about.last_time < about.first_time:
        raise _Unsound("it is made of no rows, or of no time")
    if about.alerts is not None and not 0 <= about.alerts[0] <= about.alerts[1] > 0:
        raise _Unsound("it counts more alerts than events")
    if about.volume is not None and not _is_a_day(about.volume):
        raise _Unsound("its usual day has no 24 hours, or events in no time")
    plain = {name: getattr(about, name) for name in about.__slots__ if name != "format"}
    plain |= {
        "features": tuple(profiles[: len(about.features)]),
        "score": None if about.score is None else profiles[-1],
        "own": tuple(map(_own_windows, about.own)),
    }
    return Baseline(**plain, sha256=sha256)


def _is_a_day(volume: Hours) -> bool:
    hours = zip(volume.events, volume.minutes, strict=False)
    return {len(volume.events), len(volume.minutes)} == {HOURS} and all(
        0 <= minutes <= MOST_EVENTS and 0 <= events <= MOST_EVENTS * bool(minutes) for events, minutes in hours
    )


def _cut(columns: Sequence[_Column], arrays: dict[str, NDArray[Any]]) -> list[Profile]:
    pieces: dict[str, list[NDArray[Any]]] = {}
    for name, array in arrays.items():
        lengths = [getattr(column, name) for column in columns]
        if min(lengths, default=0) < 0 or sum(lengths) != len(array):
            raise _Unsound(f"it has more {name} than it describes, or fewer")
        pieces[name] = np.split(array, np.cumsum(lengths)[:-1])
    plain = ({name: getattr(column, name) for name in column.__slots__} for column in columns)
    return [Profile(**fields | {name: pieces[name][at] for name in arrays}) for at, fields in enumerate(plain)]


def _check(profile: Profile) -> None:
    values, counts = profile.values, profile.counts
    sizes = profile.rows, profile.missing, profile.infinite, profile.outside, profile.finite
    if min(sizes) < 0 or profile.outside > profile.finite:
        raise _Unsound(f"its counts of {profile.name} contradict each other")
    if not np.isfinite(values).all() or not np.isfinite(profile.deciles).all():
        raise _Unsound(f"it has a value of {profile.name} that is no number")
    is_continuous = profile.nature is Nature.CONTINUOUS
    rises = np.diff(values) >= 0 if is_continuous else np.diff(values) > 0
    if not rises.all() or (np.diff(profile.deciles) < 0).any() or len(profile.deciles) != 9 * is_continuous:
        raise _Unsound(f"its values of {profile.name} do not rise")
    if len(counts) != (10 if is_continuous else len(values)) or (counts < (0 if is_continuous else 1)).any():
        raise _Unsound(f"its counts of {profile.name} are not those of its values")
    if profile.finite != counts.sum() or (is_continuous and profile.finite != len(values)):
        raise _Unsound(f"its rows of {profile.name} are not those of its values")
    if profile.nature is Nature.CONSTANT and len(values) > 1:
        raise _Unsound(f"its {profile.name} is a constant with several values")
    if profile.believed is not None and not profile.believed[0] <= profile.believed[1]:
        raise _Unsound(f"it believes no value of {profile.name}")


def _own_windows(own: _Own) -> OwnWindows:
    if own.count < 0 or own.length < 0:
        raise _Unsound(f"it has fewer than no windows of {own.scale}")
    kinds = {kind.value: kind for kind in Kind}
    largest = {}
    for key, value in own.largest.items():
        kind, _, subject = key.partition(" ")
        if kind not in kinds or not math.isfinite(value) or value < 0:
            raise _Unsound(f"it knows no usual difference {value} of {key!r}")
        largest[subject, kinds[kind]] = value
    return OwnWindows(own.scale, own.length, own.count, largest)
