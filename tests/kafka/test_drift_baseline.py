"""A baseline of what workers sampled: the same as if the sampled events had been handed over one by one."""

import json
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from confluent_kafka import Producer
from sampled import FEATURES, SEED, START, batches, events, record

from drift.baseline_file import from_bytes
from models.routing import hashes_of
from models.train import TrainingSettings, train_to
from schemas import feature_sample
from schemas.dataset import Dataset

DAY = 24 * 60
EVENTS = events(4_000, minutes=2 * DAY)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model of the features of the samples."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(rng.normal(size=(1_500, len(FEATURES))), columns=list(FEATURES))
    frame = frame.assign(time=np.arange(1_500.0), amount=1.0, is_fraud=frame["V1"] > 1)
    directory = tmp_path_factory.mktemp("sampled") / "model"
    train_to(directory, Dataset(frame, FEATURES, 1.0), TrainingSettings(version="7", rounds=3))
    return directory


@pytest.fixture
def samples(kafka, topic):
    """A topic with the samples, all of them twice, and one record that is none."""
    name = topic()
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    values = [feature_sample.encode(record(EVENTS, rows)) for rows in batches(EVENTS)]
    for value in (*values, b"no sample", *values):
        producer.produce(name, value)
    producer.flush(30)
    return name


def moment(minutes):
    return datetime.fromtimestamp(START / 1000 + 60 * minutes, UTC).isoformat()


def test_a_stretch_of_what_was_sampled_becomes_the_baseline_of_the_model_that_scored_it(
    kafka, samples, model, tmp_path
):
    out = tmp_path / "baseline.npz"
    command = [sys.executable, "-m", "fraudstream", "drift", "baseline", "--model", str(model), "--out", str(out)]
    kafka_options = ["--bootstrap-servers", kafka.bootstrap_servers, "--samples-topic", samples]
    stretch = ["--from", moment(0), "--to", moment(DAY), "--categorical", "country", "--json"]
    done = subprocess.run([*command, *kafka_options, *stretch], capture_output=True, text=True, check=True)

    scored = (EVENTS.time < START + DAY * 60_000) & (EVENTS.variant == 0) & (EVENTS.outcome >= 0)
    sampled = scored & (hashes_of(EVENTS.ids, SEED) <= 2**63)
    made = from_bytes(out.read_bytes(), "file")
    assert json.loads(done.stdout)["source"] == samples
    assert (made.name, made.version, made.rows) == ("card-fraud", "7", sampled.sum())
    assert made.alerts == ((scored & (EVENTS.outcome > 0)).sum(), scored.sum())
    expected = np.sort(EVENTS.rows[sampled, 0])
    assert np.array_equal(made.features[0].values, expected)
    assert [profile.nature.value for profile in made.features] == ["continuous", "continuous", "categorical"]
    assert made.rows_per_card > 1
