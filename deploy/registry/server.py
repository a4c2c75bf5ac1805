"""Run a schema registry that speaks Confluent's API (Apicurio, in memory) for as long as a test needs it."""

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from deploy.jvm import Server, fetch_jars, free_ports, is_listening


@contextlib.contextmanager
def running_registry() -> Iterator[str]:
    """The URL of an empty registry that lives as long as the block.

    Raises ConfigurationError without Java or Maven, FraudstreamError if the registry does not come up.
    """
    jars = fetch_jars(Path(__file__).resolve().parent / "pom.xml", "unpack-dependencies")
    port = free_ports(1)[0]
    url = f"http://127.0.0.1:{port}/apis/ccompat/v7"
    (runner,) = jars.glob("*-runner.jar")
    options = ["-Xmx256m", "-Dquarkus.http.host=127.0.0.1", f"-Dquarkus.http.port={port}"]
    with tempfile.TemporaryDirectory(prefix="fraudstream-registry-") as home:
        server = Server(["java", *options, "-jar", str(runner)], Path(home) / "registry.log")
        try:
            server.wait_until(lambda: is_listening(port) and _answers(url))
            yield url
        finally:
            server.kill()


def _answers(url: str) -> bool:
    try:
        with urlopen(f"{url}/subjects", timeout=5) as response:  # noqa: S310 - our own http URL # nosec B310
            return bool(response.status == 200)
    except (URLError, TimeoutError):
        return False
