"""The chart: Helm lints it, Kubernetes's schemas accept it, and each pod is its slot, at one port, with few rights."""

import json
import os
import re
import shutil
import subprocess

import helm_python
import kubernetes_validate
import pytest
import yaml
from composed import ROOT

from consumer.clients import producer_maker
from consumer.settings import SECRET, WorkerSettings
from fraudstream.settings import read_settings

CHART = ROOT / "deploy/helm/fraudstream"
SCRAPED = ROOT / "deploy/observability/prometheus/prometheus.yml"
RULES = sorted((ROOT / "deploy/observability/prometheus/rules").glob("*.yml"))
PLACEMENT = {
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "fraud", "operator": "Exists"}],
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}]}}},
}
KUBERNETES = ("1.31", "1.37")
FULL = {
    "settings": {
        "bootstrap_servers": "b-1.example:9098,b-2.example:9098",
        "msk_iam_region": "eu-central-1",
        "store": "s3://models/fraud",
        "schema_registry_url": "https://registry.example",
        "batch_size": 2000,
        "earliest_event_time": 946684800000,
        "model_public_keys": ["/etc/fraudstream/files/model.pem"],
    },
    "secrets": {"settings": "fraudstream", "files": "fraudstream-files"},
    "image": {"repository": "registry.example/fraudstream", "digest": f"sha256:{'0' * 64}"},
    "autoscaling": {"enabled": True, "authenticationRef": "kafka"},
    "serviceMonitor": {"enabled": True},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "topics": {"create": True},
    "worker": {"partitions": 24, "podAnnotations": {"a": "b"}, **PLACEMENT},
    "monitor": PLACEMENT,
}
SECRETS = ["password", "of producers", "of a key store", "of OAuth", "of the registry"]
OF_OTHERS = {"ScaledObject", "ServiceMonitor", "PrometheusRule"}


def render(values=None, path=CHART):
    """Every object by kind and name."""
    with helm_python.Chart.load(path) as chart:
        files = chart.render(values=values or {}, name="live", namespace="fraud")
    documents = [each for name, text in files.items() if name.endswith(".yaml") for each in yaml.safe_load_all(text)]
    return {(each["kind"], each["metadata"]["name"]): each for each in documents if each}


def pods(objects):
    return [each["spec"]["template"]["spec"] for each in objects.values() if "template" in each.get("spec", {})]


@pytest.fixture(scope="module")
def plain():
    return render()


@pytest.fixture(scope="module")
def full():
    return render(FULL)


@pytest.mark.parametrize("values", [{}, FULL], ids=["plain", "full"])
def test_helm_lints_it(values):
    report = helm_python.lint(CHART, values, strict=True)

    assert report["errors"] == []
    assert [each["error"] for each in report["messages"] if each["severity"] > 1] == []


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("values", [{}, FULL], ids=["plain", "full"])
def test_the_schemas_of_kubernetes_accept_every_object(values, version):
    own = [each for each in render(values).values() if each["kind"] not in OF_OTHERS]

    assert len(own) >= 7
    for each in own:
        kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("ordinal", [0, 7, 63])
def test_the_ordinal_of_a_pod_is_its_slot_and_every_pod_listens_on_one_port(plain, tmp_path, ordinal):
    (container,) = plain["StatefulSet", "live-fraudstream-worker"]["spec"]["template"]["spec"]["containers"]
    (tmp_path / "fraudstream").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "fraudstream").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "POD": f"live-fraudstream-worker-{ordinal}"}

    told = subprocess.run(container["command"], env=environment, capture_output=True, text=True, check=True).stdout

    command, *options = told.split()
    given = dict(zip([each[2:].replace("-", "_") for each in options[::2]], options[1::2], strict=True))
    settings = read_settings(None, given)
    assert (command, settings.slot) == ("score", ordinal)
    assert settings.metrics_port + settings.slot == 9464 == container["ports"][0]["containerPort"]


def test_the_settings_of_the_values_are_those_of_a_worker(full, tmp_path):
    file = tmp_path / "fraudstream.toml"
    file.write_text(full["ConfigMap", "live-fraudstream"]["data"]["fraudstream.toml"])

    settings = read_settings(file, {})

    for name, value in FULL["settings"].items():
        assert settings.model_dump(mode="json")[name] == value
    assert settings.supervise


@pytest.mark.parametrize("values", [{}, FULL], ids=["plain", "full"])
def test_what_is_in_hand_is_committed_or_aborted_before_the_pod_is_killed(values, tmp_path):
    objects, file = render(values), tmp_path / "fraudstream.toml"
    file.write_text(objects["ConfigMap", "live-fraudstream"]["data"]["fraudstream.toml"])
    asked = []
    settings = read_settings(file, {"bootstrap_servers": "127.0.0.1:1"}).model_copy(update={"msk_iam_region": None})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("consumer.clients.make_client", lambda _kind, properties: asked.append(properties))
        producer_maker(settings)({})

    grace = objects["StatefulSet", "live-fraudstream-worker"]["spec"]["template"]["spec"][
        "terminationGracePeriodSeconds"
    ]
    assert asked[0]["transaction.timeout.ms"] / 1000 < settings.stop_seconds < grace


@pytest.mark.parametrize("values", [{}, FULL], ids=["plain", "full"])
def test_a_pod_has_no_root_no_capability_and_nothing_to_write_but_tmp(values):
    found = pods(render(values))

    assert len(found) >= 2
    for pod in found:
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod["enableServiceLinks"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert [each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")] == ["/tmp"]
        assert container["resources"]["limits"]["memory"]


def test_every_pod_goes_where_the_values_send_it(full):
    found = pods(full)

    assert len(found) == 3
    for pod in found:
        assert {name: pod[name] for name in PLACEMENT} == PLACEMENT


def test_secrets_are_referred_to_and_never_held(full):
    kinds = {kind for kind, _ in full}

    assert "Secret" not in kinds
    for pod in pods(full):
        assert pod["containers"][0]["envFrom"] == [{"secretRef": {"name": "fraudstream"}}]
        assert {"name": "files", "secret": {"secretName": "fraudstream-files"}} in pod["volumes"]


def test_the_budget_the_policy_and_the_services_select_the_pods_that_they_are_for(full):
    worker = full["StatefulSet", "live-fraudstream-worker"]["spec"]["template"]["metadata"]["labels"].items()
    monitor = full["Deployment", "live-fraudstream-monitor"]["spec"]["template"]["metadata"]["labels"].items()
    budget = full["PodDisruptionBudget", "live-fraudstream-worker"]["spec"]["selector"]["matchLabels"].items()
    service = full["Service", "live-fraudstream-worker"]["spec"]["selector"].items()
    policy = full["NetworkPolicy", "live-fraudstream"]["spec"]["podSelector"]["matchLabels"].items()

    assert budget <= worker
    assert service <= worker
    assert not budget <= monitor
    assert policy <= worker
    assert policy <= monitor


def test_nobody_but_those_who_scrape_comes_in(full):
    policy = full["NetworkPolicy", "live-fraudstream"]["spec"]

    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert [rule["ports"] for rule in policy["ingress"]] == [[{"protocol": "TCP", "port": "metrics"}]]
    assert render({"networkPolicy": {"scrapeFrom": []}})["NetworkPolicy", "live-fraudstream"]["spec"]["ingress"] == []


def test_whoever_is_let_out_by_the_values_to_nowhere_still_reaches_dns_and_the_brokers():
    egress = render({"networkPolicy": {"egress": []}})["NetworkPolicy", "live-fraudstream"]["spec"]["egress"]

    assert [[each["port"] for each in rule["ports"]] for rule in egress] == [[53, 53], [9093]]


def test_what_the_settings_name_may_be_reached_at_its_port():
    settings = {
        "bootstrap_servers": "b-1.example:9098,b-2.example:9099, kafka3",
        "schema_registry_url": "http://registry:8081/apis",
        "otlp_endpoint": "http://collector:4318",
        "sagemaker_url": "http://models.example",
        "store_endpoint": "https://s3.example",
    }
    egress = render({"settings": settings})["NetworkPolicy", "live-fraudstream"]["spec"]["egress"]
    ports = {each["port"] for rule in egress for each in rule["ports"] if each["protocol"] == "TCP"}

    assert ports == {53, 80, 443, 4318, 8081, 9092, 9098, 9099}


def test_prometheus_calls_the_jobs_as_the_alerts_do_and_finds_their_port(full):
    monitor = full["ServiceMonitor", "live-fraudstream"]["spec"]
    (endpoint,), wanted = monitor["endpoints"], monitor["selector"]["matchLabels"].items()
    (relabeling,) = endpoint["relabelings"]
    services = [each for (kind, _), each in full.items() if kind == "Service"]
    chosen = [each for each in services if wanted <= each["metadata"]["labels"].items()]
    (source,) = relabeling["sourceLabels"]
    jobs = {relabeling["replacement"].replace("$1", as_prometheus_has_them(each)[source]) for each in chosen}

    assert relabeling["targetLabel"] == "job"
    assert jobs == {job["job_name"] for job in yaml.safe_load(SCRAPED.read_text())["scrape_configs"]}
    assert [[port["name"] for port in each["spec"]["ports"]] for each in chosen] == 2 * [[endpoint["port"]]]


def test_the_operator_is_given_the_rules_that_are_tested(full):
    given = {name: each for (kind, name), each in full.items() if kind == "PrometheusRule"}

    assert RULES
    assert set(given) == {f"live-fraudstream-{path.stem}" for path in RULES}
    for path in RULES:
        rule = given[f"live-fraudstream-{path.stem}"]
        assert rule["spec"] == yaml.safe_load(path.read_text())
        assert rule["metadata"]["labels"]["release"] == "prometheus"


def test_a_copy_that_lost_the_rules_does_not_pass_for_one_that_has_alerts(tmp_path):
    copy = shutil.copytree(CHART, tmp_path / "fraudstream", ignore=shutil.ignore_patterns("rules"))

    assert render(path=copy)
    with pytest.raises(helm_python.HelmError, match="this copy of the chart has no rules"):
        render({"prometheusRule": {"enabled": True}}, copy)


def as_prometheus_has_them(service):
    labels = service["metadata"]["labels"].items()
    return {f"__meta_kubernetes_service_label_{re.sub(r'[./-]', '_', name)}": value for name, value in labels}


def test_lag_of_the_group_on_the_input_scales_the_workers_and_nobody_else_does(full):
    scaled = full["ScaledObject", "live-fraudstream-worker"]["spec"]
    (trigger,) = scaled["triggers"]

    assert scaled["scaleTargetRef"]["name"] == "live-fraudstream-worker"
    assert "replicas" not in full["StatefulSet", "live-fraudstream-worker"]["spec"]
    assert trigger["type"] == "apache-kafka"
    assert trigger["metadata"] == {
        "bootstrapServers": FULL["settings"]["bootstrap_servers"],
        "consumerGroup": "fraudstream",
        "topic": "transactions",
        "lagThreshold": "50000",
        "offsetResetPolicy": "earliest",
        "allowIdleConsumers": "false",
    }
    assert trigger["authenticationRef"] == {"name": "kafka"}
    assert scaled["fallback"]["replicas"] == scaled["maxReplicaCount"]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"autoscaling": {"enabled": True, "maxReplicas": 7}}, r"maxReplicas \(7\) is above worker.partitions \(6\)"),
        ({"worker": {"replicas": 7}}, r"worker.replicas \(7\) is above worker.partitions \(6\)"),
        ({"autoscaling": {"enabled": True, "minReplicas": 7}}, r"minReplicas \(7\) is above .+maxReplicas \(6\)"),
    ],
    ids=["by lag", "fixed", "at least"],
)
def test_more_workers_than_partitions_are_refused(values, sentence):
    with pytest.raises(helm_python.HelmError, match=sentence):
        render(values)


@pytest.mark.parametrize(
    "settings",
    [
        {"producer_kafka": {"transaction.timeout.ms": "120000"}},
        {"kafka": {"transaction.timeout.ms": "120000"}},
        {"kafka": {"transaction.timeout.ms": "1000"}, "producer_kafka": {"transaction.timeout.ms": "55000"}},
    ],
    ids=["producers", "all clients", "both"],
)
def test_a_transaction_that_may_outlive_the_worker_is_refused(settings):
    sentence = r"transaction.timeout.ms \(\d+\) must be below the 55 s that a worker has to end"
    with pytest.raises(helm_python.HelmError, match=sentence):
        render({"settings": settings})


def test_a_name_that_the_settings_take_for_a_secret_is_refused_in_every_table():
    schema = json.loads((CHART / "values.schema.json").read_text())
    tables = {name for name, field in WorkerSettings.model_fields.items() if field.annotation == dict[str, str]}
    given = schema["properties"]["settings"]["properties"]

    assert schema["definitions"]["properties"]["propertyNames"]["not"] == {"pattern": f"(?i){SECRET.pattern}"}
    assert {name for name, each in given.items() if each == {"$ref": "#/definitions/properties"}} == tables


@pytest.mark.parametrize(
    "values",
    [
        {"worker": {"terminationGracePeriodSeconds": 30}},
        {"worker": {"replicsa": 2}},
        {"settings": {"slot": 1}},
        {"settings": {"metrics_port": 9999}},
        {"settings": {"supervise": False}},
        {"settings": {"kafka": {"sasl.password": "secret"}}},
        {"settings": {"producer_kafka": {"SASL.Password": "secret"}}},
        {"settings": {"consumer_kafka": {"ssl.keystore.password": "secret"}}},
        {"settings": {"kafka": {"sasl.oauthbearer.config": "secret"}}},
        {"settings": {"schema_registry": {"basic.auth.user.info": "name:secret"}}},
        {"image": {"tag": "latest"}},
        {"image": {"digest": "sha256:short"}},
    ],
    ids=["grace below a transaction", "misspelt", "slot", "port", "no parent", *SECRETS, "latest", "digest"],
)
def test_the_schema_refuses_values_that_cannot_be_meant(values):
    with helm_python.Chart.load(CHART) as chart, pytest.raises(helm_python.HelmError):
        chart.validate_schema(chart.merge_values(values))
