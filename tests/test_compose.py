"""The composition on one machine: Compose accepts it, and it is bounded, pinned, private and started in order."""

import re
from pathlib import Path

import pytest
from composed import ROOT, services

from consumer.settings import WorkerSettings

NAMES = sorted(services())
OURS = ["init", "monitor", "producer", "worker-0", "worker-1"]
ONCE = ["init"]


def test_compose_accepts_it_and_everything_is_there():
    others = ["kafka", "schema-registry", "s3", "mlflow", "prometheus", "alertmanager", "grafana"]

    assert set(NAMES) == {*OURS, *others}


@pytest.mark.parametrize("name", NAMES)
def test_an_image_is_of_one_version(name):
    image = services()[name]["image"]
    repository, _, tag = image.partition(":")

    assert repository
    assert tag == "dev" if services()[name].get("build") else re.fullmatch(r"v?\d+(\.\d+)+(\.Final)?", tag), image


@pytest.mark.parametrize("name", NAMES)
def test_memory_and_cores_are_bounded(name):
    assert set(services()[name]["deploy"]["resources"]["limits"]) == {"cpus", "memory"}


@pytest.mark.parametrize("name", sorted({*NAMES} - {"init", "producer"}))
def test_whoever_serves_has_a_health_check(name):
    assert services()[name]["healthcheck"]["test"][0] == "CMD"


@pytest.mark.parametrize("name", NAMES)
def test_what_is_waited_for_is_healthy_or_done(name):
    for other, wait in services()[name].get("depends_on", {}).items():
        assert wait["condition"] == ("service_completed_successfully" if other in ONCE else "service_healthy")


@pytest.mark.parametrize("name", NAMES)
def test_a_port_is_open_to_this_machine_alone(name):
    assert all(port["host_ip"] == "127.0.0.1" for port in services()[name].get("ports", []))


@pytest.mark.parametrize("name", [*OURS, "mlflow"])
def test_our_containers_have_no_rights_and_write_nowhere(name):
    service = services()[name]

    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["tmpfs"] == ["/tmp"]


@pytest.mark.parametrize("name", OURS)
def test_every_variable_of_ours_is_a_setting(name):
    variables = [each for each in services()[name]["environment"] if each.startswith("FRAUDSTREAM_")]

    assert {each.removeprefix("FRAUDSTREAM_").lower() for each in variables} <= set(WorkerSettings.model_fields)


@pytest.mark.parametrize("name", ["worker-0", "worker-1"])
def test_a_worker_has_a_parent_that_quarantines_what_crashes_it(name):
    assert services()[name]["command"] == ["score"]
    assert services()[name]["environment"]["FRAUDSTREAM_SUPERVISE"] == "true"


@pytest.mark.parametrize("name", OURS)
def test_docker_waits_longer_than_a_transaction_and_than_the_worker(name):
    stop = services()[name]["environment"]["FRAUDSTREAM_STOP_SECONDS"]

    assert services()[name]["stop_grace_period"] == "45s"
    assert 30 < float(stop) < 45


def test_the_two_workers_differ_in_their_slot_alone():
    first, second = (dict(services()[name]) for name in ("worker-0", "worker-1"))
    slots = [worker.pop("environment").pop("FRAUDSTREAM_SLOT") for worker in (first, second)]

    assert slots == ["0", "1"]
    assert first == second


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_mounted_exists(name):
    for mount in services()[name].get("volumes", []):
        if mount["type"] == "bind":
            assert Path(mount["source"]).exists(), mount["source"]
            assert mount["read_only"]


def test_prometheus_scrapes_where_workers_and_monitor_listen():
    scraped = (ROOT / "deploy/observability/prometheus/prometheus.yml").read_text()

    assert all(address in scraped for address in ("worker-0:9464", "worker-1:9465", "monitor:9564"))
