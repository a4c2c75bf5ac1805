"""Decide which of two rollouts that were written at the same time is in force, and keep every one that ever was."""

import contextlib
from dataclasses import dataclass

from models.rollout import MAX_BYTES, Document, check, from_json, to_json
from models.store import ConflictError, NotStoredError, ObjectStore, StoreUnavailableError
from schemas.errors import ConfigurationError

CURRENT_KEY = "rollout/current.json"
_HISTORY = "rollout/history/"


@dataclass(frozen=True, slots=True)
class RolloutStore:
    """The rollout in a store of models: one object that is swapped, and beside it one for each that ever was.

    The swap of ``current.json`` is the moment at which a rollout comes into force. Its entry in the history is written
    after it, and by everybody who is about to swap it away: so whatever was in force is in the history at the latest
    before it is replaced, and nothing is there that never was. Who reads the history needs no right to mend it.
    """

    store: ObjectStore

    def current(self) -> tuple[Document, str]:
        """The rollout in force, and its etag. Raises NotStoredError where there is none."""
        try:
            stored = self.store.get(CURRENT_KEY, MAX_BYTES)
        except NotStoredError as error:
            raise NotStoredError(f"there is no rollout in {self.store.url} yet") from error
        return self._read(stored.content, CURRENT_KEY), stored.etag

    def changed_since(self, etag: str) -> tuple[Document, str] | None:
        """The rollout in force and its etag, or None, which is quick, while it is the one with this ``etag``."""
        stored = self.store.get_if_changed(CURRENT_KEY, etag)
        return None if stored is None else (self._read(stored.content, CURRENT_KEY), stored.etag)

    def at(self, epoch: int) -> Document:
        """The rollout that has or had this number. Raises NotStoredError where there was none."""
        with contextlib.suppress(NotStoredError):
            return self._read(self.store.get(_key(epoch), MAX_BYTES).content, _key(epoch))
        current, _ = self.current()
        if current.epoch != epoch:
            raise NotStoredError(f"there is no rollout {epoch} in {self.store.url}, only 1 to {current.epoch}")
        return current

    def history(self) -> list[Document]:
        """Every rollout that ever was in force, the first one first."""
        keys = [key for key in self.store.keys(_HISTORY) if key.endswith(".json")]
        documents = [self._read(self.store.get(key, MAX_BYTES).content, key) for key in keys]
        with contextlib.suppress(NotStoredError):
            documents.append(self.current()[0])
        return [document for _, document in sorted({each.epoch: each for each in documents}.items())]

    def write(self, document: Document, expected_etag: str | None) -> str:
        """Bring a rollout into force, if the one with ``expected_etag`` still is (None: if there is none); its etag.

        Raises ConflictError where somebody else was quicker, ConfigurationError where the document is insane or does
        not follow upon the one in force.
        """
        check(document)
        before = self._settled(expected_etag)
        if document.epoch != before + 1:
            raise ConfigurationError(f"epoch: rollout {before + 1} is the next one in {self.store.url}")
        content = to_json(document)
        if expected_etag is None:
            etag = self.store.create(CURRENT_KEY, content)
        else:
            etag = self.store.replace(CURRENT_KEY, content, expected_etag)
        # It is in force: that its entry must wait for whoever writes next is no failure of this change.
        with contextlib.suppress(StoreUnavailableError):
            self._record(document.epoch, content)
        return etag

    def _settled(self, expected_etag: str | None) -> int:
        """The number of the rollout in force, its entry in the history being there; 0 where there is none.

        Raises ConflictError unless it is the one with this etag, and nothing is recorded after it.
        """
        epoch = 0
        if expected_etag is not None:
            stored = self.store.get(CURRENT_KEY, MAX_BYTES)
            if stored.etag != expected_etag:
                raise ConflictError(f"{CURRENT_KEY} in {self.store.url} was changed by somebody else")
            epoch = self._read(stored.content, CURRENT_KEY).epoch
            self._record(epoch, stored.content)
        with contextlib.suppress(NotStoredError):
            self.store.get(_key(epoch + 1))
            raise ConflictError(
                f"{_key(epoch + 1)} is in {self.store.url} already: somebody else changed the rollout, "
                f"or {CURRENT_KEY} was put back or removed by hand"
            )
        return epoch

    def _record(self, epoch: int, content: bytes) -> None:
        """Write the entry of a rollout that is in force, or find it there."""
        try:
            self.store.create(_key(epoch), content)
        except ConflictError as error:
            if self.store.get(_key(epoch)).content != content:
                raise ConfigurationError(
                    f"{_key(epoch)} in {self.store.url} is not the rollout {epoch} of {CURRENT_KEY}"
                ) from error

    def _read(self, content: bytes, key: str) -> Document:
        return from_json(content, f"{key} in {self.store.url}")


def _key(epoch: int) -> str:
    return f"{_HISTORY}{epoch:06}.json"
