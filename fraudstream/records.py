"""Read any record of our topics as a person would: whichever framing it has, and if it has none, say so."""

import io
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import fastavro
import msgspec

from consumer.settings import WorkerSettings
from consumer.wire import TRANSACTION_SCHEMA_ID, registry_client
from schemas.errors import InvalidRecordError
from schemas.flat import parse
from schemas.framing import CONFLUENT_MAGIC, SINGLE_OBJECT_MAGIC, single_object_prefix
from schemas.load import load, load_file
from schemas.sources import PinnedSchemas, SchemaSource

SHIPPED = (
    "transaction",
    "decision",
    "dead_letter",
    "feature_sample",
    "label",
    "drift_report",
    "retrain_request",
)
LABEL_SCHEMA_ID = 3
"""Pinned Confluent schema id of labels, where there is no registry. Transactions have 1 and decisions 2."""


def schemas_of(settings: WorkerSettings, topic: str, given: Mapping[int, Mapping[str, Any]]) -> SchemaSource:
    """Where the schemas of ``topic`` are found: the registry of the settings, else those pinned there or ``given``."""
    if settings.schema_registry_url is not None:
        return registry_client(settings, list(dict.fromkeys([f"{topic}-value", *settings.schema_subjects])))
    shipped = {TRANSACTION_SCHEMA_ID: "transaction", settings.output_schema_id: "decision", LABEL_SCHEMA_ID: "label"}
    pinned: dict[int, Mapping[str, Any]] = {number: load(name) for number, name in shipped.items()}
    pinned |= {number: load_file(path) for number, path in settings.input_schema_ids.items()}
    return PinnedSchemas(pinned | dict(given))


class RecordReader:
    """Tells the framing of a value by its first bytes and decodes it with fastavro, one record at a time."""

    def __init__(self, schemas: SchemaSource) -> None:
        self._schemas = schemas
        self._shipped = {single_object_prefix(schema): schema for schema in map(load, SHIPPED)}
        self._parsed: dict[bytes, Any] = {}

    def read(self, value: bytes | None) -> Any:
        """The value in plain types: times in ISO 8601, byte strings in hexadecimal; None for a tombstone.

        Raises InvalidRecordError where it cannot be decoded, saying why, and what the registry client raises.
        """
        if value is None:
            return None
        if value.startswith(CONFLUENT_MAGIC) and len(value) >= 5:
            return self._read_avro(value, 5)
        if value.startswith(SINGLE_OBJECT_MAGIC) and len(value) >= 10:
            return self._read_avro(value, 10)
        try:
            return msgspec.json.decode(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise InvalidRecordError("neither Avro in a known framing nor JSON") from None

    def _read_avro(self, value: bytes, width: int) -> Any:
        schema = self._schema(value[:width])
        stream = io.BytesIO(value)
        stream.seek(width)
        try:
            record = fastavro.schemaless_reader(stream, schema, None)
        except Exception as error:  # noqa: BLE001 - on untrusted bytes fastavro raises whatever it trips over
            raise InvalidRecordError(f"not a {schema['name']}: {type(error).__name__}") from None
        if stream.tell() != len(value):
            raise InvalidRecordError(f"not a {schema['name']}: {len(value) - stream.tell()} bytes too many")
        return _plain(record)

    def _schema(self, head: bytes) -> Any:
        if head not in self._parsed:
            schema = self._find(head)
            parse(schema)  # refuses what untrusted bytes could abuse
            self._parsed[head] = fastavro.parse_schema(dict(schema))
        return self._parsed[head]

    def _find(self, head: bytes) -> Mapping[str, Any]:
        if len(head) == 5:
            found, what = self._schemas.schema(int.from_bytes(head[1:])), f"schema id {int.from_bytes(head[1:])}"
        else:
            found, what = self._shipped.get(head), f"schema fingerprint {head[2:].hex()}"
        if found is None:
            raise InvalidRecordError(f"{what} is unknown")
        return found


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return value
