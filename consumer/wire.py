"""Choose how transactions are read from the wire and decisions are written to it, from the settings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple
from functools import partial
from typing import Any

from consumer.decide import Roles, check_roles
from consumer.settings import Format, WorkerSettings
from schemas import decision, framing
from schemas.load import load, load_file
from schemas.registry import PinnedSchemas, RegistryClient

TRANSACTION_SCHEMA_ID = 1
"""Confluent schema id of the shipped transaction schema where no registry gives one."""


def transaction_reader(settings: WorkerSettings, features: Sequence[str]) -> framing.RecordReader:
    """A reader of payloads into the columns that the worker needs.

    Raises ConfigurationError if the schema lacks a role or a feature, or has a role with the wrong type.
    """
    roles = roles_of(settings)
    fields = tuple(dict.fromkeys((*astuple(roles), *features)))
    if settings.input_format is Format.CONFLUENT and settings.schema_registry_url is not None:
        subjects = settings.schema_subjects or [f"{settings.input_topic}-value"]
        return framing.confluent(_registry(settings, subjects), fields)
    schemas = _known_schemas(settings)
    for schema in schemas.values():
        check_roles(framing.json(schema, astuple(roles)).read([]), roles)
    if settings.input_format is Format.JSON:
        return framing.json(schemas[TRANSACTION_SCHEMA_ID], fields)
    if settings.input_format is Format.SINGLE_OBJECT:
        return framing.single_object([*schemas.values()], fields)
    return framing.confluent(PinnedSchemas(schemas), fields)


def roles_of(settings: WorkerSettings) -> Roles:
    """Which input field plays which part."""
    return Roles(settings.id_field, settings.unit_field, settings.event_time_field, settings.amount_field)


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
        schema_id = _registry(settings, [subject]).register(subject, schema)
    return partial(decision.encode, prefix=framing.confluent_prefix(schema_id))


def _registry(settings: WorkerSettings, subjects: Sequence[str]) -> RegistryClient:
    assert settings.schema_registry_url is not None
    return RegistryClient(settings.schema_registry_url, subjects, settings.schema_registry)
