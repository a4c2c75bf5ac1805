"""Decide what a place for models and the rollout must promise, whether it is S3 or a folder.

FraudstreamError
├── ConfigurationError
│   └── NotStoredError      nothing is kept under this key: exit code 78
├── ConflictError           somebody else wrote first; read again and decide again: exit code 1
└── StoreUnavailableError   the store does not answer, or not in time; what was asked may be tried later: exit code 1

NotPermittedError (schemas/errors.py) is raised where the store refuses us.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import unquote, urlsplit

from schemas.errors import ConfigurationError, FraudstreamError

MOST_BYTES = 256 * 2**20
"""No object that we keep is larger: a model of 10,000 trees of depth 8 has about 100 MB."""

Progress = Callable[[int], None]
"""Told how many bytes of an object have moved so far. A transfer that starts again starts again from 0."""

_KEY = re.compile(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]*(/[A-Za-z0-9_+-][A-Za-z0-9._+-]*)*")


class NotStoredError(ConfigurationError):
    """Catch this where the absence of an object is an answer."""


class ConflictError(FraudstreamError):
    """Catch this to read what is there now, and to decide again."""


class StoreUnavailableError(FraudstreamError):
    """Catch this to go on with what you have. A write that ended so may have been made or not."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An object as it was at one moment. ``etag`` changes whenever the content does."""

    content: bytes
    etag: str


def unheard(_: int) -> None:
    """Nobody watches the progress."""


class ObjectStore(Protocol):
    """Bytes under keys such as ``models/card-fraud/7/model.ubj``. Every write is all or nothing, and durable.

    All methods raise NotPermittedError where a right is missing and StoreUnavailableError where the store is away.
    """

    @property
    def url(self) -> str:
        """Where this is, for messages to people."""

    def get(self, key: str, most: int = MOST_BYTES, progress: Progress = unheard) -> Stored:
        """The object, whole. Raises NotStoredError, and ConfigurationError unread where it has over ``most`` bytes."""

    def get_if_changed(self, key: str, etag: str) -> Stored | None:
        """The object, or None while its etag is still ``etag``. Raises as ``get`` does."""

    def create(self, key: str, content: bytes, progress: Progress = unheard) -> str:
        """Write an object that is not there yet; its etag. Raises ConflictError where there is one."""

    def replace(self, key: str, content: bytes, etag: str) -> str:
        """Write over the object with this etag; the new etag. Raises ConflictError where it is another by now."""

    def keys(self, prefix: str) -> list[str]:
        """The keys that begin with ``prefix``, sorted."""


def check_key(key: str) -> str:
    """The key. Raises ConfigurationError for one that could leave the store or hide in it."""
    if not _KEY.fullmatch(key):
        raise ConfigurationError(f"{key!r} is no key of a store: use letters, digits and . _ + - between slashes")
    return key


def too_large(url: str, key: str, most: int) -> ConfigurationError:
    """The refusal of an object that is larger than its reader takes."""
    return ConfigurationError(f"{key} in {url} has more than {most:,} bytes and was not read")


def open_store(url: str, endpoint: str | None = None) -> ObjectStore:
    """The store at ``s3://bucket/prefix``, ``file:///path`` or a plain path.

    ``endpoint`` is the address of an S3-compatible service; boto3's own variables and files hold where it is None.
    Raises ConfigurationError for another kind of address.
    """
    # Only the branch that is taken costs its imports: boto3 takes a third of a second to load.
    parts = urlsplit(url)
    if parts.scheme == "s3":
        from models.s3 import S3Store  # noqa: PLC0415

        if not parts.netloc:
            raise ConfigurationError(f"store: {url} names no bucket: s3://bucket/prefix")
        return S3Store(parts.netloc, parts.path.strip("/"), endpoint)
    from models.folder import FolderStore  # noqa: PLC0415

    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return FolderStore(Path(unquote(parts.path)))
    if "://" in url or not url:
        raise ConfigurationError(f"store: {url!r} is neither s3://bucket/prefix nor a directory")
    return FolderStore(Path(url))
