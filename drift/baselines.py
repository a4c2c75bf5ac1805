"""Find the baseline of a model: among the files that were named, or beside the model in the store."""

from collections.abc import Collection
from pathlib import Path

import structlog

from consumer.settings import WorkerSettings
from drift.baseline import Baseline
from drift.baseline_file import FILE, MOST_BYTES, from_bytes
from drift.rule import rule_of
from drift.windows import SCALES, Scale, Watched
from models.registry import Registry, Version
from models.store import open_store
from schemas.errors import ConfigurationError

log = structlog.get_logger()


class Baselines:
    """The baselines in ``paths`` (files, or directories that hold one), then those that ``registry`` has."""

    def __init__(self, paths: Collection[Path], registry: Registry | None, scales: Collection[Scale] = SCALES) -> None:
        """``scales`` are those to be judged. Raises ConfigurationError for a file that cannot be read or is none."""
        self._registry = registry
        self._scales = scales
        self._known = {(each.name, each.version): each for each in map(_read, paths)}
        self._named = frozenset(self._known)
        for baseline in self._known.values():
            self._complain(baseline)

    def __call__(self, watched: Watched) -> Baseline | None:
        """The baseline of a model, or None where there is none as yet.

        Raises StoreUnavailableError where the store does not answer.
        """
        model = watched.name, watched.version
        if model not in self._known:
            found = self._published(*model)
            if found is None:
                return None
            self._known[model] = found
            self._complain(found)
        return self._known[model]

    def keep(self, watched: Collection[Watched]) -> None:
        """Forget those of the store of other models: each takes 2.5 MB or more, and can be read again."""
        kept = self._named | {(each.name, each.version) for each in watched}
        self._known = {model: baseline for model, baseline in self._known.items() if model in kept}

    def _published(self, name: str, version: str) -> Baseline | None:
        if self._registry is None:
            return None
        try:
            content = self._registry.file(Version(name, version), FILE)
            return None if content is None else from_bytes(content, f"{FILE} of {name}@{version}")
        except ConfigurationError as error:  # the other models are judged all the same
            log.warning("no_baseline", model=name, version=version, reason=str(error))
            return None

    def _complain(self, baseline: Baseline) -> None:
        for doubt in baseline.doubts_at(self._scales):
            log.warning("doubtful_baseline", model=baseline.name, version=baseline.version, reason=doubt)


def baselines_of(settings: WorkerSettings) -> Baselines:
    """The baselines that are named, those beside the models that a worker would serve, and those of the store.

    Raises ConfigurationError for one that is named and cannot be had.
    """
    models = [path for path in (settings.model, settings.challenger) if path is not None]
    registry = Registry(open_store(settings.store, settings.store_endpoint)) if settings.store else None
    return Baselines(
        [*settings.drift_baselines, *(path for path in models if (path / FILE).is_file())],
        registry,
        rule_of(settings).scales,
    )


def _read(path: Path) -> Baseline:
    file = path / FILE if path.is_dir() else path
    try:
        with file.open("rb") as opened:
            return from_bytes(opened.read(MOST_BYTES + 1), str(file))
    except OSError as error:
        raise ConfigurationError(f"drift_baselines: {file} cannot be read: {error.strerror}") from None
