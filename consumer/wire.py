"""Choose how transactions are read from the wire and decisions are written to it, from the settings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from functools import partial
from typing import TYPE_CHECKING, Any

from consumer.decide import Bounds, Decider, Reasons, Roles, Rollout, check_roles
from consumer.sampling import Batch, sample
from consumer.settings import Format, MissingUnit, WorkerSettings
from models.routing import SAMPLING_SALT_ID
from schemas import decision, feature_sample, framing
from schemas.errors import ConfigurationError
from schemas.load import load, load_file
from schemas.sources import PinnedSchemas, SchemaSource

if TYPE_CHECKING:
    from schemas.registry import RegistryClient

TRANSACTION_SCHEMA_ID = 1
"""Confluent schema id of the shipped transaction schema where no registry gives one."""


def schema_source(settings: WorkerSettings) -> "RegistryClient | None":
    """The Schema Registry that knows the schemas of the input; None where they stand in files."""
    if settings.input_format is not Format.CONFLUENT or settings.schema_registry_url is None:
        return None
    return registry_client(settings, settings.schema_subjects or [f"{settings.input_topic}-value"])


def transaction_reader(
    settings: WorkerSettings, features: Sequence[str], source: SchemaSource | None = None
) -> framing.RecordReader:
    """A reader of payloads into the columns that the worker needs. A ``source`` that was used already knows more.

    Raises ConfigurationError if the schema lacks a role or a feature, or has a role with the wrong type.
    """
    roles = roles_of(settings)
    fields = tuple(dict.fromkeys((*astuple(roles), *features)))
    source = source or schema_source(settings)
    if source is not None:
        return framing.confluent(source, fields)
    schemas = _known_schemas(settings)
    for schema in schemas.values():
        check_roles(framing.json(schema, astuple(roles)).read([]), roles)
    if settings.input_format is Format.JSON:
        # A wrong value of a feature is the business of those models alone that look at it.
        return framing.json(schemas[TRANSACTION_SCHEMA_ID], fields, apart=set(fields) - set(astuple(roles)))
    if settings.input_format is Format.SINGLE_OBJECT:
        return framing.single_object([*schemas.values()], fields)
    return framing.confluent(PinnedSchemas(schemas), fields)


def roles_of(settings: WorkerSettings) -> Roles:
    """Which input field plays which part."""
    return Roles(settings.id_field, settings.unit_field, settings.event_time_field, settings.amount_field)


def bounds_of(settings: WorkerSettings) -> Bounds:
    """What is accepted of a record."""
    lead = int(settings.event_time_lead_seconds * 1000)
    return Bounds(settings.earliest_event_time, lead, settings.missing_unit is MissingUnit.DEAD_LETTER)


def reasons_of(settings: WorkerSettings) -> Reasons:
    """Which decisions name how many reasons."""
    return Reasons(settings.reason_codes, tuple(decision.Outcome[name.upper()] for name in settings.reasons_for))


def decider_of(settings: WorkerSettings, rollout: Rollout) -> Decider:
    """What decides under these settings, where the models are those of ``rollout``."""
    return Decider(rollout, roles_of(settings), bounds_of(settings), reasons_of(settings))


def _known_schemas(settings: WorkerSettings) -> dict[int, Mapping[str, Any]]:
    """The schemas of the input that stand in files, by Confluent schema id."""
    if settings.input_format is Format.CONFLUENT and settings.input_schema_ids:
        return {number: load_file(path) for number, path in settings.input_schema_ids.items()}
    return {TRANSACTION_SCHEMA_ID: load_file(settings.input_schema) if settings.input_schema else load("transaction")}


def input_fields(settings: WorkerSettings) -> frozenset[str] | None:
    """Names of the fields that every record will have; None where a registry gives the schemas, as records come."""
    if settings.input_format is Format.CONFLUENT and settings.schema_registry_url is not None:
        return None
    schemas = _known_schemas(settings).values()
    return frozenset.intersection(*(frozenset(field["name"] for field in schema["fields"]) for schema in schemas))


def decision_encoder(settings: WorkerSettings) -> Callable[[decision.Decisions], list[bytes]]:
    """A function from decisions to the bytes of each. Registers the schema where there is a registry."""
    schema = load("decision")
    if settings.output_format is Format.JSON:
        return decision.encode_json
    if settings.output_format is Format.SINGLE_OBJECT:
        return partial(decision.encode, prefix=framing.single_object_prefix(schema))
    schema_id = settings.output_schema_id
    if settings.schema_registry_url is not None:
        subject = f"{settings.decisions_topic}-value"
        schema_id = registry_client(settings, [subject]).register(subject, schema)
    return partial(decision.encode, prefix=framing.confluent_prefix(schema_id))


def sample_encoder(settings: WorkerSettings) -> Callable[[Batch], bytes] | None:
    """A function from a decided batch to the bytes of its sample; None where none is wanted.

    Raises ConfigurationError where cards are routed by the hashes that samples are chosen by.
    """
    if settings.salt_id == SAMPLING_SALT_ID:
        raise ConfigurationError(f"salt_id: {SAMPLING_SALT_ID} is the salt of the samples; routing needs another")
    rate = settings.sample_rate
    return (lambda batch: feature_sample.encode(sample(batch, rate))) if rate else None


def registry_client(settings: WorkerSettings, subjects: Sequence[str]) -> "RegistryClient":
    """The schemas of these subjects in the registry of the settings, which have one."""
    from schemas.registry import RegistryClient  # noqa: PLC0415 - slow to load, and many have no registry

    assert settings.schema_registry_url is not None
    return RegistryClient(settings.schema_registry_url, subjects, settings.schema_registry)
