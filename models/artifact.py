"""Decide whether the files of a model are the model they claim to be, and only then load it."""

import os
import stat
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from models import content, manifest, signature
from models.manifest import MANIFEST_FILE, SIGNATURE_FILE, File, Manifest, from_json, to_json
from models.model import Model, open_model
from models.reasons import REASONS_FILE
from models.sandbox import Sandbox, Trials
from models.structure import check_structure
from schemas.errors import BadModelError, ConfigurationError

MAX_BYTES = 256 * 2**20
"""All files of a model together. The default model has 200 kB, 1,000 trees of depth 10 have 50 MB."""


def load(path: Path, threads: int = 1, keys: Sequence[Ed25519PublicKey] = (), sandbox: Sandbox | None = None) -> Model:
    """The model in the directory ``path``, as ``from_files`` gives it. Raises BadModelError for the same reasons."""
    return from_files(read_directory(path), str(path), threads, keys, sandbox)


def from_files(
    files: Mapping[str, bytes],
    source: str,
    threads: int = 1,
    keys: Sequence[Ed25519PublicKey] = (),
    sandbox: Sandbox | Trials | None = None,
) -> Model:
    """The model that ``files`` (by name) hold, scoring on ``threads`` threads; ``source`` names it in errors.

    Sizes, then digests, then the signature by one of ``keys`` (if there are any), then the trees read by our own
    parser, then a trial in ``sandbox`` (one of its own if None) with the golden rows. A damaged model file can crash
    the interpreter or score silently wrong, so XGBoost sees it in this process last.

    Raises BadModelError, with the reason, where any of it fails.
    """
    described = check_files(files, source, keys)
    members = [member.file for member in described.members]
    tried = {name: files[name] for name in (MANIFEST_FILE, REASONS_FILE, *members) if name in files}
    if sandbox is not None:
        sandbox.check(tried, source)
    else:
        with Sandbox() as own:
            own.check(tried, source)
    return open_model(described, files, threads)


def check_files(files: Mapping[str, bytes], source: str, keys: Sequence[Ed25519PublicKey] = ()) -> Manifest:
    """The manifest of ``files``, all that can be checked without XGBoost being checked: some 20 ms.

    Raises BadModelError as ``from_files`` does.
    """
    total = sum(map(len, files.values()))
    if total > MAX_BYTES:
        raise BadModelError(f"{source} is larger than a model may be: {total:,} of {MAX_BYTES:,} bytes")
    if MANIFEST_FILE not in files:
        raise BadModelError(f"{source} has no {MANIFEST_FILE}")
    described = from_json(files[MANIFEST_FILE], f"{source}/{MANIFEST_FILE}")
    for name, file in described.files.items():
        if name not in files:
            raise BadModelError(f"{source} has no {name}, which its manifest names")
        if File.of(files[name]) != file:
            raise BadModelError(
                f"{source}/{name} is not the file its manifest describes: it was altered or half copied"
            )
    if keys:
        signature.verify(files[MANIFEST_FILE], files.get(SIGNATURE_FILE), keys, f"{source}/{MANIFEST_FILE}")
    features = tuple(feature.name for feature in described.features)
    for member in described.members:
        what = content.refusal(files[member.file][:512])
        if what:
            raise BadModelError(f"{source}/{member.file} is not an XGBoost model in UBJ: it is {what}")
        check_structure(files[member.file], features, f"{source}/{member.file}")
    return described


def check_features(described: Manifest, columns: Collection[str], source: str) -> None:
    """Raise BadModelError, naming ``source``, unless each feature of the model is among ``columns``."""
    missing = [feature.name for feature in described.features if feature.name not in columns]
    if missing:
        named = ", ".join(missing[:5]) + (", …" if len(missing) > 5 else "")
        raise BadModelError(f"{source} needs features that the input does not have: {named}")


def read_directory(path: Path) -> dict[str, bytes]:
    """The manifest in the directory ``path``, its signature if there is one, and the files that it names.

    Raises BadModelError where one is missing, is no file, or is larger than the manifest says or a model may be.
    """
    if path.is_file():
        what = content.refusal(_read(path, 512, cut=True)) or "a file"
        raise BadModelError(f"{path} is {what}; give the directory of a model, such as `fraudstream train` writes")
    files = {MANIFEST_FILE: _read(path / MANIFEST_FILE, manifest.MAX_BYTES)}
    described = from_json(files[MANIFEST_FILE], str(path / MANIFEST_FILE))
    if (path / SIGNATURE_FILE).exists():
        files[SIGNATURE_FILE] = _read(path / SIGNATURE_FILE, signature.SIGNATURE_BYTES)
    left = MAX_BYTES - sum(map(len, files.values()))
    for name, file in described.files.items():
        files[name] = _read(path / name, min(left, file.size))
        left -= len(files[name])
    return files


def _read(path: Path, limit: int, *, cut: bool = False) -> bytes:
    """At most ``limit`` bytes of a file; a larger one is refused, or cut."""
    try:
        # Without O_NONBLOCK a pipe in the place of a file would be waited for until somebody writes to it.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # noqa: PTH123 - of a descriptor
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise BadModelError(f"{path} is not a file")
            data = b"" if found.st_size > limit and not cut else file.read(limit if cut else limit + 1)
    except OSError as error:
        raise BadModelError(f"{path} cannot be read: {error.strerror}") from error
    if max(found.st_size, len(data)) > limit and not cut:
        raise BadModelError(f"{path} is larger than it may be: more than {limit:,} bytes")
    return data


def save(path: Path, described: Manifest, files: Mapping[str, bytes]) -> Manifest:
    """Write an artifact to the directory ``path``: all of it or nothing. An artifact that is there is replaced.

    Returns the manifest that was written, which describes ``files``.

    Raises ConfigurationError where ``path`` is something else than an artifact, or cannot be written.
    """
    if path.exists() and not (path.is_dir() and (_is_artifact(path) or not any(path.iterdir()))):
        raise ConfigurationError(f"{path} exists and is not a model: give another directory")
    described = replace(described, files={name: File.of(data) for name, data in files.items()})
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
    for name, data in files.items():
        with (new / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    if path.exists():
        # A directory cannot be renamed onto another one that has files in it: the old one steps aside first.
        path.rename(old)
    new.rename(path)


def _is_artifact(path: Path) -> bool:
    return (path / MANIFEST_FILE).is_file()
