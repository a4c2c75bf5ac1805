"""The demo on a real Apache Kafka: exactly once, and nothing left behind however it ends."""

import json
import os
import signal
import subprocess
import sys

import psutil
import pytest

DEMO = [sys.executable, "-m", "fraudstream", "demo", "--bootstrap-servers"]


def demo_topics(kafka):
    return [name for name in kafka.admin.list_topics(timeout=10).topics if name.startswith("fraudstream-demo-")]


def test_on_a_real_broker_the_demo_decides_exactly_once_and_deletes_its_topics(kafka):
    command = [*DEMO, kafka.bootstrap_servers, "--json", "--rate", "2000"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert summary["delivery"] == "exactly_once"
    assert summary["transactions_in"] == summary["decisions_out"] > 4_000
    assert (summary["missing"], summary["doubled"]) == (0, 0)
    assert demo_topics(kafka) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_demo_that_is_interrupted_takes_everything_down(kafka, number, code):
    command = [*DEMO, kafka.bootstrap_servers, "--rate", "20"]
    # Unbuffered, so that a line is seen when it is printed.
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    )
    try:
        for line in process.stdout:
            if "decided" in line:
                break
        (worker,) = psutil.Process(process.pid).children()

        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()

    assert process.returncode == code
    assert said == "stopping the worker ...\n"
    assert demo_topics(kafka) == []
    assert not worker.is_running()
