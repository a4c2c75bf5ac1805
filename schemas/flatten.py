"""Open the records inside a record schema, so that what lies in them can be decoded into columns."""

from collections.abc import Iterator, Mapping
from typing import Any


def flatten(schema: Mapping[str, Any]) -> dict[str, Any]:
    """The schema with ``source: {topic}`` as ``source_topic``: it reads the same bytes, as Avro writes no borders.

    Only records that are declared where they stand are opened, one level deep.
    """
    return {"type": "record", "name": schema["name"], "fields": list(_fields(schema["fields"]))}


def _fields(declared: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for field in declared:
        kind = field["type"]
        if isinstance(kind, dict) and kind["type"] == "record":
            yield from ({**inner, "name": f"{field['name']}_{inner['name']}"} for inner in kind["fields"])
        else:
            yield field
