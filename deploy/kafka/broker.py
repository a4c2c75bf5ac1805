"""Run a real Apache Kafka for as long as a test or a benchmark needs it: one KRaft node on free loopback ports."""

import base64
import contextlib
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from deploy.jvm import Server, fetch_jars, free_ports, is_listening
from schemas.errors import FraudstreamError

HERE = Path(__file__).resolve().parent
_HEAP = ("-Xms256m", "-Xmx512m")


class Broker:
    """A running broker. Its data and its addresses outlive ``kill`` and ``restart``."""

    def __init__(self, jars: Path, home: Path, port: int, properties: Mapping[str, str]) -> None:
        self.port = port
        self.data_dir = home / "data"
        self.log_path = home / "broker.log"
        self._command = prepare(jars, home, port, properties)
        self._server = self._start()

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients on this machine."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the Java process."""
        return self._server.pid

    def stop(self) -> None:
        """Shut down cleanly."""
        self._server.stop()

    def kill(self) -> None:
        """SIGKILL: what a power cut does to the process."""
        self._server.kill()

    def restart(self) -> None:
        """Start again on the same data and ports, after ``stop`` or ``kill`` or instead of them.

        After a kill it takes ten seconds more: the controller waits until the old session has expired.
        """
        self._server.kill()
        self._server = self._start()

    def _start(self) -> Server:
        server = Server(self._command, self.log_path)
        try:
            server.wait_until(lambda: answers(self.port))
        except BaseException:
            server.kill()
            raise
        return server


@contextlib.contextmanager
def running_broker(
    log_dir: Path | None = None, properties: Mapping[str, str] | None = None, port: int | None = None
) -> Iterator[Broker]:
    """A broker that lives as long as the block.

    ``log_dir`` keeps Kafka's data and log after the block; without it they are deleted. ``properties`` are Kafka's
    own and override ours. ``port`` is a free one unless given. Raises ConfigurationError without Java or Maven,
    FraudstreamError if the broker does not come up.
    """
    jars = broker_jars()
    with contextlib.ExitStack() as stack:
        home = log_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fraudstream-kafka-")))
        broker = Broker(jars, home, port or free_ports(1)[0], properties or {})
        # The data of a temporary broker is about to be deleted: nothing is worth a clean end.
        stack.callback(broker.stop if log_dir else broker.kill)
        yield broker


def broker_jars() -> Path:
    """The directory of Kafka's jars, fetched the first time. Raises ConfigurationError without Java or Maven."""
    return fetch_jars(HERE / "pom.xml", "copy-dependencies")


def server_properties(listeners: str, advertised: str, controller_port: int) -> dict[str, str]:
    """Settings of one combined broker and controller that has nobody to replicate to and nobody to wait for."""
    return {
        "node.id": "1",
        "process.roles": "broker,controller",
        # Voters by configuration: stored in the log (KIP-853) they would tie the data to yesterday's port.
        "controller.quorum.voters": f"1@127.0.0.1:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{controller_port}",
        "advertised.listeners": advertised,
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT",
        # A misspelt topic is an error, here as in production.
        "auto.create.topics.enable": "false",
        "group.initial.rebalance.delay.ms": "0",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "4",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "4",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "log.cleaner.dedupe.buffer.size": "16777216",
    }


def prepare(jars: Path, home: Path, port: int, properties: Mapping[str, str]) -> list[str]:
    """The command that starts a broker, its configuration written and its data directory formatted."""
    home.mkdir(parents=True, exist_ok=True)
    address = f"PLAINTEXT://127.0.0.1:{port}"
    settings = server_properties(address, address, free_ports(1)[0])
    settings |= {"log.dirs": str(home / "data")} | dict(properties)
    file = home / "server.properties"
    file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    java = ["java", f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}", "-cp", f"{jars}/*"]
    if not (home / "data" / "meta.properties").exists():
        _format(java, file)
    return [*java[:1], *_HEAP, *java[1:], "kafka.Kafka", str(file)]


def _format(java: list[str], file: Path) -> None:
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    # One id in 64 begins with a dash: with the equals sign it is still no option.
    tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}", "-c", str(file)]
    result = subprocess.run([*java, *tool], capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise FraudstreamError(f"Kafka could not format its data directory: {result.stderr.strip()}")


def answers(port: int) -> bool:
    """Whether a broker on this port of 127.0.0.1 answers a metadata request."""
    if not is_listening(port):
        return False
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0})
    try:
        return len(admin.list_topics(timeout=5).brokers) > 0
    except KafkaException:
        return False
