"""The real servers that tests share: each started once, when the first test asks for it."""

import contextlib
import functools
import os
import shutil
import subprocess
import sys
import uuid
from dataclasses import dataclass, replace

import boto3
import pytest
import worker_stream
from confluent_kafka.admin import AdminClient, NewTopic
from fake_endpoint import FakeEndpoint
from hypothesis import HealthCheck, settings
from s3_proxy import Proxy

from deploy.jvm import Server, free_ports, is_listening, wait_until
from deploy.kafka.broker import answers, running_broker, server_properties
from deploy.mlflow.server import running_mlflow
from deploy.observability.tools import tool as observability_tool
from deploy.registry.server import running_registry
from models import artifact
from models.container import container_model
from models.manifest import MANIFEST_FILE, from_json
from models.model import open_model
from models.sandbox import Sandbox
from models.train import TrainingSettings, train_to
from producer import sample_path
from schemas.dataset import read_dataset
from schemas.errors import ConfigurationError

KAFKA_IMAGE = "apache/kafka:4.3.1"

# How long an example takes says how busy the machine is, never whether the code is right.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")


@dataclass(frozen=True, slots=True)
class Kafka:
    bootstrap_servers: str
    admin: AdminClient

    def create_topic(self, name, partitions=1, config=None):
        """Create the topic and return its name when clients can use it."""
        topic = NewTopic(name, partitions, 1, config=config or {})
        self.admin.create_topics([topic])[name].result(30)
        worker_stream.wait_until(lambda: self.admin.list_topics(name, timeout=10).topics[name].error is None, 30)
        return name


@pytest.fixture(scope="session")
def kafka(request):
    """A real Apache Kafka: the one you name, else in Docker, else from Maven's jars."""
    with contextlib.ExitStack() as stack:
        address = os.environ.get("FRAUDSTREAM_TEST_BOOTSTRAP_SERVERS")
        if address is None and docker_answers():
            address = stack.enter_context(kafka_in_docker(request.getfixturevalue("tmp_path_factory")))
        if address is None:
            address = enter_or_skip(stack, running_broker()).bootstrap_servers
        yield Kafka(address, AdminClient({"bootstrap.servers": address, "log_level": 0}))


@pytest.fixture(scope="session")
def sandbox():
    """The process in which models are tried, shared: its start takes a second or two."""
    with Sandbox() as sandbox:
        yield sandbox


@pytest.fixture
def load(sandbox):
    """``artifact.load`` with the shared sandbox."""
    return functools.partial(artifact.load, sandbox=sandbox)


@pytest.fixture(scope="session")
def small_models(tmp_path_factory):
    """The files of small models ``m`` by version: 1, 2 and 3 differ in their seed, ``few`` has three features."""
    sample = read_dataset(sample_path())
    few = replace(sample, features=("V1", "V2", "amount"))
    made = {}
    for seed, (version, data) in enumerate({"1": sample, "2": sample, "3": sample, "few": few}.items()):
        path = tmp_path_factory.mktemp("models") / version
        train_to(path, data, TrainingSettings(name="m", version=version, seed=seed, rounds=5))
        made[version] = artifact.read_directory(path)
    return made


@pytest.fixture(scope="session")
def schema_registry():
    """The URL of a real registry that speaks Confluent's API."""
    with contextlib.ExitStack() as stack:
        address = os.environ.get("FRAUDSTREAM_TEST_SCHEMA_REGISTRY_URL")
        yield address or enter_or_skip(stack, running_registry())


@dataclass(frozen=True, slots=True)
class S3:
    """moto's server at ``direct``, and the proxy before it that a test may tell to misbehave."""

    direct: str
    proxy: Proxy
    bucket: str


@pytest.fixture(scope="session")
def mlflow_server():
    """The URL of a real MLflow server with SQLite."""
    with contextlib.ExitStack() as stack:
        yield enter_or_skip(stack, running_mlflow())


@pytest.fixture(scope="session")
def tool():
    """A function from the name of a program of Prometheus or Alertmanager to its path."""

    def find(name):
        try:
            return observability_tool(name)
        except ConfigurationError as error:
            skip_unless_required(error)

    return find


@pytest.fixture(scope="session")
def moto_port(tmp_path_factory):
    """The port of a real HTTP server that speaks S3."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = Server(command, tmp_path_factory.mktemp("moto") / "moto.log")
    try:
        server.wait_until(lambda: is_listening(port))
        yield port
    finally:
        server.kill()


@pytest.fixture
def aws(monkeypatch):
    """A region and credentials in the environment that are as good as any."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)


@pytest.fixture(scope="module")
def endpoint_model(small_models):
    """What the fake endpoint serves: ``m@1``. A module may have a model of its own there."""
    files = small_models["1"]
    return open_model(from_json(files[MANIFEST_FILE], "manifest"), files, 1)


@pytest.fixture(scope="module")
def endpoint_server(endpoint_model):
    made = FakeEndpoint(container_model(endpoint_model))
    yield made
    made.close()


@pytest.fixture
def fake(endpoint_server, aws):
    """A SageMaker endpoint called ``fraud``, in order."""
    endpoint_server.break_with(None)
    endpoint_server.latency, endpoint_server.lines = 0.0, False
    endpoint_server.requests.clear()
    return endpoint_server


@pytest.fixture
def s3(moto_port, aws):
    """An empty bucket."""
    direct = f"http://127.0.0.1:{moto_port}"
    bucket = f"test-{uuid.uuid4().hex[:12]}"
    boto3.client("s3", endpoint_url=direct).create_bucket(Bucket=bucket)
    proxy = Proxy(moto_port)
    try:
        yield S3(direct, proxy, bucket)
    finally:
        proxy.close()


@pytest.fixture
def topic(kafka):
    """A function that creates a topic with so many partitions, and gives its name, never used before."""

    def create(partitions=1, config=None):
        return kafka.create_topic(f"test-{uuid.uuid4().hex[:12]}", partitions, config)

    return create


def enter_or_skip(stack, server):
    """What the server yields. A machine without Java or Maven skips the test, unless REQUIRE_KAFKA=1."""
    try:
        return stack.enter_context(server)
    except ConfigurationError as error:
        skip_unless_required(error)


def skip_unless_required(error):
    if os.environ.get("REQUIRE_KAFKA") == "1":
        raise error
    pytest.skip(str(error))


def docker_answers():
    question = ["docker", "version", "--format", "{{.Server.Version}}"]
    return bool(shutil.which("docker")) and not subprocess.run(question, capture_output=True, check=False).returncode


@contextlib.contextmanager
def kafka_in_docker(tmp_path_factory):
    """Kafka's own image with the settings that the jars get, each as an environment variable."""
    from testcontainers.core.container import DockerContainer

    (port,) = free_ports(1)
    properties = server_properties("PLAINTEXT://0.0.0.0:9092", f"PLAINTEXT://127.0.0.1:{port}", 9093)
    container = DockerContainer(KAFKA_IMAGE).with_bind_ports(9092, port)
    for name, value in properties.items():
        container.with_env("KAFKA_" + name.upper().replace(".", "_"), value)
    log = tmp_path_factory.mktemp("kafka") / "broker.log"
    log.touch()
    with container:
        wait_until(lambda: answers(port), lambda: True, log)
        yield f"127.0.0.1:{port}"
