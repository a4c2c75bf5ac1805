"""The benchmark of batch scoring measures scoring that is right, and its parts are parts of it."""

import pyarrow.parquet as pq
import pytest

from benchmarks import batch, report
from benchmarks.results import Results, bars
from models.train import TrainingSettings, train_to
from producer import sample_path
from schemas.dataset import read_dataset


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    out = tmp_path_factory.mktemp("models") / "model"
    train_to(out, read_dataset(sample_path()), TrainingSettings(rounds=3))
    return out


@pytest.fixture
def data(tmp_path):
    pq.write_table(pq.read_table(sample_path()).slice(0, 2_000), tmp_path / "data.parquet")
    return tmp_path / "data.parquet"


def test_every_part_of_a_row_is_measured_and_shown(model_dir, data, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "ROUNDS", 2)

    found = batch.measure(model_dir, data, tmp_path)

    assert found.rows == 2_000
    assert {len(each) for each in (found.read, found.predict, found.batch, found.wall)} == {2}
    assert {"read parquet", "score", "write parquet"} < set(found.stages)
    results = Results(batch=found)
    assert [bar.claim for bar in bars(results)] == ["batch, rows a second of one core"]
    assert report.table(results).row_count == 3 + 5 + len(found.stages)


def test_a_file_of_other_scores_gets_no_figure(model_dir, data, tmp_path, monkeypatch):
    monkeypatch.setattr(batch, "ROUNDS", 1)
    monkeypatch.setattr(batch._Scoring, "scores", lambda self: [0.5] * 2_000)

    with pytest.raises(RuntimeError, match="are not those of the model"):
        batch.measure(model_dir, data, tmp_path)
