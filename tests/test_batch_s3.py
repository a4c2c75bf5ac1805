"""Data sets in S3: what is read is one version of an object, what is written is an object when it is complete."""

import io
import os

import boto3
import pyarrow.csv as pv
import pyarrow.parquet as pq
import pytest
import s3_proxy as fault
from batch_runs import Watched, comparable, score

from consumer.decide import Bounds, Decider, Reasons, Roles
from consumer.loading import rollout_of
from consumer.settings import WorkerSettings
from fraudstream.batch import bucket, tables
from fraudstream.batch.places import open_place
from models.artifact import load
from models.train import TrainingSettings, train_to
from producer import sample_path
from schemas.dataset import read_dataset
from schemas.errors import ConfigurationError, FraudstreamError


@pytest.fixture(scope="module")
def decider(tmp_path_factory, sandbox):
    out = tmp_path_factory.mktemp("models") / "model"
    train_to(out, read_dataset(sample_path()), TrainingSettings(rounds=5))
    rollout = rollout_of([load(out, sandbox=sandbox)], WorkerSettings())
    roles = Roles("transaction_id", "card_id", "event_time", "amount")
    return Decider(rollout, roles, Bounds(946_684_800_000, 86_400_000), Reasons(3, ()))


@pytest.fixture(scope="module")
def data():
    return pq.read_table(sample_path()).slice(0, 2_000)


class S3Data:
    """A bucket, as another client sees it whose connection is good."""

    def __init__(self, s3):
        self.s3 = s3
        self.client = boto3.client("s3", endpoint_url=s3.direct)
        self.source, self.out = f"s3://{s3.bucket}/in", f"s3://{s3.bucket}/out/here"

    def put(self, key, table, **options):
        file = io.BytesIO()
        if key.endswith(".csv"):
            pv.write_csv(table, file)
        else:
            pq.write_table(table, file, **options)
        self.client.put_object(Bucket=self.s3.bucket, Key=key, Body=file.getvalue())

    def names(self):
        return [item["Key"] for item in self.client.list_objects_v2(Bucket=self.s3.bucket).get("Contents", [])]

    def uploads(self):
        """What was begun and neither ended nor given back."""
        return self.client.list_multipart_uploads(Bucket=self.s3.bucket).get("Uploads", [])

    def decided(self, key):
        content = self.client.get_object(Bucket=self.s3.bucket, Key=key)["Body"].read()
        return pq.read_table(io.BytesIO(content)).to_pylist()

    def score(self, decider, source=None, **options):
        return score(source or self.source, self.out, decider, endpoint=self.s3.proxy.url, **options)


@pytest.fixture
def there(s3, data):
    there = S3Data(s3)
    there.put("in/day=1/a.parquet", data, row_group_size=500)
    return there


def test_objects_are_decided_as_files_are(there, data, decider, tmp_path):
    there.put("in/day=2/b.csv", data.slice(0, 300))
    there.put("in/day=2/_SUCCESS", data.slice(0, 0))
    there.put("elsewhere/c.parquet", data)
    pq.write_table(data, tmp_path / "a.parquet")

    summary = there.score(decider)

    assert summary.scored == ["day=1/a.parquet", "day=2/b.csv"]
    outputs = [key for key in there.names() if key.startswith("out/")]
    assert outputs == ["out/here/day=1/a.parquet", "out/here/day=2/b.csv.parquet"]
    score(tmp_path / "a.parquet", tmp_path / "out", decider)
    expected = pq.read_table(tmp_path / "out" / "a.parquet").to_pylist()
    found = there.decided("out/here/day=1/a.parquet")
    assert [comparable(each) | {"transaction_id": None} for each in found] == [
        comparable(each) | {"transaction_id": None} for each in expected
    ]
    assert found[7]["source"]["topic"] == f"{there.source}/day=1/a.parquet"


def test_an_object_that_is_finished_is_skipped_and_one_that_changed_is_scored_again(there, data, decider):
    there.put("in/b.parquet", data)
    there.score(decider)
    there.put("in/b.parquet", data.slice(0, 3))

    summary = there.score(decider)

    assert (summary.finished_before, summary.scored) == (["day=1/a.parquet"], ["b.parquet"])
    assert len(there.decided("out/here/b.parquet")) == 3


def test_one_object_is_scored_by_its_name(there, decider):
    summary = there.score(decider, f"{there.source}/day=1/a.parquet")

    assert summary.scored == ["a.parquet"]
    assert there.decided("out/here/a.parquet")[0]["transaction_id"] == "tx-000000000000"


def test_a_prefix_that_is_called_like_a_file_is_read_as_a_directory(there, data, decider):
    there.put("in/spark.parquet/part-0.parquet", data.slice(0, 5))

    summary = there.score(decider, f"{there.source}/spark.parquet")

    assert summary.scored == ["part-0.parquet"]


def test_what_is_not_there_is_said_with_its_address(there, decider):
    with pytest.raises(ConfigurationError, match=r"no file at or below s3://.*/nowhere that ends in"):
        there.score(decider, f"s3://{there.s3.bucket}/nowhere")
    with pytest.raises(ConfigurationError, match="there is no such bucket"):
        there.score(decider, "s3://no-such-bucket-here/in")


@pytest.mark.parametrize("most", [0, 1, 3])
def test_a_run_that_was_stopped_leaves_neither_objects_nor_parts(there, decider, monkeypatch, most):
    monkeypatch.setattr(tables, "CHUNK_ROWS", 500)
    monkeypatch.setattr(bucket, "PART_BYTES", 1_000)

    summary = there.score(decider, watched=Watched(most=most))

    assert summary.interrupted
    assert there.names() == ["in/day=1/a.parquet"]
    assert there.uploads() == []


def test_a_large_object_goes_in_parts_and_arrives_whole(there, monkeypatch):
    monkeypatch.setattr(bucket, "PART_BYTES", 5 * 2**20)
    place = open_place(there.out, there.s3.proxy.url)
    content = os.urandom(12 * 2**20)

    with place.create("large") as file:
        for at in range(0, len(content), 700_001):
            file.write(content[at : at + 700_001])

    assert there.client.get_object(Bucket=there.s3.bucket, Key="out/here/large")["Body"].read() == content
    assert [method for method, path, _ in there.s3.proxy.seen if "partNumber" in path] == ["PUT"] * 3


def test_an_object_that_changes_while_it_is_read_is_given_up(there, data, decider, monkeypatch):
    monkeypatch.setattr(tables, "CHUNK_ROWS", 500)

    class Meddler(Watched):
        def chunk(self, rows, share):
            super().chunk(rows, share)
            there.put("in/day=1/a.parquet", data.slice(0, 400))

    summary = there.score(decider, watched=Meddler())

    assert str(summary.failed["day=1/a.parquet"]).endswith("day=1/a.parquet was changed while it was read")
    assert there.uploads() == []
    assert there.names() == ["in/day=1/a.parquet"]


def test_a_body_that_breaks_off_is_asked_for_again(there, decider):
    two_listings = [fault.passing] * 2
    there.s3.proxy.next(
        "GET", *two_listings, fault.cutting(1), fault.passing, fault.cutting(100), fault.refusing(503, "SlowDown")
    )

    summary = there.score(decider)

    assert summary.counts.rows == 2_000
    assert there.s3.proxy.take("GET") is fault.passing


def test_a_body_that_breaks_off_every_time_is_given_up(there, decider):
    there.s3.proxy.next("GET", *[fault.passing] * 2, *[fault.cutting(1)] * 4)

    summary = there.score(decider)

    assert "did not arrive whole in 4 attempts" in str(summary.failed["day=1/a.parquet"])


def test_a_write_that_is_refused_leaves_no_parts_and_names_the_right(there, decider):
    there.s3.proxy.next("PUT", fault.refusing(403, "AccessDenied"))

    summary = there.score(decider)

    error = summary.failed["day=1/a.parquet"]
    assert error.exit_code == 77
    assert "s3:PutObject on" in str(error)
    assert there.uploads() == []


def test_when_s3_is_away_the_run_ends_and_says_what_is_left(there, data, decider):
    there.put("in/z.parquet", data)
    there.s3.proxy.next("HEAD", *[fault.refusing(503, "SlowDown")] * 4)

    summary = there.score(decider)

    assert summary.left == ["day=1/a.parquet", "z.parquet"]
    with pytest.raises(FraudstreamError, match="too busy or out of order"):
        raise summary.failed["day=1/a.parquet"]
