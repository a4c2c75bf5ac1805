"""Look at what decides: the schemas of the input, and the models that are to serve."""

from collections.abc import Iterator

from consumer.pinned import CURRENT, load_pinned, pin
from consumer.serving import Serving
from consumer.settings import Format, WorkerSettings
from consumer.wire import transaction_reader
from fraudstream.doctor.finding import Finding, Verdict
from schemas.errors import FraudstreamError


def findings(settings: WorkerSettings) -> Iterator[Finding]:
    """What can be said of the models and, with their features, of the schemas."""
    serving = _serving(settings)
    yield serving if isinstance(serving, Finding) else _serves(serving)
    yield _schemas(settings, () if isinstance(serving, Finding) else serving.rollout.fields)


def _serving(settings: WorkerSettings) -> Serving | Finding:
    if settings.model is None and settings.store is None:
        advice = "give --model with a directory that `fraudstream train` wrote, or --store with a rollout"
        return Finding("model", Verdict.WRONG, "nothing says what serves", advice)
    try:
        return load_pinned(settings, pin(settings, None if settings.model else CURRENT))
    except FraudstreamError as error:
        advice = "`fraudstream models verify` checks models, `fraudstream rollout show` says what is to serve"
        return Finding("model", Verdict.WRONG, str(error), advice)


def _serves(serving: Serving) -> Finding:
    models = ", ".join(f"{line.variant} {line.model_name}@{line.model_version}" for line in serving.lineages)
    return Finding("model", Verdict.GOOD, f"{models}: loaded, and its golden rows score as published")


def _schemas(settings: WorkerSettings, features: tuple[str, ...]) -> Finding:
    place = settings.schema_registry_url if settings.input_format is Format.CONFLUENT else None
    try:
        reader = transaction_reader(settings, features)
    except FraudstreamError as error:
        advice = (
            "check schema_registry_url and schema_subjects" if place else "check input_schema and the field settings"
        )
        return Finding("schemas", Verdict.WRONG, str(error), advice)
    if not reader.read([]).columns:
        told = "the registry knows no schema of the input yet: nothing can be decoded until a producer registers one"
        return Finding("schemas", Verdict.DOUBTFUL, told, "see schema_subjects if there should be one")
    if not reader.columnar:
        told = "the input has nested fields, which are walked at the speed of Python"
        return Finding("schemas", Verdict.DOUBTFUL, told, "flatten the record if throughput matters")
    told = f"every known schema of the input has its roles and the {len(features)} features of the models"
    return Finding("schemas", Verdict.GOOD, told)
