"""Decide what a version of a model is: a name for bytes that never change, and that are all there."""

import contextlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from models.manifest import MANIFEST_FILE, SIGNATURE_FILE, File, Manifest, from_json
from models.store import MOST_BYTES, ConflictError, NotStoredError, ObjectStore, Progress, open_store
from schemas.errors import ConfigurationError

Watch = Callable[[str, int, int], None]
"""Told the name of a file, how many of its bytes have moved so far, and how many it has."""

_FOLDER = "models/"
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,127}")


@dataclass(frozen=True, slots=True, order=True)
class Version:
    """Which model, of which name: ``card-fraud@3f2a91``."""

    name: str
    version: str

    def __post_init__(self) -> None:
        for word in (self.name, self.version):
            if not _WORD.fullmatch(word):
                raise ConfigurationError(
                    f"{word!r} cannot be part of NAME@VERSION: use letters, digits and . _ + -, 128 at most"
                )

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The version that ``NAME@VERSION`` means. Raises ConfigurationError for another form."""
        name, _, version = text.partition("@")
        return cls(name, version)

    def key(self, file: str) -> str:
        """Where the store keeps a file of it."""
        return f"{_FOLDER}{self.name}/{self.version}/{file}"


def is_version(name: str) -> bool:
    """Whether a name means a version in a store: ``NAME@VERSION``, unless a file or a directory is called so."""
    return "@" in name and "://" not in name and not Path(name).exists()


def unwatched(_: str, __: int, ___: int) -> None:
    """Nobody watches the files."""


@dataclass(frozen=True, slots=True)
class Registry:
    """The models in a store. A version exists from the moment at which its manifest does, which is written last."""

    store: ObjectStore

    def publish(self, files: Mapping[str, bytes], watch: Watch = unwatched) -> bool:
        """Publish the model that ``files`` (by name) hold. False where the very same is published already.

        Raises ConflictError where other bytes bear its name and version, ConfigurationError where ``files`` are not
        what their manifest says.
        """
        described = from_json(files[MANIFEST_FILE], MANIFEST_FILE)
        version = Version(described.name, described.version)
        for name, file in described.files.items():
            _check(files[name], file, name)
        present = self._present(version.key(MANIFEST_FILE))
        if present not in (None, files[MANIFEST_FILE]):
            raise _differs(version, MANIFEST_FILE)
        if present is None:
            for name in described.files:
                self._create(version, name, files[name], watch)
        if SIGNATURE_FILE in files:
            self._create(version, SIGNATURE_FILE, files[SIGNATURE_FILE], watch)
        return self._create(version, MANIFEST_FILE, files[MANIFEST_FILE], watch)

    def versions(self) -> list[Version]:
        """All that are published, by name."""
        found = []
        for key in self.store.keys(_FOLDER):
            parts = key.split("/")
            if len(parts) == 4 and parts[3] == MANIFEST_FILE:
                found.append(Version(parts[1], parts[2]))
        return sorted(found)

    def manifest(self, version: Version) -> Manifest:
        """What is said of a version. Raises NotStoredError where it is not published."""
        return self._manifest(version)[1]

    def is_signed(self, version: Version) -> bool:
        """Whether there is a signature; whose it is, and whether it is good, is judged when the model is loaded."""
        return self._present(version.key(SIGNATURE_FILE)) is not None

    def fetch(self, version: Version, watch: Watch = unwatched) -> dict[str, bytes]:
        """The files of a version by name, each the one that its manifest describes.

        Raises NotStoredError where the version or one of its files is not there, ConfigurationError where a file is
        not what it was.
        """
        content, described = self._manifest(version)
        files = {MANIFEST_FILE: content}
        for name, file in described.files.items():
            key = version.key(name)
            most = min(file.size, MOST_BYTES)
            files[name] = self.store.get(key, most, _of(file.size, partial(watch, name))).content
            _check(files[name], file, f"{key} in {self.store.url}")
        signature = self._present(version.key(SIGNATURE_FILE))
        return files if signature is None else files | {SIGNATURE_FILE: signature}

    def file(self, version: Version, name: str) -> bytes | None:
        """One file of a version, the one that its manifest describes; None where it has none of this name.

        Raises as ``fetch`` does.
        """
        described = self.manifest(version).files.get(name)
        if described is None:
            return None
        key = version.key(name)
        content = self.store.get(key, min(described.size, MOST_BYTES)).content
        _check(content, described, f"{key} in {self.store.url}")
        return content

    def _manifest(self, version: Version) -> tuple[bytes, Manifest]:
        key = version.key(MANIFEST_FILE)
        try:
            content = self.store.get(key).content
        except NotStoredError as error:
            raise NotStoredError(f"{version} is not published in {self.store.url}") from error
        described = from_json(content, f"{key} in {self.store.url}")
        if Version(described.name, described.version) != version:
            raise ConfigurationError(
                f"{key} in {self.store.url} is the manifest of {described.name}@{described.version}"
            )
        return content, described

    def _present(self, key: str) -> bytes | None:
        with contextlib.suppress(NotStoredError):
            return self.store.get(key).content
        return None

    def _create(self, version: Version, name: str, content: bytes, watch: Watch) -> bool:
        """Write a file of a version, or find that it is there: of somebody who publishes the same, or once began to."""
        key = version.key(name)
        try:
            self.store.create(key, content, _of(len(content), partial(watch, name)))
        except ConflictError as error:
            if self._present(key) != content:
                raise _differs(version, name) from error
            return False
        return True


def registry_at(store: str | None, endpoint: str | None = None) -> Registry:
    """The models in the store that the settings name. Raises ConfigurationError where they name none."""
    if store is None:
        raise ConfigurationError("store: say where models are kept, with --store, FRAUDSTREAM_STORE or in the file")
    return Registry(open_store(store, endpoint))


def _of(size: int, watch: Callable[[int, int], None]) -> Progress:
    return lambda done: watch(done, size)


def _check(content: bytes, file: File, source: str) -> None:
    if File.of(content) != file:
        raise ConfigurationError(f"{source} is not the file its manifest describes: it was altered or half copied")


def _differs(version: Version, name: str) -> ConflictError:
    return ConflictError(
        f"{version} is published, or was begun to be, with another {name}, and a version never changes: "
        "publish under another version"
    )
