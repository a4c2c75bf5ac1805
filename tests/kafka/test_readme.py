"""The README's commands, run as they are printed."""

import json
import os
import re
import shutil
import signal
import subprocess
import uuid
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from typer.testing import CliRunner

from deploy.jvm import free_ports, start, wait_until
from fraudstream.__main__ import app

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PRINTED_ADDRESS = "127.0.0.1:9092"
PRINTED_TOPIC = "fraud.decisions"


def commands_of(heading):
    """The lines of each ```sh block below the heading, without their comments."""
    section = README.split(f"## {heading}\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return [[line.split("  #")[0].strip() for line in block.splitlines()] for block in blocks]


@pytest.fixture
def checkout(tmp_path):
    """A directory that looks like the checkout to the commands, and takes what they write."""
    for name in ("Makefile", "requirements.lock", "pyproject.toml", ".venv"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.fixture
def surroundings(kafka):
    """The environment of a newcomer's shell, on topics and a port of this test's own."""
    name = f"readme-{uuid.uuid4().hex[:8]}"
    (port,) = free_ports(1)
    yield os.environ | {
        "FRAUDSTREAM_INPUT_TOPIC": f"{name}.transactions",
        "FRAUDSTREAM_DECISIONS_TOPIC": f"{name}.decisions",
        "FRAUDSTREAM_DEAD_LETTERS_TOPIC": f"{name}.dead-letters",
        "FRAUDSTREAM_SAMPLES_TOPIC": f"{name}.samples",
        "FRAUDSTREAM_GROUP": name,
        "FRAUDSTREAM_METRICS_PORT": str(port),
    }
    left = [topic for topic in kafka.admin.list_topics(timeout=10).topics if topic.startswith(name)]
    for future in kafka.admin.delete_topics(left).values():
        future.result(30)


def script(lines, kafka, surroundings):
    """The lines as one shell script; the broker of the tests and its topic stand for those that are printed."""
    text = "\n".join(line for line in lines if line != "make kafka")
    return text.replace(PRINTED_ADDRESS, kafka.bootstrap_servers).replace(
        PRINTED_TOPIC, surroundings["FRAUDSTREAM_DECISIONS_TOPIC"]
    )


def answers(url):
    try:
        with urlopen(url, timeout=1):
            return True
    except (URLError, OSError):
        return False


pytestmark = pytest.mark.skipif(
    not (ROOT / ".venv" / "ready").exists() or shutil.which("make") is None,
    reason="the README speaks of a checkout that make has installed",
)


def test_the_two_commands_are_targets_and_the_first_shows_the_demo():
    demo, test = commands_of("Two commands")[0]

    done = subprocess.run(demo.split(), cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
    assert "0 missing, 0 doubled" in done.stdout
    # This very run is `make test`; here it is only asked what it would do.
    question = subprocess.run([*test.split(), "-n"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "pytest" in question.stdout


def test_make_kafka_is_a_target():
    done = subprocess.run(["make", "-n", "kafka"], cwd=ROOT, capture_output=True, text=True, check=False)

    assert "deploy.kafka start" in done.stdout


def test_a_newcomer_sees_declined_transactions_of_a_topic(kafka, checkout, surroundings):
    worker, tail = commands_of("Your topic, your model")
    log = checkout / "worker.log"
    ready = f"http://127.0.0.1:{surroundings['FRAUDSTREAM_METRICS_PORT']}/readyz"
    script_of_worker = f"set -e\ncd {checkout}\n{script(worker, kafka, surroundings)}"

    serving = start(["bash", "-c", script_of_worker], log, surroundings)
    try:
        wait_until(lambda: answers(ready), lambda: serving.poll() is None, log)
        watching = subprocess.Popen(
            ["bash", "-c", f"cd {checkout}\n{script(tail, kafka, surroundings)}"],
            stdout=subprocess.PIPE,
            text=True,
            env=surroundings,
            start_new_session=True,
        )
        seen = [json.loads(watching.stdout.readline()) for _ in range(100)]
        os.killpg(watching.pid, signal.SIGINT)
        watching.communicate(timeout=30)
    finally:
        os.killpg(serving.pid, signal.SIGTERM)
        serving.wait(30)

    assert {record["value"]["decision"] for record in seen} == {"decline"}
    assert all(record["value"]["reason_codes"] for record in seen)
    assert len({record["value"]["transaction_id"] for record in seen}) == 100


def help_of(command):
    """What ``fraudstream COMMAND --help`` prints."""
    shown = CliRunner().invoke(app, [command, "--help"])
    assert shown.exit_code == 0, command
    return shown.output


def test_every_command_that_is_named_exists():
    for command in set(re.findall(r"`?fraudstream ([a-z]+)[ `]", README)) - {"worker"}:
        assert help_of(command)


def test_every_option_that_is_named_exists():
    helps = [help_of(command) for command in ("score", "produce", "tail", "train", "demo")]

    for option in set(re.findall(r"--[a-z]+(?:-[a-z]+)*", README)):
        assert any(re.search(rf"{option}\b", text) for text in helps), option


def test_every_document_that_is_linked_exists():
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
