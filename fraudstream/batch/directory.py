"""Keep data files in a directory: what is written is renamed into place, what is read may not change meanwhile."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import xxhash

from fraudstream.batch.places import DataFile, Opened
from models.store import ConflictError, NotStoredError, StoreUnavailableError
from schemas.errors import FraudstreamError, NotPermittedError

_PIECE = 2**20
_LOCK = ".fraudstream-batch.lock"


class Directory:
    """The files below ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def address(self, name: str) -> str:
        """See Place."""
        return (self.root / name).as_posix()

    def files(self) -> list[DataFile]:
        """See Place."""
        with self._errors(self.root):
            walk = os.walk(self.root, onerror=_raise_unless_absent)
            paths = [Path(folder) / name for folder, _, names in walk for name in names]
            paths = [path for path in paths if path.is_file()]  # a pipe would make us wait, a broken link is nothing
            found = [DataFile(path.relative_to(self.root).as_posix(), path.stat().st_size) for path in paths]
        return sorted(found, key=lambda file: file.name)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[Opened]:
        """See Place."""
        path = self.root / name
        with self._errors(path), pa.OSFile(str(path)) as file:
            before = path.stat()

            def check() -> None:
                now = path.stat()
                if (now.st_ino, now.st_size, now.st_mtime_ns) != (before.st_ino, before.st_size, before.st_mtime_ns):
                    raise FraudstreamError(f"{path} was changed while it was read")

            yield Opened(file, before.st_size, lambda: _digest(path), check, is_far=False)

    @contextlib.contextmanager
    def create(self, name: str) -> Iterator[pa.NativeFile]:
        """See Place."""
        path = self.root / name
        # One name for whatever was begun, so that the next run writes over what a killed one left.
        partial = path.with_name(f".{path.name}.partial")
        with self._errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                with pa.OSFile(str(partial), "wb") as file:
                    yield file
                _sync(partial)
                partial.replace(path)
                _sync(path.parent)
            finally:
                partial.unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        """See Place."""
        with self._errors(self.root / name):
            (self.root / name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def reserve(self) -> Iterator[None]:
        """See Place. The lock of a run that dies is free at once."""
        with self._errors(self.root):
            self.root.mkdir(parents=True, exist_ok=True)
            lock = (self.root / _LOCK).open("ab")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ConflictError(f"another run is writing to {self.root}") from error
            yield

    @contextlib.contextmanager
    def _errors(self, path: Path) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise NotStoredError(f"there is no {error.filename or path}") from error
        except PermissionError as error:
            raise NotPermittedError(f"{error.filename or path}: permission denied") from error
        except OSError as error:
            raise StoreUnavailableError(f"{path}: {error.strerror or error}") from error


def _digest(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return f"xxh3:{digest.hexdigest()}"


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _raise_unless_absent(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
