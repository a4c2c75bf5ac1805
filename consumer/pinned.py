"""Decide what a replay is decided by: one model, or one rollout, and the same from its beginning to its end."""

from dataclasses import replace
from datetime import UTC, datetime

from consumer.loading import Loader, load_serving
from consumer.serving import Serving
from consumer.settings import WorkerSettings
from models.registry import Registry, Version
from models.rollout import Changed, Document, first
from models.rollout_store import RolloutStore
from models.store import open_store
from schemas.errors import ConfigurationError, FraudstreamError

CURRENT = "current"
_ROLLOUT = "rollout "


def pin(settings: WorkerSettings, rollout: str | None) -> str:
    """What is to decide, by a name that stands for the same for ever: ``rollout 7``, ``NAME@VERSION``, or a directory.

    ``rollout`` is the number of one, or ``current``. Raises ConfigurationError unless one thing is named, and what the
    store of models raises.
    """
    if rollout is not None:
        if settings.model is not None:
            raise ConfigurationError("give either --model or --rollout: one of them decides")
        if rollout != CURRENT and not (rollout.isascii() and rollout.isdigit()):
            raise ConfigurationError(f"--rollout: {rollout!r} is neither the number of a rollout nor {CURRENT}")
        return _ROLLOUT + (str(_rollouts(settings).current()[0].epoch) if rollout == CURRENT else str(int(rollout)))
    if settings.model is None:
        raise ConfigurationError(
            "say what decides: --model with the directory of a model or NAME@VERSION, or --rollout with a number"
        )
    return str(settings.model)


def load_pinned(settings: WorkerSettings, decider: str) -> Serving:
    """What serves under a name that ``pin`` gave, without shadows.

    Raises FraudstreamError where a model is missing: a replay that the control helps out in would be none of either.
    """
    if settings.model is not None and ("@" not in decider or settings.model.is_dir()):
        return load_serving(settings)
    loader = Loader(Registry(_rollouts(settings).store), settings)
    serving = loader.load(replace(_document(settings, decider), shadows=()))
    for each in serving.missing:
        raise FraudstreamError(f"{decider} cannot decide: {each.version} of {each.name}: {each.reason}")
    return serving


class Pinned:
    """Serves the same for as long as the process lives."""

    def __init__(self, settings: WorkerSettings, decider: str) -> None:
        """Raises as ``load_pinned``."""
        self.serving = load_pinned(settings, decider)

    def start(self) -> None:
        """There is nothing to follow."""

    def close(self) -> None:
        """Nor to end."""


def _document(settings: WorkerSettings, decider: str) -> Document:
    if decider.startswith(_ROLLOUT):
        return _rollouts(settings).at(int(decider.removeprefix(_ROLLOUT)))
    changed = Changed("fraudstream replay", datetime.now(UTC), "replay", decider)
    return first(Version.parse(decider), changed, settings.unit_field, settings.experiment)


def _rollouts(settings: WorkerSettings) -> RolloutStore:
    if settings.store is None:
        raise ConfigurationError("store: say where models are kept, with --store, FRAUDSTREAM_STORE or in the file")
    return RolloutStore(open_store(settings.store, settings.store_endpoint))
