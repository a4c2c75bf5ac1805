"""Write down every setting for people: docs/configuration.md."""

from collections.abc import Iterator
from typing import Any

from consumer.settings import WorkerSettings
from fraudstream.settings import PREFIX

HEAD = """# Configuration

<!-- Written by `make docs` from consumer/settings.py. -->

A setting stands in `fraudstream.toml` (in the working directory, or where `--config` or `FRAUDSTREAM_CONFIG` says), in
an environment variable, or in a flag; the flag wins over the variable, the variable over the file. An unknown setting
or variable is an error (exit code 78). `fraudstream config` shows what is in force, with secrets masked.

- The name in the file is the flag's, with underscores: `--batch-size` is `batch_size`.
- A list or a table is JSON in a variable (`FRAUDSTREAM_KAFKA='{"security.protocol": "SSL"}'`). A flag that takes one is
  repeated: `--kafka security.protocol=SSL --kafka ssl.ca.location=/etc/ssl/ca.pem`.
- Not every command has every flag: `fraudstream COMMAND --help`. The variables and the file hold for all of them, and
  for [`POST /predict`](predict.md).
- Credentials and the region of AWS are boto3's own (`AWS_PROFILE`, `AWS_REGION`, roles), `MLFLOW_TRACKING_URI` is that
  of MLflow.
"""

SECTIONS = {
    "application": "Which worker it is",
    "bootstrap_servers": "Kafka",
    "input_topic": "Topics and records",
    "drift_topic": "Drift monitor",
    "delivery": "Delivery",
    "input_format": "Schemas",
    "id_field": "Fields of a transaction",
    "model": "Models and experiment",
    "store": "Store and rollout",
    "metrics_host": "Metrics, logs and the end",
}
"""The setting that each section begins with; a new setting belongs to the section that it is declared in."""

KINDS = {"string": "text", "integer": "whole number", "number": "number", "boolean": "true or false"}


def settings_page() -> str:
    """The page docs/configuration.md: every setting with its flag, variable, type, default and meaning."""
    return "\n".join([HEAD.rstrip(), *_tables()]) + "\n"


def _tables() -> Iterator[str]:
    schema = WorkerSettings.model_json_schema()
    for name, described in schema["properties"].items():
        if name in SECTIONS:
            yield from ("", f"## {SECTIONS[name]}", "")
            yield from ("| flag, and in the file | variable | type | default | |", "|---|---|---|---|---|")
        flag = f"`--{name.replace('_', '-')}`"
        cells = [flag, f"`{PREFIX}{name.upper()}`", _kind(described, schema), _default(described), _meaning(described)]
        yield f"| {' | '.join(cells)} |"


def _meaning(described: dict[str, Any]) -> str:
    return str(described["description"]).replace("|", "\\|")


def _default(described: dict[str, Any]) -> str:
    default = described.get("default")
    if default is None or default in ([], {}):
        return ""
    if isinstance(default, list):
        return ", ".join(f"`{value}`" for value in default)
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _kind(described: dict[str, Any], schema: dict[str, Any]) -> str:
    """A JSON schema in words."""
    if "$ref" in described:
        return _kind(schema["$defs"][described["$ref"].rpartition("/")[2]], schema)
    if "anyOf" in described:
        return " or ".join(_kind(one, schema) for one in described["anyOf"] if one.get("type") != "null")
    if "enum" in described:
        return " or ".join(f"`{value}`" for value in described["enum"])
    if described["type"] == "array":
        return f"list of: {_kind(described['items'], schema)}"
    if described["type"] == "object":
        inner = described.get("additionalProperties") or next(iter(described["patternProperties"].values()))
        return f"table of: {_kind(inner, schema)}"
    kind = "path" if described.get("format") == "path" else KINDS[described["type"]]
    return f"{kind}{_bounds(described)}"


def _bounds(described: dict[str, Any]) -> str:
    words = {"exclusiveMinimum": "above", "minimum": "from", "maximum": "to"}
    said = [f"{word} {described[key]:,}" for key, word in words.items() if key in described]
    return f", {' '.join(said)}" if said else ""
