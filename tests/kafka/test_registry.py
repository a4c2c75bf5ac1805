"""Records written with schemas of a real Schema Registry are read, and only those of the subjects that are allowed."""

import io
import json
import uuid
from concurrent.futures import ThreadPoolExecutor

import fastavro
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from schemas import framing
from schemas.columns import Reason
from schemas.errors import ConfigurationError
from schemas.load import load
from schemas.registry import RegistryClient

FIRST = {
    "type": "record",
    "name": "T",
    "fields": [{"name": "id", "type": "string"}, {"name": "amount", "type": "float"}],
}
SECOND = {**FIRST, "fields": [*FIRST["fields"], {"name": "shop", "type": ["null", "string"], "default": None}]}


@pytest.fixture
def subject():
    return f"test-{uuid.uuid4().hex[:12]}-value"


def payload(schema_id, schema, record):
    out = io.BytesIO()
    fastavro.schemaless_writer(out, schema, record)
    return framing.confluent_prefix(schema_id) + out.getvalue()


def test_two_versions_of_a_subject_are_read_in_one_batch(schema_registry, subject):
    writer = RegistryClient(schema_registry, [subject])
    first, second = writer.register(subject, FIRST), writer.register(subject, SECOND)
    payloads = [
        payload(first, FIRST, {"id": "a", "amount": 1.5}),
        payload(second, SECOND, {"id": "b", "amount": 2.5, "shop": "x"}),
    ]

    columns = framing.confluent(RegistryClient(schema_registry, [subject]), reader=SECOND).read(payloads)

    assert columns.reason.tolist() == [0, 0]
    assert columns.columns["amount"].values.tolist() == [1.5, 2.5]
    assert columns.columns["shop"].to_list() == [None, b"x"]


def test_what_confluents_own_serializer_writes_is_read(schema_registry, subject):
    context = SerializationContext(subject.removesuffix("-value"), MessageField.VALUE)
    with SchemaRegistryClient({"url": schema_registry}) as client:
        serialize = AvroSerializer(client, schema_str=json.dumps(SECOND))
        message = serialize({"id": "a", "amount": 1.5, "shop": None}, context)

    columns = framing.confluent(RegistryClient(schema_registry, [subject]), ["id"]).read([message])

    assert columns.columns["id"].to_list() == [b"a"]


def test_schemas_of_other_subjects_and_ids_that_nobody_knows_are_unknown(schema_registry, subject):
    registry = RegistryClient(schema_registry, [subject])
    ours = registry.register(subject, FIRST)
    other = {**FIRST, "name": f"Other{uuid.uuid4().hex[:8]}"}
    theirs = registry.register(f"not-{subject}", other)
    record = {"id": "a", "amount": 1.5}
    payloads = [payload(ours, FIRST, record), payload(theirs, other, record), payload(2_000_000_000, FIRST, record)]

    columns = framing.confluent(registry).read(payloads)

    assert columns.reason.tolist() == [Reason.OK, Reason.UNKNOWN_SCHEMA, Reason.UNKNOWN_SCHEMA]


def test_a_subject_that_does_not_exist_yet_is_no_obstacle(schema_registry, subject):
    reader = framing.confluent(RegistryClient(schema_registry, [subject]), ["id"])
    first = RegistryClient(schema_registry, [subject]).register(subject, FIRST)

    columns = reader.read([payload(first, FIRST, {"id": "a", "amount": 1.5})])

    assert columns.columns["id"].to_list() == [b"a"]


def test_workers_that_start_together_register_one_schema(schema_registry, subject):
    """Apicurio tells all but the first that the subject exists already, with the status of an incompatible schema."""
    registries = [RegistryClient(schema_registry, [subject]) for _ in range(8)]
    with ThreadPoolExecutor(len(registries)) as pool:
        ids = list(pool.map(lambda registry: registry.register(subject, load("decision")), registries))

    assert len(set(ids)) == 1


def test_registering_a_schema_again_gives_the_same_id(schema_registry, subject):
    registry = RegistryClient(schema_registry, [subject])

    assert registry.register(subject, load("decision")) == registry.register(subject, load("decision"))
    assert RegistryClient(schema_registry, [subject]).register(subject, load("decision")) in registry.known()


def test_an_incompatible_schema_is_refused_when_the_subject_demands_it(schema_registry, subject):
    registry = RegistryClient(schema_registry, [subject])
    registry.register(subject, FIRST)
    with SchemaRegistryClient({"url": schema_registry}) as client:
        client.set_compatibility(subject, "BACKWARD")
    incompatible = {**FIRST, "fields": [{"name": "id", "type": "long"}]}

    with pytest.raises(ConfigurationError, match="refuses the schema"):
        registry.register(subject, incompatible)
