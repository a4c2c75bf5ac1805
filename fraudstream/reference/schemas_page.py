"""Write down every record for people: docs/schemas.md."""

import json
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any

from schemas.load import load

HEAD = """# Records, field by field

<!-- Written by `make docs` from schemas/*.avsc. -->

The Avro schemas that the package ships as `schemas/*.avsc`, each with an example beside it in `schemas/examples/`.
On which topic each stands, under which key, and what may change: [data-contracts.md](data-contracts.md).
"""

NAMES = ("transaction", "decision", "dead_letter", "feature_sample", "label", "drift_report", "retrain_request")
"""In the order in which a transaction meets them."""

FEWEST_ALIKE = 4
"""So many neighbours that differ in their name alone become one row."""


def schemas_page() -> str:
    """The page docs/schemas.md: every field of every shipped schema with its type, default and meaning."""
    return "\n".join([HEAD.rstrip(), *(line for name in NAMES for line in _record(name))]) + "\n"


def _record(name: str) -> Iterator[str]:
    schema = load(name)
    yield from ("", f"## {schema['name']}", "", f"`schemas/{name}.avsc`. {schema['doc']}", "")
    yield from ("| field | type | default | |", "|---|---|---|---|")
    for (kind, default, meaning), alike in groupby(_fields(schema, ""), key=lambda row: row[1:]):
        paths = [path for path, *_ in alike]
        if len(paths) >= FEWEST_ALIKE:
            paths = [f"{paths[0]}` to `{paths[-1]}"]
        yield from (f"| `{path}` | {kind} | {default} | {meaning} |" for path in paths)


def _fields(record: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str, str, str]]:
    """Path, type, default and meaning of each field, those of records inside it after it."""
    for field in record["fields"]:
        path = f"{prefix}{field['name']}"
        default = f"`{json.dumps(field['default'])}`" if "default" in field else ""
        yield path, _kind(field["type"]), default, field.get("doc", "").replace("|", "\\|")
        inner, mark = field["type"], "."
        if isinstance(inner, dict) and inner["type"] == "array":
            inner, mark = inner["items"], "[]."
        if isinstance(inner, dict) and inner["type"] == "record":
            yield from _fields(inner, f"{path}{mark}")


def _kind(kind: Any) -> str:
    """An Avro type in words."""
    if isinstance(kind, list):
        return " or ".join(_kind(branch) for branch in kind)
    if isinstance(kind, str):
        return kind
    if kind["type"] == "enum":
        return " or ".join(f"`{symbol}`" for symbol in kind["symbols"])
    if kind["type"] == "fixed":
        return f"{kind['size']} bytes"
    if kind["type"] == "array":
        return f"array of {_kind(kind['items'])}"
    return str(kind.get("logicalType", kind["type"]))
