"""Find the schema that a Confluent schema id stands for, where it is pinned; a Schema Registry is in ``registry``."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from schemas.errors import FraudstreamError


class RegistryUnavailableError(FraudstreamError):
    """Catch this to wait and ask again: the registry does not answer, and no record is at fault."""


class SchemaSource(Protocol):
    """Knows which schema a Confluent schema id stands for."""

    def schema(self, schema_id: int) -> Mapping[str, Any] | None:
        """The schema of this id, None if there is none that may be used."""

    def known(self) -> Mapping[int, Mapping[str, Any]]:
        """The schemas that can be had before a record is read, by id."""


@dataclass(frozen=True, slots=True)
class PinnedSchemas:
    """Schemas by id, where there is no registry."""

    schemas: Mapping[int, Mapping[str, Any]]

    def schema(self, schema_id: int) -> Mapping[str, Any] | None:
        """The schema of this id, None if it is not pinned."""
        return self.schemas.get(schema_id)

    def known(self) -> Mapping[int, Mapping[str, Any]]:
        """All of them."""
        return self.schemas
