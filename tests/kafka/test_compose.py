"""What docker-compose.yml starts runs, in its order and its environment, with only addresses and places changed.

Two have no program here: Grafana, and the variant of Apicurio that keeps its schemas in Kafka.
"""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from composed import services
from composed import tool as from_a_package
from prometheus_server import Answers
from worker_stream import wait_until

from deploy.jvm import Server, free_ports, is_listening
from deploy.kafka.broker import running_broker
from deploy.observability.tools import alertmanager
from schemas.errors import ConfigurationError

SERVING = ("worker-0", "worker-1", "monitor")
JOBS = {"fraudstream-worker", "fraudstream-monitor"}
OF_THE_CONTAINER = ("listeners", "advertised.listeners", "controller.quorum.voters", "log.dirs", "heap.opts")

# A container has all ports to itself. These are the options for those that nobody outside asks for.
PORTS_OF_S3 = (
    *("s3.port.grpc", "s3.port.iceberg", "master.port", "master.port.grpc", "volume.port", "volume.port.grpc"),
    *("filer.port", "filer.port.grpc", "admin.port", "admin.port.grpc", "metricsPort"),
)


@pytest.fixture(scope="module")
def broker():
    """A broker with the properties of the composition, but for what names its addresses and its disk."""
    given = services()["kafka"]["environment"]
    properties = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): value
        for name, value in given.items()
        if name.startswith("KAFKA_")
    }
    with running_broker(
        properties={name: properties[name] for name in properties if name not in OF_THE_CONTAINER}
    ) as it:
        yield it.bootstrap_servers


@pytest.fixture(scope="module")
def containers(broker, schema_registry, mlflow_server, tmp_path_factory):
    made = Containers(tmp_path_factory.mktemp("containers"))
    made.addresses |= {
        "kafka:9092": broker,
        "http://schema-registry:8080": schema_registry.removesuffix("/apis/ccompat/v7"),
        "http://mlflow:5000": mlflow_server,
    }
    (s3,) = free_ports(1)
    made.addresses["http://s3:8333"] = f"http://127.0.0.1:{s3}"
    ports = zip(PORTS_OF_S3, free_ports(len(PORTS_OF_S3)), strict=True)
    made.start("s3", [from_a_package("weed")], f"-s3.port={s3}", *(f"-{name}={port}" for name, port in ports))
    made.wait_until_healthy("s3", s3)
    yield made
    for server in made.running.values():
        server.kill()


@pytest.fixture(scope="module")
def serving(containers):
    """With the first model trained, the workers and the monitor ready, and transactions under way."""
    containers.run(*containers.command("init"))
    for name in SERVING:
        containers.start(name)
    for name in SERVING:
        containers.wait_until_healthy(name, containers.ports[name])
    containers.start("producer")
    return containers


class Containers:
    """The services, each a plain process."""

    def __init__(self, home):
        self._home = home
        self.ports = dict(zip(SERVING, free_ports(len(SERVING)), strict=True))
        self.addresses = {"0.0.0.0": "127.0.0.1", "-ip=s3": "-ip=127.0.0.1"} | {
            f"{name}:{port}": f"127.0.0.1:{self.ports[name]}"
            for name, port in zip(SERVING, (9464, 9465, 9564), strict=True)
        }
        self.running = {}

    def environment(self, name):
        """That of the service; a worker adds its slot to the port."""
        given = services()[name].get("environment", {})
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        where = {"PATH": path, "HOME": str(self._home), "TMPDIR": str(self._home)}
        if name in self.ports:
            port = str(self.ports[name] - int(given.get("FRAUDSTREAM_SLOT", "0")))
            where |= {"FRAUDSTREAM_METRICS_PORT": port, "FRAUDSTREAM_DRIFT_METRICS_PORT": port}
        return {key: exchanged(value, self.addresses) for key, value in given.items()} | where

    def command(self, name, program=("fraudstream",)):
        """Entry point and command, with what is mounted where it is on this machine."""
        service = services()[name]
        words = [*(service["entrypoint"] or program), *(service["command"] or [])]
        here = self.addresses | {mount["target"]: str(self._mounted(mount)) for mount in service.get("volumes", [])}
        return [exchanged(word, here) for word in words]

    def _mounted(self, mount):
        """A volume is a directory; of a directory of ours there is a copy with the addresses of this machine."""
        here = self._home / mount["target"].strip("/").replace("/", "-")
        if mount["type"] == "volume":
            here.mkdir(exist_ok=True)
        elif Path(mount["source"]).is_file():
            return Path(mount["source"])
        elif not here.exists():
            shutil.copytree(mount["source"], here)
            for file in filter(Path.is_file, here.rglob("*")):
                file.write_text(exchanged(file.read_text(), self.addresses | {mount["target"]: str(here)}))
        return here

    def start(self, name, program=("fraudstream",), *options):
        """Its command, with the options for what it would have to itself in a container."""
        command = [*self.command(name, program), *options]
        self.running[name] = Server(command, self._home / f"{name}.log", self.environment(name))

    def run(self, *words, name="init"):
        """A command to its end, in the environment of a service."""
        environment = self.environment(name)
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def wait_until_healthy(self, name, port):
        """Until Docker would say so, by the health check of the service."""
        kind, *check = services()[name]["healthcheck"]["test"]
        assert kind == "CMD"
        check = [re.sub(r"(?<=localhost:)\d+|^9564$", str(port), word) for word in check]
        deadline = time.monotonic() + 60
        while not is_listening(port) or self._fails(name, check):
            assert self.running[name].running, self.log(name)
            assert time.monotonic() < deadline, self.log(name)
            time.sleep(0.2)

    def _fails(self, name, check):
        return subprocess.run(check, env=self.environment(name), capture_output=True, check=False).returncode != 0

    def log(self, name):
        return (self._home / f"{name}.log").read_text()


def exchanged(text, here):
    """The text with each name of the composition as it is called on this machine, the longest first."""
    names = "|".join(sorted(map(re.escape, here), key=len, reverse=True))
    return re.sub(rf"(?<!\w)({names})", lambda found: here[found[0]], text)


def test_every_transaction_of_the_producer_is_decided_by_the_first_model(serving):
    told = serving.run("fraudstream", "tail", "fraud.decisions", "--from", "beginning", "--limit", "600", "--json")
    decisions = [json.loads(line)["value"] for line in told.splitlines()]

    assert len({decision["transaction_id"] for decision in decisions}) == 600
    assert {decision["model"]["version"] for decision in decisions} == {"1"}
    assert {decision["source"]["partition"] for decision in decisions} == set(range(6))


def test_prometheus_sees_all_three_and_knows_whom_to_tell(serving, tool):
    tells, asks = free_ports(2)
    serving.addresses |= {"alertmanager:9093": f"127.0.0.1:{tells}", "scrape_interval: 15s": "scrape_interval: 1s"}
    with contextlib.suppress(ConfigurationError):  # where namespaces are forbidden Debian's finds no templates
        tool("alertmanager")
        listen = f"--web.listen-address=127.0.0.1:{tells}"
        serving.start("alertmanager", alertmanager(), listen, "--cluster.listen-address=")
        serving.wait_until_healthy("alertmanager", tells)
    serving.start("prometheus", [tool("prometheus")], f"--web.listen-address=127.0.0.1:{asks}")
    serving.wait_until_healthy("prometheus", asks)
    prometheus = Answers(asks)

    wait_until(lambda: len(prometheus.answer("up == 1")) == 3)

    assert {labels["job"] for labels, _ in prometheus.answer("up == 1")} == JOBS
    wait_until(lambda: prometheus.alertmanagers() == [f"http://127.0.0.1:{tells}/api/v2/alerts"])


def test_every_other_service_has_run_and_what_is_asked_to_end_ends(serving):
    for name in ("producer", *SERVING):
        serving.running[name].stop()

    codes = {name: serving.running[name].exit_code for name in ("producer", *SERVING)}
    assert codes == {"worker-0": 0, "worker-1": 0, "monitor": 0, "producer": 130}
    by_fixtures = {"kafka", "schema-registry", "mlflow", "init", "alertmanager"}
    assert set(services()) == {*serving.running, *by_fixtures, "grafana"}


def test_what_was_made_first_is_left_alone_when_the_composition_starts_again(serving):
    assert serving.run(*serving.command("init")).endswith("a rollout is in force: no model is trained\n")
