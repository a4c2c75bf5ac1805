"""Decide what a replay is decided by: one model, or one rollout, and the same from its beginning to its end."""

from dataclasses import replace
from datetime import UTC, datetime

from consumer.loading import Loader, load_serving
from consumer.serving import Serving
from consumer.settings import WorkerSettings
from models.registry import Version, is_version, registry_at
from models.rollout import Changed, Document, first
from models.rollout_store import RolloutStore
from models.scorer import ScorerUnavailableError
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
    if is_directory(settings, decider):
        return load_serving(settings)
    loader = Loader(registry_at(settings.store, settings.store_endpoint), settings)
    serving = loader.load(document_of(settings, decider))
    for each in serving.missing:
        raise FraudstreamError(f"{decider} cannot decide: {each.version} of {each.name}: {each.reason}")
    return serving


class Pinned:
    """Serves the same for as long as the process lives."""

    def __init__(self, settings: WorkerSettings, decider: str) -> None:
        """Raises as ``load_pinned``."""
        self.serving = load_pinned(settings, decider)
        self.refusal: ScorerUnavailableError | None = None

    def start(self) -> None:
        """There is nothing to follow."""

    def close(self) -> None:
        """Nor to end."""


def is_directory(settings: WorkerSettings, decider: str) -> bool:
    """Whether the name means what the directories of the settings hold, and nothing of the store."""
    return settings.model is not None and not is_version(decider)


def document_of(settings: WorkerSettings, decider: str) -> Document:
    """The rollout that the name of something in the store means, without shadows. Raises what the store raises."""
    if decider.startswith(_ROLLOUT):
        return replace(_rollouts(settings).at(int(decider.removeprefix(_ROLLOUT))), shadows=())
    changed = Changed("fraudstream", datetime.now(UTC), "replay", decider)
    return first(Version.parse(decider), changed, settings.unit_field, settings.experiment)


def _rollouts(settings: WorkerSettings) -> RolloutStore:
    return RolloutStore(registry_at(settings.store, settings.store_endpoint).store)
