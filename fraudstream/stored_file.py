"""Read and write one file at a path or at s3://bucket/key, by the same words."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from models.store import MOST_BYTES, ConflictError, ObjectStore, open_store
from schemas.errors import ConfigurationError


def read_file(location: str, endpoint: str | None = None, most: int = MOST_BYTES) -> bytes:
    """The content. Raises ConfigurationError where there is none, or more than ``most`` bytes."""
    if "://" in location:
        store, key = _split(location, endpoint)
        return store.get(key, most).content
    try:
        with Path(location).open("rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise ConfigurationError(f"{location} cannot be read: {error.strerror}") from None
    if len(content) > most:
        raise ConfigurationError(f"{location} has more than {most:,} bytes and was not read")
    return content


def write_file(location: str, content: bytes, endpoint: str | None = None) -> None:
    """Write the file, all or nothing, over what is there. Raises ConfigurationError where that cannot be."""
    if "://" in location:
        _put(*_split(location, endpoint), content)
        return
    path = Path(location)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        half.write_bytes(content)
        half.replace(path)
    except OSError as error:
        raise ConfigurationError(f"{location} cannot be written: {error.strerror}") from None
    finally:
        half.unlink(missing_ok=True)


@contextlib.contextmanager
def local_copy(location: str, endpoint: str | None = None) -> Iterator[Path]:
    """A path with the content: the path itself, or that of a copy which is gone at the end."""
    if "://" not in location:
        yield Path(location)
        return
    with tempfile.TemporaryDirectory() as scratch:
        copy = Path(scratch) / Path(location).name
        copy.write_bytes(read_file(location, endpoint))
        yield copy


def _split(location: str, endpoint: str | None) -> tuple[ObjectStore, str]:
    parent, _, key = location.rpartition("/")
    if parent.endswith("/") or not key:
        raise ConfigurationError(f"{location} names no file: s3://bucket/prefix/file")
    return open_store(parent, endpoint), key


def _put(store: ObjectStore, key: str, content: bytes) -> None:
    try:
        store.create(key, content)
    except ConflictError:
        there = store.get(key)
        if there.content != content:
            store.replace(key, content, there.etag)
