"""An endpoint for a rollout: planned, deployed at a real HTTP server that speaks AWS's control plane, and taken back.

What stands in for AWS has no UpdateEndpoint: that request is held against botocore's own description of it, and
answered by botocore's stubber.
"""

import io
import json
import tarfile
import urllib.request
from dataclasses import replace
from datetime import UTC, datetime

import boto3
import numpy as np
import pytest
from botocore.stub import ANY, Stubber
from botocore.validate import ParamValidator
from typer.testing import CliRunner

from deploy.sagemaker import apply, transform
from deploy.sagemaker.aws import Account, call
from deploy.sagemaker.pack import MODEL_NAME, pack, upload
from deploy.sagemaker.plan import Wish, plan
from fraudstream.__main__ import app
from models.artifact import from_files
from models.boosting import xgboost as xgb
from models.registry import Registry, Version
from models.rollout import Changed, Shadow, first
from models.rollout_changes import By, ramp
from models.rollout_store import RolloutStore
from models.store import open_store
from producer import sample_path
from schemas.dataset import read_dataset
from schemas.errors import ConfigurationError, FraudstreamError, NotPermittedError

ROLE = "arn:aws:iam::123456789012:role/fraud"
IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:3.0-5"
WISH = Wish("fraud", ROLE, IMAGE, "ml.m5.large")
BY = By("a", datetime(2026, 1, 1, tzinfo=UTC), "")
ONE, TWO = Version("m", "1"), Version("m", "2")


@pytest.fixture(scope="module")
def packed(small_models, sandbox):
    files = {Version("m", name): small_models[name] for name in ("1", "2")}
    return {version: pack(from_files(each, str(version), sandbox=sandbox)) for version, each in files.items()}


@pytest.fixture
def account(s3):
    """All of AWS, empty: only S3 has buckets of their own for each test."""
    reset = urllib.request.Request(f"{s3.direct}/moto-api/reset", method="POST")
    urllib.request.urlopen(reset).close()
    boto3.client("s3", endpoint_url=s3.direct).create_bucket(Bucket=s3.bucket)
    return Account.open("us-east-1", s3.direct)


@pytest.fixture
def urls(packed):
    return {version: (each, f"s3://bucket/{each.key}") for version, each in packed.items()}


def rollout(share=0.0):
    document = first(ONE, Changed("a", BY.when, "", "promote"))
    return ramp(document, "m@2", share, BY) if share else document


def test_the_container_finds_a_model_that_scores_as_ours(small_models, sandbox, packed, tmp_path):
    """It loads the one file that it finds, by its path (serve.py of sagemaker-xgboost-container)."""
    model = from_files(small_models["1"], "m@1", sandbox=sandbox)
    with tarfile.open(fileobj=io.BytesIO(packed[ONE].content)) as archive:
        archive.extractall(tmp_path, filter="data")
    (file,) = tmp_path.iterdir()
    booster = xgb.Booster()
    with pytest.warns(UserWarning, match="UBJSON"):  # without an ending it guesses the format, and guesses right
        booster.load_model(file)
    assert file.name == MODEL_NAME
    rows = read_dataset(sample_path()).frame[list(model.features)].to_numpy(np.float32)[:10_000]
    assert np.abs(booster.predict(xgb.DMatrix(rows), validate_features=False) - model.score(rows)).max() < 1e-6
    assert pack(model) == packed[ONE]


def test_a_plan_follows_the_rollout_and_names_what_it_contains(urls):
    made = plan(rollout(0.05), urls, replace(WISH, captured=10, capture_to="s3://b/c", hourly_price=0.1))
    assert made.weights == {"champion": 0.95, "challenger": 0.05} or sorted(made.weights.values()) == [0.05, 0.95]
    assert [each["PrimaryContainer"]["ModelDataUrl"] for each in made.models] == [urls[ONE][1], urls[TWO][1]]
    assert len(made.alarms) == 4
    assert made.costs[0].startswith("1,460 to 5,840 hours of ml.m5.large a month: 146 to 584")
    again = plan(rollout(0.05), urls, replace(WISH, captured=10, capture_to="s3://b/c"))
    assert again.config_name == made.config_name
    assert plan(rollout(0.06), urls, WISH).config_name != plan(rollout(0.05), urls, WISH).config_name


def test_sagemaker_runs_one_shadow_beside_one_variant(urls):
    shadow = Shadow("next", "m@2", "xgboost")
    alone = plan(replace(rollout(), shadows=(shadow,)), urls, WISH)
    assert [each["VariantName"] for each in alone.config["ShadowProductionVariants"]] == ["next"]
    both = plan(replace(rollout(0.1), shadows=(shadow,)), urls, WISH)
    assert "ShadowProductionVariants" not in both.config
    assert any("stay with the workers" in note for note in both.notes)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"endpoint": "a_b"}, "endpoint: take letters"),
        ({"captured": 5}, "capture-to"),
        ({"instances": 5}, "instances"),
        ({"step_percent": 60}, "step-percent"),
        ({"shift": "linear", "step_percent": 5}, "between 10 and 50"),
        ({"wait_seconds": 3601}, "wait-seconds"),
        ({"shift": "linear", "wait_seconds": 3600}, "below 8 hours"),
    ],
)
def test_what_aws_would_refuse_is_refused_before(urls, change, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        plan(rollout(), urls, replace(WISH, **change))


def test_deployed_twice_shifted_and_deleted(account, urls):
    lines = []
    made = plan(rollout(0.05), urls, WISH)
    assert apply.deploy(account, made, lines.append) is True
    assert any("InService" in line for line in lines)
    lines.clear()
    assert apply.deploy(account, made, lines.append) is False
    assert not any("creating" in line for line in lines)
    found = apply.describe(account, "fraud")
    assert found.weights == pytest.approx(made.weights)
    (target,) = [x for x in _targets(account) if x["ResourceId"].endswith("champion")]
    assert (target["MinCapacity"], target["MaxCapacity"]) == (1, 4)

    wider = plan(rollout(0.2), urls, WISH)
    assert apply.shift(account, "fraud", wider.weights, lines.append) is True
    assert apply.shift(account, "fraud", wider.weights, lines.append) is False
    with pytest.raises(ConfigurationError, match="deploy it first"):
        apply.shift(account, "fraud", {"champion": 1.0}, lines.append)

    gone = apply.delete(account, "fraud", lines.append)
    assert "endpoint fraud" in gone
    assert apply.describe(account, "fraud") is None
    assert apply.delete(account, "fraud", lines.append) == []
    assert call(account.sagemaker, "list_models")["Models"] == []
    assert _targets(account) == []


def test_a_model_that_another_endpoint_serves_is_not_deleted(account, urls):
    for name in ("fraud", "other"):
        apply.deploy(account, plan(rollout(), urls, replace(WISH, endpoint=name)), [].append)
    apply.delete(account, "fraud", [].append)
    assert len(call(account.sagemaker, "list_models")["Models"]) == 1
    assert apply.describe(account, "other") is not None


def _targets(account):
    return call(account.scaling, "describe_scalable_targets", ServiceNamespace="sagemaker")["ScalableTargets"]


def described(made, config, status="InService", **more):
    variants = [
        {"VariantName": name, "CurrentWeight": weight, "DesiredWeight": weight} for name, weight in made.weights.items()
    ]
    now = datetime(2026, 1, 1, tzinfo=UTC)
    arn = "arn:aws:sagemaker:us-east-1:1:endpoint/fraud"
    answer = {"EndpointName": "fraud", "EndpointArn": arn, "EndpointConfigName": config, "EndpointStatus": status}
    return answer | {"ProductionVariants": variants, "CreationTime": now, "LastModifiedTime": now, **more}


def stubbed(account):
    client = boto3.client("sagemaker", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    return replace(account, sagemaker=client), Stubber(client)


def configs(*names):
    arn, now = "arn:aws:sagemaker:us-east-1:1:endpoint-config/x", datetime(2026, 1, 1, tzinfo=UTC)
    return {
        "EndpointConfigs": [
            {"EndpointConfigName": name, "EndpointConfigArn": arn, "CreationTime": now.replace(minute=59 - at)}
            for at, name in enumerate(names)
        ]
    }


def config_of(made):
    arn, now = "arn:aws:sagemaker:us-east-1:1:endpoint-config/x", datetime(2026, 1, 1, tzinfo=UTC)
    variants = made.config["ProductionVariants"]
    return {"EndpointConfigName": "x", "EndpointConfigArn": arn, "CreationTime": now, "ProductionVariants": variants}


def test_to_other_variants_no_step_leads_and_all_at_once_nothing_guards(account, urls):
    """Then AWS takes no DeploymentConfig: the new configuration must have the variants of the old one."""
    alone, both = plan(rollout(), urls, WISH), plan(rollout(0.05), urls, WISH)
    at_once = plan(rollout(), urls, replace(WISH, shift="all-at-once"))
    stub_account, stub = stubbed(account)
    names = [f"fraud-{digit * 12}" for digit in "ba"]
    stub.add_response("describe_endpoint", described(both, names[0]))
    for _ in range(2):
        stub.add_response("describe_endpoint", described(both, names[0]))
        stub.add_response("list_endpoint_configs", configs(*names))
        stub.add_response("describe_endpoint_config", config_of(alone))
    wanted = {"EndpointName": "fraud", "EndpointConfigName": names[1]}
    stub.add_response("update_endpoint", {"EndpointArn": "arn:aws:sagemaker:us-east-1:1:endpoint/fraud"}, wanted)
    lines = []

    with stub:
        with pytest.raises(ConfigurationError, match="serves challenger, champion and is to serve champion: AWS"):
            apply.deploy(stub_account, alone, lines.append)
        with pytest.raises(ConfigurationError, match="take --shift all-at-once"):
            apply.rollback(stub_account, "fraud", alone.deployment, None, lines.append)
        apply.rollback(stub_account, "fraud", at_once.deployment, None, lines.append)
        stub.assert_no_pending_responses()

    assert lines[-1] == "other variants than now: all traffic moves at once, and no alarm sends it back"


@pytest.mark.parametrize("shift", ["all-at-once", "canary", "linear"])
@pytest.mark.parametrize("shadowed", [False, True])
def test_every_request_of_a_plan_is_one_that_botocore_takes(account, urls, shift, shadowed):
    wish = replace(WISH, shift=shift, captured=10, capture_to="s3://b/c", tags={"team": "fraud"})
    shadows = (Shadow("next", "m@2", "xgboost"),) if shadowed else ()
    made = plan(replace(rollout(0.0 if shadowed else 0.1), shadows=shadows), urls, wish)
    update = {"EndpointName": "x", "EndpointConfigName": made.config_name, "DeploymentConfig": made.deployment}
    job = transform.Job("job-1", made.models[0]["ModelName"], "s3://b/in", "s3://b/out", "ml.m5.xlarge")
    requests = [
        *((account.sagemaker, "CreateModel", each) for each in made.models),
        (account.sagemaker, "CreateEndpointConfig", made.config),
        (account.sagemaker, "UpdateEndpoint", update),
        (account.sagemaker, "CreateTransformJob", transform.request_of(job)),
        *((account.scaling, "RegisterScalableTarget", each) for each in made.targets),
        *((account.scaling, "PutScalingPolicy", each) for each in made.policies),
        *((account.alarms, "PutMetricAlarm", each) for each in made.alarms),
    ]

    for client, operation, request in requests:
        shape = client.meta.service_model.operation_model(operation).input_shape
        assert not ParamValidator().validate(request, shape).generate_report()


@pytest.mark.parametrize("kind", ["all-at-once", "canary", "linear"])
def test_an_endpoint_that_serves_is_updated_blue_green_and_watched_by_alarms(account, urls, kind):
    made = plan(rollout(0.05), urls, replace(WISH, shift=kind))
    stub_account, stub = stubbed(account)
    stub.add_response("describe_endpoint", described(made, "fraud-0123456789ab"))
    for model in made.models:
        arn = "arn:aws:sagemaker:us-east-1:1:model/x"
        found = {"ModelName": model["ModelName"], "ModelArn": arn, "CreationTime": datetime(2026, 1, 1, tzinfo=UTC)}
        stub.add_response("describe_model", found)
    missing = 'Could not find endpoint configuration "x".'
    stub.add_client_error("describe_endpoint_config", "ValidationException", missing)
    arn = "arn:aws:sagemaker:us-east-1:1:endpoint-config/x"
    stub.add_response("create_endpoint_config", {"EndpointConfigArn": arn}, made.config)
    wanted = {"EndpointName": "fraud", "EndpointConfigName": made.config_name, "DeploymentConfig": made.deployment}
    stub.add_response("update_endpoint", {"EndpointArn": "arn:aws:sagemaker:us-east-1:1:endpoint/fraud"}, wanted)
    stub.add_response("describe_endpoint", described(made, "fraud-0123456789ab", "Updating"))
    stub.add_response("describe_endpoint", described(made, made.config_name))
    lines = []
    with stub:
        assert apply.deploy(stub_account, made, lines.append, lambda _: None) is True
        stub.assert_no_pending_responses()
    assert len(made.deployment["AutoRollbackConfiguration"]["Alarms"]) == 4
    assert [line for line in lines if " is " in line] == ["fraud is Updating", "fraud is InService"]


@pytest.mark.parametrize(
    ("last", "sentence"),
    [
        (("fraud-0123456789ab", "InService"), "was rolled back to fraud-0123456789ab"),
        (("fraud-0123456789ab", "Failed"), "is Failed: no capacity"),
    ],
)
def test_a_deployment_that_fails_or_is_rolled_back_says_so(account, urls, last, sentence):
    made = plan(rollout(), urls, WISH)
    stub_account, stub = stubbed(account)
    failure = {"FailureReason": "no capacity"} if last[1] == "Failed" else {}
    stub.add_response("describe_endpoint", described(made, *last, **failure))
    with stub, pytest.raises(FraudstreamError, match=sentence):
        apply.wait(stub_account, "fraud", made.config_name, [].append)


def test_rollback_goes_to_the_configuration_before(account, urls):
    made = plan(rollout(), urls, WISH)
    names = [f"fraud-{digit * 12}" for digit in "cba"]
    stub_account, stub = stubbed(account)
    stub.add_response("describe_endpoint", described(made, names[0]))
    stub.add_response("list_endpoint_configs", configs(*names, "fraud-of-others-000000000000", "fraud-zz"))
    stub.add_response("describe_endpoint_config", config_of(made))
    stub.add_response("update_endpoint", {"EndpointArn": "arn:aws:sagemaker:us-east-1:1:endpoint/fraud"},
                      {"EndpointName": "fraud", "EndpointConfigName": names[1], "DeploymentConfig": ANY})  # fmt: skip
    with stub:
        assert apply.rollback(stub_account, "fraud", made.deployment, None, [].append) == names[1]
        stub.assert_no_pending_responses()
    stub.add_response("describe_endpoint", described(made, names[2]))
    stub.add_response("list_endpoint_configs", configs(*names))
    with stub, pytest.raises(ConfigurationError, match="no configuration from before"):
        apply.rollback(stub_account, "fraud", made.deployment, None, [].append)


def test_a_right_that_is_missing_is_named(account):
    stub_account, stub = stubbed(account)
    stub.add_client_error("describe_endpoint", "AccessDeniedException", "no")
    with stub, pytest.raises(NotPermittedError, match="sagemaker:DescribeEndpoint is not permitted"):
        apply.describe(stub_account, "fraud")


def test_a_batch_transform_job_joins_its_results_by_id(account, urls):
    made = plan(rollout(), urls, WISH).models[0]
    apply.ensure_model(account, made, [].append)
    job = transform.Job("job-1", made["ModelName"], "s3://bucket/in", "s3://bucket/out", "ml.m5.xlarge")
    lines = []
    transform.run(account, job, lines.append, lambda _: None)
    assert lines[-1] == "job-1 is Completed"
    kept = call(account.sagemaker, "describe_transform_job", TransformJobName="job-1")
    assert kept["DataProcessing"] == {"InputFilter": "$[1:]", "JoinSource": "Input", "OutputFilter": "$[0,-1]"}
    with pytest.raises(ConfigurationError, match="is not in S3"):
        transform.request_of(replace(job, source="/data"))


@pytest.fixture
def stored(account, s3, small_models, monkeypatch):
    """A store on S3 with two versions and a rollout of the first."""
    monkeypatch.setenv("FRAUDSTREAM_STORE", f"s3://{s3.bucket}/fraud")
    monkeypatch.setenv("FRAUDSTREAM_STORE_ENDPOINT", s3.direct)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.direct)
    store = open_store(f"s3://{s3.bucket}/fraud", s3.direct)
    for name in ("1", "2"):
        Registry(store).publish(small_models[name])
    RolloutStore(store).write(rollout(), None)
    return store


def run(*arguments):
    return CliRunner().invoke(app, ["sagemaker", *arguments], catch_exceptions=True)


def test_the_commands_from_a_dry_run_to_the_end(account, stored):
    common = ["--endpoint", "fraud", "--role", ROLE, "--image", IMAGE]
    dry = run("deploy", *common, "--rollout", "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "100.00%" in dry.output
    assert "costs: 730 to 2,920 hours" in dry.output
    assert apply.describe(account, "fraud") is None
    assert stored.keys("sagemaker/") == []
    done = run("deploy", *common, "--rollout", "--json")
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert answer["changed"] is True
    (key,) = stored.keys("sagemaker/")
    assert answer["plan"]["models"][0]["PrimaryContainer"]["ModelDataUrl"] == f"{stored.url}/{key}"
    shown = json.loads(run("status", "--endpoint", "fraud", "--json").stdout)
    assert (shown["status"], shown["history"]) == ("InService", [shown["config"]])
    assert "fraud has them, as it did" in run("shift", "--endpoint", "fraud").output
    gone = run("delete", "--endpoint", "fraud", "--yes")
    assert "endpoint fraud" in gone.output
    assert isinstance(run("status", "--endpoint", "fraud").exception, ConfigurationError)
    assert run("deploy", *common).exit_code == 2


def test_a_model_in_a_folder_cannot_be_deployed(packed, tmp_path):
    with pytest.raises(ConfigurationError, match="SageMaker reads models from S3"):
        packed[ONE].url(open_store(str(tmp_path)))
    assert upload(packed[ONE], open_store(str(tmp_path))) is True
    assert upload(packed[ONE], open_store(str(tmp_path))) is False
