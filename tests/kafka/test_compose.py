"""What docker-compose.yml starts of ours runs, in its order and its environment, with only the addresses changed."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pytest
from composed import services

from deploy.jvm import Server, free_ports
from deploy.kafka.broker import running_broker

SERVING = ("worker-0", "worker-1", "monitor")
OF_THE_CONTAINER = ("listeners", "advertised.listeners", "controller.quorum.voters", "log.dirs", "heap.opts")


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
def containers(broker, schema_registry, moto_port, mlflow_server, tmp_path_factory):
    made = Containers(
        {
            "kafka:9092": broker,
            "http://schema-registry:8080": schema_registry.removesuffix("/apis/ccompat/v7"),
            "http://s3:8333": f"http://127.0.0.1:{moto_port}",
            "http://mlflow:5000": mlflow_server,
            "0.0.0.0": "127.0.0.1",
        },
        tmp_path_factory.mktemp("containers"),
    )
    boto3.client(
        "s3",
        endpoint_url=f"http://127.0.0.1:{moto_port}",
        region_name="us-east-1",
        aws_access_key_id="any",
        aws_secret_access_key="any",
    ).create_bucket(Bucket="models")  # as the server of the composition does when it starts
    yield made
    for server in made.running.values():
        server.kill()


class Containers:
    """The services that are ours, each a plain process."""

    def __init__(self, addresses, home):
        self._addresses = addresses
        self._home = home
        self._ports = dict(zip(SERVING, free_ports(len(SERVING)), strict=True))
        self.running = {}

    def environment(self, name):
        """That of the service; a worker adds its slot to the port."""
        given = services()[name]["environment"]
        port = self._ports.get(name, 0) - int(given.get("FRAUDSTREAM_SLOT", "0"))
        own = {"FRAUDSTREAM_METRICS_PORT": str(port), "FRAUDSTREAM_DRIFT_METRICS_PORT": str(port)}
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        where = {"PATH": path, "HOME": str(self._home), "TMPDIR": str(self._home)}
        return {key: self._here(value) for key, value in given.items()} | own | where

    def _here(self, text):
        for there, here in self._addresses.items():
            text = text.replace(there, here)
        return text

    def command(self, name):
        """Entry point and command, with the files that are mounted where they are on this machine."""
        service = services()[name]
        mounts = {mount["target"]: mount["source"] for mount in service.get("volumes", [])}
        words = [*(service["entrypoint"] or ["fraudstream"]), *(service["command"] or [])]
        return [mounts.get(word, word) for word in words]

    def start(self, name):
        self.running[name] = Server(self.command(name), self._home / f"{name}.log", self.environment(name))

    def run(self, *words, name="init"):
        """A command to its end, in the environment of a service."""
        environment = self.environment(name)
        done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def wait_until_healthy(self, name):
        """Until Docker would say so, by the health check of the service."""
        kind, *check = services()[name]["healthcheck"]["test"]
        assert kind == "CMD"
        check = [str(self._ports[name]) if word == "9564" else word for word in check]
        deadline = time.monotonic() + 60
        while subprocess.run(check, env=self.environment(name), capture_output=True, check=False).returncode:
            assert self.running[name].running, self.log(name)
            assert time.monotonic() < deadline, self.log(name)
            time.sleep(0.2)

    def log(self, name):
        return (self._home / f"{name}.log").read_text()


def test_every_container_of_ours_runs_and_transactions_are_decided(containers):
    containers.run(*containers.command("init"))
    for name in SERVING:
        containers.start(name)
    for name in SERVING:
        containers.wait_until_healthy(name)
    containers.start("producer")

    told = containers.run("fraudstream", "tail", "fraud.decisions", "--from", "beginning", "--limit", "600", "--json")
    decisions = [json.loads(line)["value"] for line in told.splitlines()]

    assert len({decision["transaction_id"] for decision in decisions}) == 600
    assert {decision["model"]["version"] for decision in decisions} == {"1"}
    assert {decision["source"]["partition"] for decision in decisions} == set(range(6))

    for name in ("producer", *SERVING):
        containers.running[name].stop()

    codes = {name: server.exit_code for name, server in containers.running.items()}
    assert codes == {"worker-0": 0, "worker-1": 0, "monitor": 0, "producer": 130}


def test_what_was_made_first_is_left_alone_when_the_composition_starts_again(containers):
    assert containers.run(*containers.command("init")).endswith("a rollout is in force: no model is trained\n")
