"""What the tests of the worker on a real Kafka share."""

import subprocess
import sys
import uuid

import pytest
from worker_stream import FEATURES, Stream

from producer import sample_path
from schemas.dataset import read_dataset


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory):
    """A model trained on the bundled sample, as a user would."""
    out = tmp_path_factory.mktemp("trained") / "model"
    subprocess.run([sys.executable, "-m", "fraudstream", "train", "--out", out], check=True, capture_output=True)
    return out


@pytest.fixture(scope="session")
def sample():
    frame = read_dataset(sample_path()).frame
    return frame[["time", "amount", *FEATURES]].to_dict("records")


@pytest.fixture
def stream(kafka, model_dir):
    made = Stream(kafka.bootstrap_servers, f"w-{uuid.uuid4().hex[:8]}", model_dir, partitions=4)
    for topic in (made.input, made.decisions, made.dead_letters):
        kafka.create_topic(topic, partitions=4)
    yield made
    made.stop()
