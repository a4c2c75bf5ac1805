"""What the tests of the worker on a real Kafka share."""

import subprocess
import sys
import uuid

import pytest
from worker_stream import FEATURES, Stream, Watched

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
def stream_of(kafka):
    """A function that makes a stream whose workers are given this directory of a model, or none."""
    streams = []

    def make(model=None):
        made = Stream(kafka.bootstrap_servers, f"w-{uuid.uuid4().hex[:8]}", model, partitions=4)
        streams.append(made)
        for topic in (made.input, made.decisions, made.dead_letters):
            kafka.create_topic(topic, partitions=4)
        kafka.create_topic(made.samples)
        return made

    yield make
    for made in streams:
        made.stop()


@pytest.fixture
def stream(stream_of, model_dir):
    return stream_of(model_dir)


@pytest.fixture
def watched(kafka, model_dir):
    made = Watched(kafka.bootstrap_servers, f"d-{uuid.uuid4().hex[:8]}", model_dir, partitions=2)
    for topic in (made.input, made.decisions, made.dead_letters):
        kafka.create_topic(topic, partitions=2)
    for topic in (made.samples, made.drift, made.requests):
        kafka.create_topic(topic)
    yield made
    made.stop()
