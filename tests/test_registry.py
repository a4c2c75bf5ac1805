"""A registry that says no is believed; one that does not answer is waited for; what it once said is kept."""

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from schemas.errors import ConfigurationError, FraudstreamError, NotPermittedError
from schemas.registry import RegistryClient
from schemas.sources import PinnedSchemas, RegistryUnavailableError

SCHEMA = {"type": "record", "name": "T", "fields": [{"name": "id", "type": "string"}]}
QUICK = {"max.retries": "0", "timeout": "2"}


@dataclass
class Answers:
    """What the registry below has: documents by path, and a status that it gives instead."""

    documents: dict = field(default_factory=dict)
    status: int | None = None
    asked: list = field(default_factory=list)

    def add(self, number, subject, **more):
        self.documents[f"/schemas/ids/{number}"] = {"schema": json.dumps(SCHEMA), **more}
        self.documents[f"/schemas/ids/{number}/versions"] = [{"subject": subject, "version": 1}]


@contextmanager
def serving(answers):
    """The URL of a registry that gives these answers and nothing else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            path = self.path.partition("?")[0]
            answers.asked.append(path)
            status = answers.status or (200 if path in answers.documents else 404)
            code = status * 100 + 3 if path.startswith(("/schemas/ids/", "/subjects/")) else status
            body = answers.documents.get(path) if status == 200 else {"error_code": code, "message": "no"}
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode() if isinstance(body, str) else json.dumps(body).encode())

        def do_POST(self):
            self.do_GET()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def client(url, **options):
    return RegistryClient(url, ["t-value"], QUICK, **options)


def test_a_schema_is_asked_for_once_and_outlives_the_registry():
    answers = Answers()
    answers.add(7, "t-value")
    with serving(answers) as url:
        registry = client(url)
        first = registry.schema(7)

    assert first == registry.schema(7) == SCHEMA
    assert len(answers.asked) == 2


def test_a_schema_of_a_subject_that_is_not_allowed_is_unknown():
    answers = Answers()
    answers.add(7, "somebody-elses-value")
    with serving(answers) as url:
        assert client(url).schema(7) is None


def test_an_unknown_id_is_not_asked_for_again_at_once():
    answers = Answers()
    with serving(answers) as url:
        patient, eager = client(url), client(url, ask_again=0)
        patient.schema(7)
        eager.schema(7)
        answers.add(7, "t-value")

        assert patient.schema(7) is None
        assert eager.schema(7) == SCHEMA


def test_a_registry_that_fails_or_is_gone_makes_no_record_bad():
    answers = Answers(status=503)
    with serving(answers) as url:
        registry = client(url)
        with pytest.raises(RegistryUnavailableError, match="fails"):
            registry.schema(7)
        answers.add(7, "t-value")
        answers.status = None
        assert registry.schema(7) == SCHEMA
        answers.documents["/schemas/ids/8/versions"] = "<html>a proxy says hello</html>"
        with pytest.raises(RegistryUnavailableError, match="does not answer"):
            registry.schema(8)

    with pytest.raises(RegistryUnavailableError, match="does not answer"):
        registry.schema(9)
    with pytest.raises(RegistryUnavailableError, match="does not answer"):
        registry.register("t-value", SCHEMA)


def test_an_address_that_is_not_that_of_a_registry_is_a_matter_of_configuration_and_makes_no_record_bad():
    answers = Answers()
    with serving(answers) as url, pytest.raises(ConfigurationError, match="answers"):
        client(f"{url}/somewhere/else").schema(7)


@pytest.mark.parametrize("status", [401, 403])
def test_a_registry_that_refuses_us_is_a_matter_of_rights(status):
    with serving(Answers(status=status)) as url, pytest.raises(NotPermittedError, match="refuses us"):
        client(url).schema(7)


def test_a_schema_that_is_refused_at_registration_is_a_matter_of_configuration():
    with serving(Answers(status=409)) as url, pytest.raises(ConfigurationError, match="t-value: no"):
        client(url).register("t-value", SCHEMA)


def test_a_schema_that_is_not_avro_is_unknown_and_one_in_pieces_is_a_matter_of_configuration():
    answers = Answers()
    answers.add(7, "t-value", schemaType="JSON")
    answers.add(8, "t-value", references=[{"name": "other", "subject": "o", "version": 1}])
    with serving(answers) as url:
        assert client(url).schema(7) is None
        with pytest.raises(ConfigurationError, match="in one piece"):
            client(url).schema(8)


def test_the_latest_schemas_of_the_subjects_that_exist_are_known_before_the_first_record():
    answers = Answers()
    answers.documents["/subjects/t-value/versions/latest"] = {
        "subject": "t-value",
        "id": 7,
        "version": 2,
        "schema": json.dumps(SCHEMA),
    }
    with serving(answers) as url:
        assert RegistryClient(url, ["none-value", "t-value"], QUICK).known() == {7: SCHEMA}


def test_a_property_that_the_client_does_not_know_is_a_matter_of_configuration():
    with pytest.raises(ConfigurationError, match=r"no\.such\.thing"):
        RegistryClient("http://127.0.0.1:1", [], {"no.such.thing": "1"})


def test_a_property_that_should_be_a_number_is_a_matter_of_configuration():
    with pytest.raises(ConfigurationError, match="schema_registry: timeout is no number"):
        RegistryClient("http://127.0.0.1:1", [], {"timeout": "soon"})


@pytest.mark.parametrize("number", ["seven", -1, 2**32])
def test_an_answer_that_is_no_schema_id_is_a_matter_of_configuration(number):
    answers = Answers()
    latest = {"subject": "t-value", "id": number, "version": 1, "schema": json.dumps(SCHEMA)}
    answers.documents["/subjects/t-value/versions/latest"] = latest
    answers.documents["/subjects/t-value/versions"] = {"id": number}
    with serving(answers) as url:
        for ask in (client(url).known, lambda: client(url).register("t-value", SCHEMA)):
            with pytest.raises(ConfigurationError, match="schema id that is none"):
                ask()


def test_a_schema_that_is_no_json_is_a_matter_of_configuration():
    answers = Answers()
    answers.add(7, "t-value", schema="{")
    with serving(answers) as url, pytest.raises(ConfigurationError, match="id 7 of the registry is no JSON"):
        client(url).schema(7)


@pytest.mark.parametrize("status", [None, 401, 409, 429, 503])
@pytest.mark.parametrize("ask", [lambda c: c.schema(7), lambda c: c.known(), lambda c: c.register("t-value", SCHEMA)])
def test_credentials_in_the_url_are_never_repeated(status, ask):
    with serving(Answers(status=status or 200)) as url:
        address = url.replace("//", "//ann:hunter2@")
        if status is None:
            address = "http://ann:hunter2@127.0.0.1:1"
        with pytest.raises(FraudstreamError) as caught:
            ask(client(address))

    assert "hunter2" not in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize("url", ["ftp://ann:hunter2@h", "ann:hunter2@h:8081", "http://ann:hunt/er2@h:8081"])
def test_credentials_in_a_url_that_is_none_are_never_repeated(url):
    with pytest.raises(FraudstreamError) as caught:
        client(url).schema(7)

    assert "hunt" not in str(caught.value)


def test_pinned_schemas_are_all_that_there_is():
    pinned = PinnedSchemas({7: SCHEMA})

    assert (pinned.schema(7), pinned.schema(8), pinned.known()) == (SCHEMA, None, {7: SCHEMA})
