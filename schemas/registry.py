"""Find the schema that a Confluent schema id stands for in a Schema Registry.

Its client takes a third of a second to import: whoever can do without a registry should not have to wait for it.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from operator import methodcaller
from typing import Any
from urllib.parse import urlsplit

from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, SchemaRegistryError

from schemas.errors import ConfigurationError, NotPermittedError
from schemas.secrets import without_credentials
from schemas.sources import RegistryUnavailableError

LARGEST_ID = (1 << 32) - 1
_MOST_UNKNOWN = 10_000
_NOT_FOUND = frozenset({40401, 40402, 40403})
"""No such subject, version, schema. A plain 404 is another matter: the address is not that of a registry."""

_TRIES = 3

_CLIENT = {"timeout": 5, "max.retries": 2, "retries.wait.ms": 100, "retries.max.wait.ms": 500}
_NUMBERS = {"timeout", "max.retries", "retries.wait.ms", "retries.max.wait.ms", "cache.capacity"}


class RegistryClient:
    """Schemas of a Schema Registry, but only those registered under one of ``subjects``.

    An id is asked for once; one that the registry does not know, again after ``ask_again`` seconds. ``properties``
    are those of confluent_kafka's client, such as basic.auth.user.info or ssl.ca.location.
    """

    def __init__(
        self,
        url: str,
        subjects: Sequence[str],
        properties: Mapping[str, Any] | None = None,
        ask_again: float = 60.0,
    ) -> None:
        self._shown = without_credentials(url)
        if not all(map(_is_address, url.split(","))):  # before a client's error repeats a part of the password
            raise ConfigurationError(f"schema_registry_url: {self._shown} is not of the form http://host:port")
        self._subjects = tuple(subjects)
        self._ask_again = ask_again
        self._schemas: dict[int, Mapping[str, Any]] = {}
        self._unknown: dict[int, float] = {}
        given = {key: _number(key, value) for key, value in (properties or {}).items()}
        self._properties = {**_CLIENT, **given, "url": url}
        try:
            self._connect().close()
        except (ValueError, TypeError, OSError) as error:
            said = without_credentials(str(error))
            raise ConfigurationError(f"The settings of the schema registry are wrong: {said}.") from None

    def schema(self, schema_id: int) -> Mapping[str, Any] | None:
        """The Avro schema of this id, None if there is none or its subjects are not allowed.

        Raises RegistryUnavailableError, NotPermittedError or ConfigurationError.
        """
        if schema_id in self._schemas:
            return self._schemas[schema_id]
        now = time.monotonic()
        if now < self._unknown.get(schema_id, now):
            return None
        found = self._fetch(schema_id)
        if found is None:
            self._remember_unknown(schema_id, now + self._ask_again)
        else:
            self._schemas[schema_id] = found
        return found

    def known(self) -> Mapping[int, Mapping[str, Any]]:
        """The latest schema of each subject that exists, by id."""
        for subject in self._subjects:
            latest = self._ask(methodcaller("get_latest_version", subject))
            if latest is not None and latest.schema_id is not None and latest.schema is not None:
                found = _avro(latest.schema, subject)
                if found is not None:
                    self._schemas[self._schema_id(latest.schema_id)] = found
        return dict(self._schemas)

    def register(self, subject: str, schema: Mapping[str, Any]) -> int:
        """The id of this schema under ``subject``, where it is registered if it is not yet.

        Raises ConfigurationError if the registry holds it to be incompatible with what is there.
        """
        register = methodcaller("register_schema", subject, Schema(json.dumps(schema), "AVRO"))
        try:
            return self._schema_id(self._despite_rivals(register))
        except SchemaRegistryError as error:
            raise ConfigurationError(
                f"The schema registry at {self._shown} refuses the schema for {subject}: {error.error_message}."
            ) from error

    def _despite_rivals(self, register: Callable[[SchemaRegistryClient], Any]) -> Any:
        """Of several that register a new subject at once Apicurio refuses all but one, as if it were incompatible."""
        for _ in range(_TRIES - 1):
            try:
                return self._call(register)
            except SchemaRegistryError as error:
                if error.http_status_code != HTTPStatus.CONFLICT:
                    raise
        return self._call(register)

    def _schema_id(self, answer: Any) -> int:
        if not isinstance(answer, int) or not 0 <= answer <= LARGEST_ID:
            raise ConfigurationError(f"The schema registry at {self._shown} gave a schema id that is none.")
        return answer

    def _fetch(self, schema_id: int) -> Mapping[str, Any] | None:
        versions = self._ask(methodcaller("get_schema_versions", schema_id))  # Apicurio knows no /subjects of an id
        if not {version.subject for version in versions or ()} & set(self._subjects):
            return None
        schema = self._ask(methodcaller("get_schema", schema_id))
        return None if schema is None else _avro(schema, f"id {schema_id}")

    def _remember_unknown(self, schema_id: int, until: float) -> None:
        if len(self._unknown) >= _MOST_UNKNOWN:
            self._unknown.clear()
        self._unknown[schema_id] = until

    def _connect(self) -> SchemaRegistryClient:
        return SchemaRegistryClient(self._properties)

    def _ask(self, question: Callable[[SchemaRegistryClient], Any]) -> Any:
        """The answer, None where the registry says that there is no such thing."""
        try:
            return self._call(question)
        except SchemaRegistryError as error:
            if error.error_code in _NOT_FOUND:
                return None
            raise ConfigurationError(f"The schema registry at {self._shown} answers: {error}.") from error

    def _call(self, question: Callable[[SchemaRegistryClient], Any]) -> Any:
        try:
            with self._connect() as client:  # questions are too rare to keep a connection open for
                return question(client)
        except SchemaRegistryError as error:
            if error.http_status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
                raise NotPermittedError(f"The schema registry at {self._shown} refuses us: {error}.") from error
            if (
                error.http_status_code >= HTTPStatus.INTERNAL_SERVER_ERROR
                or error.http_status_code == HTTPStatus.TOO_MANY_REQUESTS
            ):
                raise RegistryUnavailableError(f"The schema registry at {self._shown} fails: {error}.") from error
            raise
        except Exception as error:  # whichever HTTP library stands behind the client of this version
            said = without_credentials(str(error))
            raise RegistryUnavailableError(f"The schema registry at {self._shown} does not answer: {said}.") from error


def _avro(schema: Schema, name: str) -> Mapping[str, Any] | None:
    """The schema as JSON, None if it is none of Avro's."""
    if schema.schema_type not in (None, "AVRO") or schema.schema_str is None:
        return None
    if schema.references:
        raise ConfigurationError(f"The schema {name} refers to other schemas; register it in one piece.")
    try:
        parsed = json.loads(schema.schema_str)
    except ValueError as error:
        raise ConfigurationError(f"The schema {name} of the registry is no JSON: {error}.") from None
    return parsed if isinstance(parsed, dict) else None


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url.strip())
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _number(key: str, value: Any) -> Any:
    try:
        return float(value) if key in _NUMBERS else value
    except ValueError:
        raise ConfigurationError(f"schema_registry: {key} is no number") from None
