"""A signal ends the process in time, also in a call that waits for a broker that is away."""

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import sys
from confluent_kafka import Producer
from consumer.stopping import Stopping

with Stopping(float(sys.argv[1])) as stopping:
    producer = Producer({"bootstrap.servers": "127.0.0.1:1", "transactional.id": "t", "log_level": 0})
    print("waiting", flush=True)
    try:
        producer.init_transactions(float(sys.argv[2]))
    except Exception:
        print("requested", stopping.requested, flush=True)
        sys.exit(3)
"""


def start(seconds, wait):
    command = [sys.executable, "-c", PROGRAM, str(seconds), str(wait)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert process.stdout.readline() == "waiting\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_process_that_waits_for_a_broker_ends_in_time_after_a_signal(number):
    with start(seconds=0.3, wait=60) as process:
        process.send_signal(number)

        assert process.wait(20) == 0


def test_a_process_that_has_time_ends_by_itself():
    with start(seconds=60, wait=1) as process:
        process.send_signal(signal.SIGTERM)

        assert process.wait(20) == 3
        assert process.stdout.read() == "requested True\n"


def test_a_second_signal_ends_it_at_once():
    with start(seconds=60, wait=60) as process:
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)

        assert process.wait(20) in {128 + signal.SIGINT, 128 + signal.SIGTERM}
