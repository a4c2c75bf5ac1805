"""A transaction goes in by HTTP, and the decision that a worker would make comes out."""

import base64
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from consumer.settings import WorkerSettings
from fraudstream.rest import handler as rest
from fraudstream.rest.predict import Predictor
from fraudstream.rest.request import PUBLIC_ROW
from models.artifact import load as load_model
from producer import sample_path
from schemas.dataset import read_dataset

CONTEXT = SimpleNamespace(aws_request_id="8f1a")
REFUSED = {
    b"": (None, "not JSON"),
    b"{": (None, "not JSON"),
    b"[]": (None, "expected `object`"),
    b'{"features": [NaN]}': (None, "not JSON"),
    b'{"features": [1, 2]}': ("features", "has 2 numbers, and the model takes 29 or 30"),
    b"{}": ("features", "is missing"),
    b'{"features": {}}': ("features", "no feature of the model"),
    b'{"features": {"Time": 1}}': ("features", "no feature of the model"),
    b'{"features": {"V99": 1}}': ("V99", "no feature of this name"),
    b'{"features": {"V1": 1}}': ("features.amount", "the amount is missing"),
    b'{"features": {"V1": "x"}}': ("features.V1", "got `str`"),
    b'{"features": {"V1": true}}': ("features.V1", "got `bool`"),
    b'{"features": {"V1": 1e300}}': ("features.V1", "beyond what a model can take"),
    b'{"features": {"V1": 1e999}}': ("features", "out of range"),
    b'{"features": {"4111 1111 1111 1111": 1}}': ("a name that is none", "no feature of this name"),
    b'{"features": {"V1": 1}, "card": "c"}': ("card", "no such field"),
    b'{"features": {"V1": 1}, "unit": ""}': ("unit", "length"),
    b'{"features": {"V1": 1}, "event_time": 1}': ("event_time", "out of range"),
    b'{"features": {"V1": 1}, "event_time": 99999999999999999999}': ("event_time", "expected `int`"),
    b'{"features": ' + b"[" * 30_000 + b"]" * 30_000 + b"}": ("features", "got `array`"),
    b" " * 200_000: (None, "larger than"),
    b'{"features": {"V1": "x"}, "features": [1]}': ("features", "got `str`"),
    b'{"features": {"V1": "x", "V1": 1}}': ("features", "got `str`"),
    b'{"features": {"V1": 1, "amount": 1}, "unit": "' + "ü".encode() * 300 + b'"}': ("unit", "longer than 512 bytes"),
}


@pytest.fixture(scope="module")
def model_dir(small_models, tmp_path_factory):
    path = tmp_path_factory.mktemp("rest") / "model"
    path.mkdir()
    for name, data in small_models["1"].items():
        (path / name).write_bytes(data)
    return path


@pytest.fixture(scope="module")
def predictor(model_dir):
    made = Predictor(WorkerSettings(model=model_dir))
    yield made
    made.close()


@pytest.fixture
def call(predictor, monkeypatch):
    """Call the handler as API Gateway does, in either payload format; the status and the body of its answer."""
    monkeypatch.setattr(rest, "predictor", lambda: predictor)

    def call(body, version="2.0", method="POST", path="/predict", *, encoded=False):
        text = base64.b64encode(body).decode() if encoded else body.decode()
        event = {"version": version, "body": text, "isBase64Encoded": encoded}
        if version == "2.0":
            event |= {"rawPath": path, "requestContext": {"http": {"method": method, "path": path}}}
        else:
            event |= {"httpMethod": method, "path": path, "requestContext": {"httpMethod": method}}
        answer = rest.handler(event, CONTEXT)
        return answer["statusCode"], json.loads(answer["body"])

    return call


def rows(count):
    """Frauds and others of the sample, as rows of the public card data."""
    frame = read_dataset(sample_path()).frame
    some = frame.groupby("is_fraud").head(count)
    return some.rename(columns={"time": "Time"})[list(PUBLIC_ROW)].to_numpy(float)


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("encoded", [False, True])
def test_a_row_of_the_public_data_gets_the_score_of_the_model(call, model_dir, version, encoded):
    model = load_model(model_dir)
    some = rows(20)
    order = [PUBLIC_ROW.index(name) for name in model.features]
    scores = model.score(some[:, order].astype(np.float32))
    outcomes = set()
    for row, score in zip(some, scores, strict=True):
        status, answer = call(json.dumps({"features": row.tolist()}).encode(), version, encoded=encoded)
        assert status == 200
        assert answer["fraud_score"] == pytest.approx(score, abs=1e-6)
        outcomes.add(answer["decision"])
        assert answer["prediction"] == (answer["decision"] != "approve")
        assert answer["model"]["version"] == model.version
        assert answer["model"]["sha256"] == model.sha256.hex()
        assert bool(answer["reason_codes"]) == bool(answer["prediction"])
        assert answer["transaction_id"] == "8f1a"
        assert f"{score:.4g}" in answer["message"]
    assert {"approve", "decline"} <= outcomes


def test_by_name_by_position_and_in_the_order_of_the_model_it_is_the_same_transaction(call, model_dir):
    row = rows(1)[0].tolist()
    named = dict(zip(PUBLIC_ROW, row, strict=True))
    forms = (row, named, [named[name] for name in load_model(model_dir).features])
    answers = [call(json.dumps({"features": form, "transaction_id": "t", "unit": "c"}).encode())[1] for form in forms]
    for answer in answers:
        del answer["decided_at"], answer["event_time"]
    assert answers[0] == answers[1] == answers[2]
    assert answers[0]["experiment"]["bucket"] >= 0
    assert not answers[0]["degraded"]


def test_without_a_card_the_control_decides_and_says_so(model_dir, call, monkeypatch):
    body = json.dumps({"features": rows(1)[0].tolist()}).encode()
    _, alone = call(body)
    assert (alone["degraded"], alone["experiment"]["bucket"]) == (False, -1)
    two = Predictor(WorkerSettings(model=model_dir, challenger=model_dir, challenger_share=1.0))
    monkeypatch.setattr(rest, "predictor", lambda: two)
    event = {"version": "1.0", "httpMethod": "POST", "path": "/predict", "body": body.decode()}
    answer = json.loads(rest.handler(event, CONTEXT)["body"])
    assert (answer["degraded"], answer["fallback_reason"]) == (True, "the routing unit is missing")
    assert answer["experiment"]["variant"] == "champion"


@pytest.mark.parametrize("body", REFUSED, ids=lambda body: body[:50].decode())
def test_what_is_wrong_is_named(call, body):
    field, sentence = REFUSED[body]
    status, answer = call(body)
    assert (status, answer.get("field")) == (400, field)
    assert sentence in answer["error"]
    assert "4111" not in json.dumps(answer)


def test_a_feature_that_the_model_requires_is_named(predictor, call, monkeypatch):
    serving = predictor._source.serving
    (arm,) = serving.rollout.arms
    required = np.array(arm.scorer.features) == "V2"
    demanding = replace(serving, rollout=replace(serving.rollout, arms=(replace(arm, required=required),)))
    monkeypatch.setattr(predictor._source, "serving", demanding)
    answer = call(b'{"features": {"V1": 1, "amount": 1}}')
    assert answer == (400, {"error": "a feature that the model requires is missing", "field": "features.V2"})


@pytest.mark.parametrize(("body", "encoded"), [("!", True), ("\ud800", False), (None, False)])
def test_a_body_that_is_no_base64_no_text_or_none(predictor, monkeypatch, body, encoded):
    monkeypatch.setattr(rest, "predictor", lambda: predictor)
    event = {"version": "1.0", "httpMethod": "POST", "path": "/predict", "body": body, "isBase64Encoded": encoded}
    assert rest.handler(event, CONTEXT)["statusCode"] == 400


def test_other_paths_and_methods(call):
    assert call(b"", path="/other")[0] == 404
    assert call(b"", method="GET")[0] == 405
    assert call(b"{}", path="/prod/predict")[0] == 400


def test_without_a_model_there_is_an_answer(tmp_path, monkeypatch):
    empty = Predictor(WorkerSettings(store=str(tmp_path)))
    monkeypatch.setattr(rest, "predictor", lambda: empty)
    try:
        event = {"version": "1.0", "httpMethod": "POST", "path": "/predict", "body": '{"features": {"V1": 1}}'}
        answer = rest.handler(event, CONTEXT)
        assert (answer["statusCode"], answer["headers"]["retry-after"]) == (503, "5")
    finally:
        empty.close()


def test_the_settings_of_the_environment_are_read_once(model_dir, monkeypatch):
    monkeypatch.setenv("FRAUDSTREAM_MODEL", str(model_dir))
    monkeypatch.setattr(rest.logs, "configure", lambda *_: None)
    rest.predictor.cache_clear()
    try:
        body = json.dumps({"features": rows(1)[0].tolist()})
        event = {"version": "1.0", "httpMethod": "POST", "path": "/predict", "body": body}
        assert rest.handler(event, CONTEXT)["statusCode"] == 200
        assert rest.predictor() is rest.predictor()
    finally:
        rest.predictor.cache_clear()
