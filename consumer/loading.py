"""Load what serves, from the directories of the settings or from a registry, and hold no model that is not needed."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from consumer.clients import consumer_properties
from consumer.decide import Rollout
from consumer.serving import Serving, arm_of, serving_of
from consumer.settings import WorkerSettings
from consumer.trusted import TrustedModels
from consumer.wire import input_fields, schema_source, transaction_reader
from models.artifact import check_features
from models.endpoint import Endpoint
from models.manifest import Manifest
from models.model import Model
from models.registry import Registry, Version
from models.rollout import Document, Shadow, Variant, served
from models.routing import Experiment, single, two_way
from models.scorer import ScorerUnavailableError
from models.shap import Recursion
from schemas.errors import ConfigurationError, FraudstreamError
from schemas.framing import RecordReader

if TYPE_CHECKING:
    from models.sagemaker import EndpointScorer

log = structlog.get_logger()


def load_rollout(settings: WorkerSettings) -> Rollout:
    """The models of the settings, each behind its variant. Raises ConfigurationError if one cannot be loaded."""
    if settings.model is None:
        raise ConfigurationError(
            "model is not set: give the directory of a model, such as `fraudstream train` writes, "
            "or the store of a rollout"
        )
    paths = [settings.model] if settings.challenger is None else [settings.model, settings.challenger]
    return rollout_of(_load_directories(paths, settings), settings)


def rollout_of(models: Sequence[Model], settings: WorkerSettings) -> Rollout:
    """The champion and, if there are two models, the challenger, each with its share of the cards."""
    variants = single("champion")
    if len(models) > 1:
        variants = two_way("champion", "challenger", settings.challenger_share)
    experiment = Experiment(settings.experiment, 1, settings.salt_id, tuple(variants))
    return Rollout(experiment, tuple(arm_of(model, experiment, index) for index, model in enumerate(models)))


def load_serving(settings: WorkerSettings) -> Serving:
    """What the directories of the settings say. Raises ConfigurationError if one of their models cannot be loaded."""
    rollout = load_rollout(settings)
    return Serving(rollout, (), transaction_reader(settings, rollout.fields))


def _load_directories(paths: Sequence[Path], settings: WorkerSettings) -> list[Model]:
    """The models in the directories, each tried first in a process of its own and matched with the input."""
    fields = input_fields(settings)
    with closing(TrustedModels(settings)) as trusted:
        models = [trusted.directory(path) for path in paths]
    for path, model in zip(paths, models, strict=True):
        if fields is not None:
            check_features(model.manifest, fields, str(path))
        _warn_of_slow_reasons(model)
    return models


def _warn_of_slow_reasons(model: Model) -> None:
    for explainer in model.ensemble.explainers:
        if isinstance(explainer, Recursion):
            log.warning("slow_reasons", model=model.name, version=model.version, reason=explainer.reason)


def check_unit(document: Document, settings: WorkerSettings) -> None:
    """Raise ConfigurationError unless the rollout draws by what the settings call the unit."""
    if document.unit != settings.unit_field:
        raise ConfigurationError(
            f"rollout {document.epoch} routes by {document.unit!r}, and unit_field is {settings.unit_field!r}"
        )


def check_budget(document: Document, settings: WorkerSettings) -> None:
    """Raise ConfigurationError unless the group has patience for two batches that endpoints keep waiting."""
    if not document.budget_seconds:
        return
    patience = float(consumer_properties(settings)["max.poll.interval.ms"]) / 1000
    if 2 * document.budget_seconds > patience:
        raise ConfigurationError(
            f"rollout {document.epoch}: its endpoints may keep a batch waiting for {document.budget_seconds:g} s "
            f"(budget_seconds), which max.poll.interval.ms must allow for twice, and it is {patience:g} s"
        )


WatchEndpoint = Callable[[str, str, float], None]
"""Told the variant or shadow, how a request of it ended, and the seconds that it took."""


def unwatched_endpoint(_name: str, _result: str, _seconds: float) -> None:
    """Nobody counts the requests."""


class Loader:
    """Makes what serves out of a rollout. A model that is here already is not loaded again.

    It holds the models of the latest rollout that could serve, and the control before the present one, so that a
    rollback need not wait for it: one model more than serve.
    """

    def __init__(self, registry: Registry, settings: WorkerSettings, watch: WatchEndpoint = unwatched_endpoint) -> None:
        """``watch`` is told how each request to an endpoint ended.

        Raises ConfigurationError if ``model_public_keys``, the schema of the input or one of its roles is wrong.
        """
        self._settings = settings
        self._trusted = TrustedModels(settings, registry=registry)
        self._fields = input_fields(settings)
        self._schemas = schema_source(settings)
        self._reader = transaction_reader(settings, (), self._schemas)
        self._models: dict[Version, Model] = {}
        self._watch = watch
        self._remotes: dict[str, EndpointScorer] = {}
        self._read: frozenset[str] = frozenset()
        self._control: Version | None = None
        self._control_before: Version | None = None

    @property
    def held(self) -> frozenset[Version]:
        """The versions whose models are in memory."""
        return frozenset(self._models)

    def load(self, document: Document) -> Serving:
        """What serves under a rollout; the control stands in where the model of another variant cannot be had.

        Raises FraudstreamError where the control cannot serve, or nobody can say now whether it could;
        EndpointRefusesError or EndpointMissingError where it is its endpoint that has us not.
        """
        check_unit(document, self._settings)
        check_budget(document, self._settings)
        failures: dict[Version | str, str] = {}
        with closing(self._trusted):
            failures.update(self._load_models(version for version in document.models if version not in self._models))
        remotes = self._open_endpoints(document, failures)
        own_reader_of = partial(transaction_reader, self._settings)
        serving = serving_of(document, self._models, remotes, failures, self._reader_of, own_reader_of)
        self._remotes = remotes
        self._forget(document)
        return serving

    def _open_endpoints(self, document: Document, failures: dict[Version | str, str]) -> dict[str, "EndpointScorer"]:
        """The endpoints of the variants and shadows, by name; those in use already go on, with all they have seen.

        Why one cannot be used is added to ``failures``; the control's is raised.
        """
        opened = {}
        for each in served(document):
            if each.endpoint is not None and each.model not in failures:
                try:
                    opened[each.name] = self._endpoint(each, each.endpoint)
                except FraudstreamError as error:
                    if each is document.control and isinstance(error, ScorerUnavailableError):
                        raise
                    failures[each.name] = str(error)
        return opened

    def _endpoint(self, served_by: Variant | Shadow, endpoint: Endpoint) -> "EndpointScorer":
        # Only who calls an endpoint pays for the imports: boto3 takes a third of a second to load.
        from models.sagemaker import EndpointScorer  # noqa: PLC0415

        model, name = self._models[served_by.model], served_by.name
        used = self._remotes.get(name)
        if used is not None and used.endpoint == endpoint and used.model is model:
            return used
        scorer = EndpointScorer(model, endpoint, self._settings.sagemaker_url, partial(self._watch, name))
        scorer.check()
        return scorer

    def hold(self, version: Version) -> None:
        """Keep this control of an earlier rollout for a rollback, unless one is kept; a failure is no harm."""
        if self._control_before is None and version not in self._models:
            with closing(self._trusted):
                failures = self._load_models([version])
            if not failures:
                self._control_before = version

    def _load_models(self, versions: Iterable[Version]) -> dict[Version | str, str]:
        """Load these; why it failed where it did: the text alone, as an error holds on to the bytes that it met."""
        failures: dict[Version | str, str] = {}
        for version in versions:
            try:
                self._models[version] = self._load_model(version)
            except FraudstreamError as error:
                failures[version] = str(error)
            except Exception as error:  # noqa: BLE001 - whatever goes wrong with one model, the others serve
                failures[version] = f"{version} could not be loaded ({type(error).__name__})"
        return failures

    def _load_model(self, version: Version) -> Model:
        model = self._trusted.version(version)
        self._check_input(model.manifest, str(version))
        _warn_of_slow_reasons(model)
        return model

    def _check_input(self, described: Manifest, source: str) -> None:
        """Raise ConfigurationError unless the input has the features, as numbers."""
        if self._fields is not None:
            check_features(described, self._fields, source)
        names = tuple(feature.name for feature in described.features)
        nothing = transaction_reader(self._settings, names, self._schemas).read([])
        if nothing.columns:  # there are none before the registry has told a schema
            nothing.matrix(names)

    def _reader_of(self, names: Sequence[str]) -> RecordReader:
        """A reader of these features: the one in use where it reads the same, with all the schemas it has met."""
        wanted = frozenset(names)
        if self._read != wanted:
            self._reader, self._read = transaction_reader(self._settings, names, self._schemas), wanted
        return self._reader

    def _forget(self, document: Document) -> None:
        if document.control.model != self._control:
            self._control_before, self._control = self._control, document.control.model
        needed = {*document.models, self._control_before}
        for version in self.held - needed:
            del self._models[version]
