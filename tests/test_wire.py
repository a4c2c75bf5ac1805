"""What a worker reads and writes is checked against its settings before it starts."""

import json

import pytest

from consumer.settings import Format, WorkerSettings
from consumer.wire import transaction_reader
from schemas.errors import ConfigurationError
from schemas.load import load


def with_field(tmp_path, name, kind):
    """A file with the shipped schema, but ``name`` is of this type."""
    schema = load("transaction")
    fields = [{"name": name, "type": kind} if field["name"] == name else field for field in schema["fields"]]
    path = tmp_path / f"{name}.avsc"
    path.write_text(json.dumps({**schema, "fields": fields}))
    return path


@pytest.mark.parametrize("input_format", list(Format))
@pytest.mark.parametrize(("role", "kind"), [("card_id", "long"), ("event_time", "string"), ("amount", "bytes")])
def test_a_role_of_the_wrong_type_is_named_at_the_start(tmp_path, input_format, role, kind):
    settings = WorkerSettings(input_format=input_format, input_schema=with_field(tmp_path, role, kind))

    with pytest.raises(ConfigurationError, match=f"field {role} of the input is no"):
        transaction_reader(settings, ["V1"])


def test_a_role_of_the_wrong_type_is_named_whichever_pinned_schema_has_it(tmp_path):
    pinned = {7: with_field(tmp_path, "V2", "double"), 8: with_field(tmp_path, "amount", "string")}

    with pytest.raises(ConfigurationError, match="field amount of the input is no number"):
        transaction_reader(WorkerSettings(input_schema_ids=pinned), ["V1"])
