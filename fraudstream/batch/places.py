"""Decide what a place of data files must promise, whether it is S3 or a directory."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol
from urllib.parse import urlsplit

import pyarrow as pa

from schemas.errors import ConfigurationError

KINDS = (".parquet", ".csv")


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file by its ``name``, which is its path within the place, with its size in bytes."""

    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Opened:
    """A file as it was when it was opened.

    ``digest`` gives what changes with its bytes, and ``check`` raises FraudstreamError where they have changed since.
    Where it ``is_far``, each read costs a round trip, and few large ones are better than many small ones.
    """

    file: pa.NativeFile
    size: int
    digest: Callable[[], str]
    check: Callable[[], None]
    is_far: bool


class Place(Protocol):
    """Files under names.

    Methods raise NotPermittedError where a right is missing, NotStoredError where a file is not there and
    StoreUnavailableError where the place does not answer.
    """

    def address(self, name: str) -> str:
        """Where a file is, for messages and decisions."""

    def files(self) -> list[DataFile]:
        """All files, by name; none where there is no such place."""

    def open(self, name: str) -> AbstractContextManager[Opened]:
        """The file, to read within the block."""

    def create(self, name: str) -> AbstractContextManager[pa.NativeFile]:
        """A file to write, which stands there whole after the block and not before; an exception leaves no trace."""

    def delete(self, name: str) -> None:
        """There is no such file from here on."""

    def reserve(self) -> AbstractContextManager[None]:
        """Write here alone, where that can be had. Raises ConflictError where another run does."""


def open_place(url: str, endpoint: str | None) -> Place:
    """The directory or the part of a bucket that ``url`` names; ``endpoint`` is that of an S3-compatible service."""
    parts = urlsplit(url)
    if parts.scheme == "s3":
        from fraudstream.batch.bucket import Bucket  # noqa: PLC0415 - boto3 takes a third of a second to load

        if not parts.netloc:
            raise ConfigurationError(f"{url} names no bucket: s3://bucket/prefix")
        return Bucket(parts.netloc, parts.path.strip("/"), endpoint)
    from fraudstream.batch.directory import Directory  # noqa: PLC0415

    if "://" in url or not url:
        raise ConfigurationError(f"{url!r} is neither s3://bucket/prefix nor a directory")
    return Directory(Path(url))


def is_data(name: str) -> bool:
    """Whether the name is none of those that tools keep beside data (``_SUCCESS``, ``.crc``, ...)."""
    return not any(part.startswith((".", "_")) for part in PurePosixPath(name).parts)
