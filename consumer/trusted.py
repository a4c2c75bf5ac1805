"""Load the model that a person or a rollout names, if it is one that the settings trust."""

from collections.abc import Mapping
from pathlib import Path

from consumer.settings import WorkerSettings
from models.artifact import from_files, read_directory
from models.model import Model
from models.registry import Registry, Version, Watch, is_version, registry_at, unwatched
from models.sandbox import Trials
from models.signature import public_keys


class TrustedModels:
    """Models of directories and of the store of the settings, with a signature where ``model_public_keys`` ask for one.

    All are tried in one sandbox, which ``close`` ends; whoever loads another model afterwards gets another one. Each
    method raises BadModelError, with the reason, where a model is not what it claims to be.
    """

    def __init__(self, settings: WorkerSettings, watch: Watch = unwatched, registry: Registry | None = None) -> None:
        """``watch`` sees what comes from the store. Raises ConfigurationError if ``model_public_keys`` is wrong."""
        self._settings = settings
        self._watch = watch
        self._registry = registry
        self._keys = public_keys(settings.model_public_keys)
        self._trials = Trials()

    def named(self, name: str) -> Model:
        """The model of the directory ``name``, or of a ``NAME@VERSION`` of the store."""
        return self.version(Version.parse(name)) if is_version(name) else self.directory(Path(name))

    def directory(self, path: Path) -> Model:
        """The model in a directory."""
        return self.files(read_directory(path), str(path))

    def version(self, version: Version) -> Model:
        """A published model. Raises what the store raises, and ConfigurationError where the settings name none."""
        if self._registry is None:
            self._registry = registry_at(self._settings.store, self._settings.store_endpoint)
        return self.files(self._registry.fetch(version, self._watch), str(version))

    def files(self, files: Mapping[str, bytes], source: str) -> Model:
        """The model that ``files`` (by name) hold; ``source`` names it in errors."""
        return from_files(files, source, keys=self._keys, sandbox=self._trials)

    def close(self) -> None:
        """End the sandbox."""
        self._trials.close()
