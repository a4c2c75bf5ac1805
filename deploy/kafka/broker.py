"""Run a real Apache Kafka for as long as a test or a benchmark needs it: one KRaft node on free loopback ports."""

import base64
import contextlib
import re
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from deploy.jvm import Server, fetch_jars, free_ports, is_listening
from schemas.errors import FraudstreamError

HERE = Path(__file__).resolve().parent
_FENCED = re.compile(rb"because its session has timed out.*fenced=1", re.DOTALL)
_JAVA_AFTER_SIGTERM = 128 + signal.SIGTERM
_HEAP = ("-Xms256m", "-Xmx512m")


@dataclass(frozen=True, slots=True)
class Detour:
    """A second address: the broker listens on ``port``, and tells who comes there that it is found at ``advertised``.

    With a proxy from the one to the other, whoever begins there never gets past the proxy.
    """

    port: int
    advertised: int


class Broker:
    """A running broker. Its data and its addresses outlive ``kill`` and ``restart``."""

    def __init__(
        self, jars: Path, home: Path, port: int, properties: Mapping[str, str], detour: Detour | None = None
    ) -> None:
        self.port = port
        self.data_dir = home / "data"
        self.log_path = home / "broker.log"
        self._command = prepare(jars, home, port, properties, detour)
        self._controller = _controller_alone(self._command, home)
        self._server = self._start()

    @property
    def bootstrap_servers(self) -> str:
        """The address for clients on this machine."""
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """Of the Java process."""
        return self._server.pid

    @property
    def running(self) -> bool:
        """Whether the process has not ended."""
        return self._server.running

    def stop(self) -> None:
        """Shut down cleanly."""
        self._server.stop()
        self._ended_well = self._server.exit_code == _JAVA_AFTER_SIGTERM

    def kill(self) -> None:
        """SIGKILL: what a power cut does to the process."""
        self._server.kill()

    def restart(self) -> None:
        """Start again on the same data and ports, after ``stop`` or ``kill`` or instead of them."""
        if not self._ended_well:
            self._server.kill()
            self._fence()
        self._server = self._start()

    def _fence(self) -> None:
        """Have the controller, alone, find that the broker is gone, before it comes back.

        Together they lose transactions for good (KAFKA-20734, Kafka 4.3.1): the broker tries to write the markers of
        those that were committing when it was killed; when its old session expires, nine seconds later, no partition
        has a leader for a moment, which it takes for deleted topics; it skips the markers and calls the transactions
        complete. Readers of committed records then stand still for ever.
        """
        before = self.log_path.stat().st_size
        controller = Server(self._controller, self.log_path)
        try:
            controller.wait_until(lambda: _FENCED.search(self.log_path.read_bytes()[before:]) is not None)
        finally:
            controller.stop()

    def _start(self) -> Server:
        self._ended_well = False
        server = Server(self._command, self.log_path)
        try:
            server.wait_until(lambda: answers(self.port))
        except BaseException:
            server.kill()
            raise
        return server


@contextlib.contextmanager
def running_broker(
    log_dir: Path | None = None,
    properties: Mapping[str, str] | None = None,
    port: int | None = None,
    detour: Detour | None = None,
) -> Iterator[Broker]:
    """A broker that lives as long as the block.

    ``log_dir`` keeps Kafka's data and log after the block; without it they are deleted. ``properties`` are Kafka's
    own and override ours. ``port`` is a free one unless given; ``detour`` is a second address. Raises
    ConfigurationError without Java or Maven, FraudstreamError if the broker does not come up.
    """
    jars = broker_jars()
    with contextlib.ExitStack() as stack:
        home = log_dir or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fraudstream-kafka-")))
        broker = Broker(jars, home, port or free_ports(1)[0], properties or {}, detour)
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
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,DETOUR:PLAINTEXT",
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


def prepare(
    jars: Path, home: Path, port: int, properties: Mapping[str, str], detour: Detour | None = None
) -> list[str]:
    """The command that starts a broker, its configuration written and its data directory formatted."""
    home.mkdir(parents=True, exist_ok=True)
    listeners = advertised = f"PLAINTEXT://127.0.0.1:{port}"
    if detour is not None:
        listeners += f",DETOUR://127.0.0.1:{detour.port}"
        advertised += f",DETOUR://127.0.0.1:{detour.advertised}"
    settings = server_properties(listeners, advertised, free_ports(1)[0])
    settings |= {"log.dirs": str(home / "data")} | dict(properties)
    file = _write(home / "server.properties", settings)
    java = ["java", f"-Dlog4j2.configurationFile={HERE / 'log4j2.properties'}", "-cp", f"{jars}/*"]
    if not (home / "data" / "meta.properties").exists():
        _format(java, file)
    return [*java[:1], *_HEAP, *java[1:], "kafka.Kafka", str(file)]


def _controller_alone(command: Sequence[str], home: Path) -> list[str]:
    """The command that starts the controller of this broker without it, impatient for it."""
    *java, file = command
    settings = dict(line.split("=", 1) for line in Path(file).read_text().splitlines())
    del settings["advertised.listeners"]
    controller = next(each for each in settings["listeners"].split(",") if each.startswith("CONTROLLER"))
    settings |= {"process.roles": "controller", "listeners": controller, "broker.session.timeout.ms": "500"}
    settings |= {"broker.heartbeat.interval.ms": "250"}
    return [*java, str(_write(home / "controller.properties", settings))]


def _write(file: Path, settings: Mapping[str, str]) -> Path:
    file.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
    return file


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
