"""Keep objects in a directory of one machine, with the promises of S3: all or nothing, and compare-and-swap."""

import contextlib
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from models.store import (
    MOST_BYTES,
    ConflictError,
    NotStoredError,
    Progress,
    Stored,
    StoreUnavailableError,
    check_key,
    too_large,
    unheard,
)
from schemas.errors import NotPermittedError

_SCRATCH = ".scratch"
_LOCK = ".lock"
_PIECE = 2**20


class FolderStore:
    """An object is a file. Its etag is the SHA-256 of its content.

    A file is written beside the others and then linked or renamed into place, so a reader needs no lock and never sees
    half of one. Names that begin with a dot are ours: no key has one.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    @property
    def url(self) -> str:
        """The directory."""
        return str(self.root)

    def get(self, key: str, most: int = MOST_BYTES, progress: Progress = unheard) -> Stored:
        """See ObjectStore."""
        path = self._path(key)
        with self._errors(key), path.open("rb") as file:
            if os.fstat(file.fileno()).st_size > most:
                raise too_large(self.url, key, most)
            content = _read(file, progress)
        return Stored(content, _etag(content))

    def get_if_changed(self, key: str, etag: str) -> Stored | None:
        """See ObjectStore."""
        stored = self.get(key)
        return None if stored.etag == etag else stored

    def create(self, key: str, content: bytes, progress: Progress = unheard) -> str:
        """See ObjectStore."""
        path = self._path(key)
        with self._errors(key), self._written(content) as file:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                # A link, unlike a rename, fails where there is a file already: the kernel lets one of two win.
                os.link(file, path)
            except FileExistsError as error:
                raise ConflictError(f"{key} exists already in {self.url}") from error
            self._sync(path)
        progress(len(content))
        return _etag(content)

    def replace(self, key: str, content: bytes, etag: str) -> str:
        """See ObjectStore."""
        path = self._path(key)
        with self._errors(key), self._written(content) as file, self._locked():
            if not path.exists() or _etag(path.read_bytes()) != etag:
                raise ConflictError(f"{key} in {self.url} was changed by somebody else")
            file.replace(path)
            self._sync(path)
        return _etag(content)

    def keys(self, prefix: str) -> list[str]:
        """See ObjectStore."""
        with self._errors(prefix):
            found = [
                (Path(folder) / name).relative_to(self.root).as_posix()
                for folder, folders, names in os.walk(self.root, onerror=_raise_unless_absent)
                for name in _visible(names, folders)
            ]
        return sorted(key for key in found if key.startswith(prefix))

    def _path(self, key: str) -> Path:
        return self.root / check_key(key)

    @contextlib.contextmanager
    def _written(self, content: bytes) -> Iterator[Path]:
        """A file of our own with this content, on the disk, which is gone at the end unless it was moved."""
        scratch = self.root / _SCRATCH
        scratch.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=scratch)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                # mkstemp lets nobody else read; what is published is for everybody who may enter the directory.
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Only one process at a time is in here; the lock of one that dies is free at once."""
        with (self.root / _LOCK).open("ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _sync(self, path: Path) -> None:
        """Put the new name on the disk too, with those of the folders that were made for it."""
        for folder in (path.parent, *path.parent.parents):
            handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
            if folder == self.root:
                return

    @contextlib.contextmanager
    def _errors(self, key: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise NotStoredError(f"there is no {key} in {self.url}") from error
        except PermissionError as error:
            raise NotPermittedError(f"{error.filename} in the store {self.url}: permission denied") from error
        except OSError as error:
            raise StoreUnavailableError(f"{key} in {self.url}: {error.strerror}") from error


def _read(file: BinaryIO, progress: Progress) -> bytes:
    content = bytearray()
    while piece := file.read(_PIECE):
        content += piece
        progress(len(content))
    return bytes(content)


def _etag(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _visible(names: list[str], folders: list[str]) -> list[str]:
    """The names that are keys; ``folders`` loses those that ``os.walk`` is not to enter."""
    folders[:] = [folder for folder in folders if not folder.startswith(".")]
    return [name for name in names if not name.startswith(".")]


def _raise_unless_absent(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
