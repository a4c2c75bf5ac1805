"""A scorer at an endpoint scores as the model in process, within its budget, or says why it cannot."""

import json
import time
from dataclasses import replace

import numpy as np
import pytest
from fake_endpoint import OFFENDING
from scipy.special import logit

from models import ubjson
from models.breaker import State
from models.container import container_model
from models.endpoint import Breaker, Endpoint, check_servable
from models.manifest import MANIFEST_FILE, Member, from_json
from models.model import open_model
from models.sagemaker import EndpointScorer
from models.scorer import EndpointMissingError, EndpointRefusesError, ScorerUnavailableError
from models.train import TrainingSettings, train_to
from producer import sample_path
from schemas.dataset import read_dataset
from schemas.errors import BadModelError, ConfigurationError


@pytest.fixture(scope="module")
def model(tmp_path_factory, sandbox):
    """One of the size that `fraudstream train` makes."""
    from models.artifact import load

    path = tmp_path_factory.mktemp("model") / "model"
    train_to(path, read_dataset(sample_path()), TrainingSettings(name="m", version="1"))
    return load(path, sandbox=sandbox)


@pytest.fixture(scope="module")
def features(model):
    """10,000 real rows; some values are missing."""
    rows = read_dataset(sample_path()).frame[list(model.features)].to_numpy(np.float32)[:10_000]
    rows[::7, 3] = np.nan
    return rows


@pytest.fixture(scope="module")
def endpoint_model(model):
    return model


@pytest.fixture
def scorer_of(model, fake):
    def make(watch=lambda _result, _seconds: None, **settings):
        # Nothing here waits for these: a busy machine shall not look like an outage.
        given = {"budget_seconds": 30.0, "connect_seconds": 20.0, "read_seconds": 20.0} | settings
        scorer = EndpointScorer(model, Endpoint("fraud", **given), fake.url, watch)
        scorer.check()
        assert scorer.state is State.CLOSED
        fake.requests.clear()
        return scorer

    return make


def test_ten_thousand_real_rows_are_scored_as_in_process_to_a_millionth_whatever_the_form_of_the_answer(
    scorer_of, fake, model, features
):
    expected = model.score(features)

    for accept, lines in (("text/csv", False), ("text/csv", True), ("application/json", False)):
        fake.lines = lines
        answer = scorer_of(accept=accept).answer(features)
        assert np.abs(answer.scores - expected).max() <= 1e-6
    jsonlines = scorer_of(accept="application/jsonlines").answer(features[:500])
    assert np.abs(jsonlines.scores - expected[:500]).max() <= 1e-6
    assert model.manifest.prior_shift < -2, "a model without a shift would prove half of it"


def test_what_the_container_loads_is_the_model_with_its_prior_shift(model, features):
    import xgboost as xgb

    booster = xgb.Booster()
    booster.load_model(bytearray(container_model(model)))

    scores = booster.predict(xgb.DMatrix(features), validate_features=False)
    assert np.abs(scores - model.score(features)).max() <= 1e-6


def test_its_base_score_is_a_plain_number_as_the_xgboost_of_older_containers_takes_a_list_for_a_half(model):
    (booster,) = model.ensemble.boosters
    (ours,) = json.loads(json.loads(booster.save_config())["learner"]["learner_model_param"]["base_score"])

    described = ubjson.decode(container_model(model))

    theirs = float(described["learner"]["learner_model_param"]["base_score"])
    assert logit(theirs) == pytest.approx(logit(ours) + model.manifest.prior_shift, abs=1e-6)


def test_an_ensemble_cannot_be_served(model):
    members = (Member("a.ubj", 0.5), Member("b.ubj", 0.5))

    with pytest.raises(ConfigurationError, match="m@1 has 2 members"):
        check_servable(replace(model.manifest, members=members))


def test_answers_that_come_out_of_turn_are_put_in_order(scorer_of, fake, model, features):
    delays = iter([0.3, 0.2, 0.1, 0.0] * 3)
    scorer = scorer_of(request_rows=50, in_flight=4)
    fake.latency = lambda: next(delays)

    answer = scorer.answer(features[:400])

    np.testing.assert_allclose(answer.scores, model.score(features[:400]), atol=1e-6)
    assert (len(fake.requests), len(answer.invocations)) == (8, 8)
    assert np.bincount(answer.invoked).tolist() == [50] * 8


def test_no_more_requests_are_under_way_than_allowed_and_so_many_are(scorer_of, fake, features):
    scorer = scorer_of(request_rows=10, in_flight=3)
    fake.most_open, fake.latency = 0, 0.05

    scorer.answer(features[:120])

    assert fake.most_open == 3


def test_no_request_is_larger_than_the_setting(scorer_of, fake, model, features):
    answer = scorer_of(request_bytes=20_000, request_rows=100_000).answer(features[:500])

    sizes = [int(headers["Content-Length"]) for headers, *_ in fake.requests]
    assert len(sizes) > 5
    assert max(sizes) <= 20_000
    np.testing.assert_allclose(answer.scores, model.score(features[:500]), atol=1e-6)


def test_what_is_set_is_sent_and_who_answered_is_told(scorer_of, fake, features):
    settings = {"target_variant": "green", "inference_component": "one", "custom_attributes": "team=fraud"}

    answer = scorer_of(**settings).answer(features[:1])

    (headers, *_), (invocation,) = fake.requests[0], answer.invocations
    assert headers["X-Amzn-SageMaker-Target-Variant"] == "green"
    assert headers["X-Amzn-SageMaker-Inference-Component"] == "one"
    assert headers["X-Amzn-SageMaker-Custom-Attributes"] == "team=fraud"
    assert (headers["Content-Type"], headers["Accept"]) == ("text/csv", "text/csv")
    assert invocation.variant == "green"
    assert invocation.seconds > 0


ONCE = (
    *("throttled", "429", "503", "500", "530", "500 of the model", "down"),
    *("NaN", "no probability", "short", "wrong order", "garbage", "cut"),
)


@pytest.mark.parametrize("fault", ONCE)
def test_what_goes_wrong_once_is_asked_again(scorer_of, fake, model, features, fault):
    results = []
    scorer = scorer_of(lambda result, _: results.append(result))
    fake.break_with(fault, times=1)

    answer = scorer.answer(features[:50])

    np.testing.assert_allclose(answer.scores, model.score(features[:50]), atol=1e-6)
    assert len(fake.requests) == 2
    assert results[-1] == "answered"
    assert results[-2] in ("throttled", "failed", "wrong_answer")


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ("throttled", "is throttled or not ready"),
        ("503", "is throttled or not ready"),
        ("500 of the model", "fails"),
        ("down", "fails"),
        *((each, "gives no valid answer") for each in ("NaN", "short", "wrong order", "garbage", "cut")),
    ],
)
def test_what_goes_wrong_twice_gives_no_score_at_all(scorer_of, fake, features, fault, says):
    scorer = scorer_of()
    fake.break_with(fault)

    with pytest.raises(ScorerUnavailableError, match=f"endpoint fraud {says}"):
        scorer.answer(features[:50])
    assert len(fake.requests) == 2


@pytest.mark.parametrize("fault", ["slow", "drip"])
def test_no_batch_waits_longer_than_its_budget_and_the_next_one_is_not_held_up_by_what_hangs(
    scorer_of, fake, model, features, fault
):
    scorer = scorer_of(budget_seconds=2.0, read_seconds=1.5, in_flight=1)
    fake.break_with(fault)

    with pytest.raises(
        ScorerUnavailableError, match=r"endpoint fraud (has not answered within|does not answer in time)"
    ):
        scorer.answer(features[:50])
    assert fake.open_now, "it has waited for the answer"
    fake.break_with(None)

    np.testing.assert_allclose(scorer.answer(features[:50]).scores, model.score(features[:50]), atol=1e-6)


def test_of_a_batch_only_the_rows_that_are_refused_have_no_score(scorer_of, fake, model, features):
    rows = features[:300].copy()
    offenders = [0, 7, 8, 299]
    rows[offenders, 0] = OFFENDING

    scores = scorer_of(request_rows=100).score(rows)

    assert np.flatnonzero(np.isnan(scores)).tolist() == offenders
    good = np.delete(np.arange(300), offenders)
    np.testing.assert_allclose(scores[good], model.score(rows)[good], atol=1e-6)


def test_rows_are_not_blamed_where_golden_rows_are_refused_as_well(scorer_of, fake, features):
    scorer = scorer_of()
    fake.break_with("400")

    with pytest.raises(ScorerUnavailableError, match="refuses what it was asked"):
        scorer.answer(features[:50])
    assert len(fake.requests) == 2, "nothing is bisected"


def test_what_was_refused_before_the_budget_was_over_is_not_asked_again(scorer_of, fake, features):
    rows = features[:128].copy()
    rows[[5, 100], 0] = OFFENDING
    scorer = scorer_of(in_flight=1, budget_seconds=3.0)
    # The batch, the golden rows, its halves, and on both sides two requests for each halving of what is left: 28.
    delays = iter([0.0] * 26)
    fake.latency = lambda: next(delays, 3.2)
    with pytest.raises(ScorerUnavailableError):
        scorer.answer(rows)
    fake.latency = 0.0
    fake.requests.clear()

    scores = scorer.score(rows)

    assert np.flatnonzero(np.isnan(scores)).tolist() == [5, 100]
    assert len(fake.requests) == 16


def test_an_open_breaker_asks_nothing_and_after_its_time_two_probes_and_then_the_batch(scorer_of, fake, features):
    now = [0.0]
    scorer = scorer_of(breaker=Breaker(least=2, window=10, probe_seconds=60.0))
    scorer._clock = lambda: now[0]
    fake.break_with("down")
    with pytest.raises(ScorerUnavailableError):
        scorer.answer(features[:10])
    assert (scorer.state, scorer.openings) == (State.OPEN, 1)
    fake.break_with(None)
    fake.requests.clear()

    with pytest.raises(ScorerUnavailableError, match="circuit breaker is open") as refused:
        scorer.answer(features[:10])
    assert (fake.requests, refused.value.again_in) == ([], 60)
    now[0] = 61
    scorer.answer(features[:10])

    golden = len(scorer.model.manifest.golden_rows)
    assert [lines for _, lines, _ in fake.requests] == [golden, golden, 12]
    assert scorer.state is State.CLOSED


def test_at_a_start_an_endpoint_that_is_away_may_come_back(model, fake, features):
    scorer = EndpointScorer(model, Endpoint("fraud", breaker=Breaker(probe_seconds=0.1)), fake.url)
    fake.break_with("down")
    scorer.check()
    assert scorer.state is not State.CLOSED
    fake.break_with(None)
    time.sleep(0.1)

    assert len(scorer.answer(features[:10]).scores) == 10


@pytest.mark.parametrize(
    ("settings", "fault", "error", "says"),
    [
        ({"name": "none"}, None, EndpointMissingError, "endpoint none does not exist"),
        ({"target_variant": "red"}, None, EndpointMissingError, "has no such variant"),
        ({"inference_component": "two"}, None, EndpointMissingError, "or component"),
        ({}, "403", EndpointRefusesError, "endpoint fraud may not be invoked"),
    ],
)
def test_at_a_start_a_missing_endpoint_and_a_missing_right_are_named(model, fake, settings, fault, error, says):
    scorer = EndpointScorer(model, Endpoint(**({"name": "fraud"} | settings)), fake.url)
    fake.break_with(fault)

    with pytest.raises(error, match=says) as refused:
        scorer.check()
    assert refused.value.exit_code == (77 if error is EndpointRefusesError else 78)


def test_without_credentials_it_is_a_right_that_is_missing(model, fake, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))

    with pytest.raises(EndpointRefusesError):
        EndpointScorer(model, Endpoint("fraud"), fake.url).check()


def test_without_a_region_it_is_a_setting(model, fake, monkeypatch, tmp_path):
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))

    with pytest.raises(ConfigurationError, match="endpoint fraud: SageMaker cannot be called"):
        EndpointScorer(model, Endpoint("fraud"))


def test_an_endpoint_that_serves_another_model_is_found_out_at_the_start_and_later(
    scorer_of, fake, model, small_models, features
):
    import xgboost as xgb

    files = small_models["2"]
    other = open_model(from_json(files[MANIFEST_FILE], "manifest"), files, 1)
    scorer, right = scorer_of(), fake.booster
    fake.booster = xgb.Booster()
    fake.booster.load_model(bytearray(container_model(other)))
    try:
        with pytest.raises(BadModelError, match="endpoint fraud does not serve m@1: golden rows have other scores"):
            EndpointScorer(model, Endpoint("fraud"), fake.url).check()
        with pytest.raises(ScorerUnavailableError, match="gives no valid answer"):
            scorer.answer(features[:10])
    finally:
        fake.booster = right


def test_without_sentinels_nothing_but_the_rows_is_sent(scorer_of, fake, features):
    scorer_of(sentinels=False).answer(features[:10])

    assert [lines for _, lines, _ in fake.requests] == [10]


def test_the_fake_has_the_contract_of_the_container(fake):
    """So that what is tested against it means something: as algorithm_mode/serve.py and botocore's model say."""
    import boto3
    from botocore.exceptions import ClientError

    client = boto3.client("sagemaker-runtime", endpoint_url=fake.url)

    def status(body, kind="text/csv", accept="text/csv"):
        try:
            answer = client.invoke_endpoint(EndpointName="fraud", Body=body, ContentType=kind, Accept=accept)
        except ClientError as error:
            return error.response["Error"]["Code"], error.response["OriginalStatusCode"]
        return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Body"].read().count(b",") + 1

    row = b",".join(b"1" for _ in range(fake.features))
    assert status(b"") == (204, 1)
    assert status(row + b"\n" + row) == (200, 2)
    assert status(b"0:1 28:2\n0:1 28:3", "text/x-libsvm") == (200, 2)
    assert status(b'{"features": [1]}', "application/json") == ("ModelError", 415)
    assert status(b"1,x,2") == ("ModelError", 415)
    assert status(row, accept="text/plain") == ("ModelError", 406)
    assert status(b"1,2,3") == ("ModelError", 400)
    assert status(row + b"\n" * 6_291_456) == ("ModelError", 413)
