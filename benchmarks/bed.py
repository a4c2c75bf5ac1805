"""Lay out what every contender runs on: a broker, a model, a stream of real transactions and what each must score."""

import contextlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import xgboost as xgb
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic
from numpy.typing import NDArray
from rich.console import Console

from deploy.kafka.broker import running_broker
from models.artifact import load, read_directory, save
from models.manifest import MANIFEST_FILE
from models.model import Model, probability
from producer import sample_path
from producer.encode import encode_avro
from producer.publish import BURST, Publisher
from producer.transactions import FEATURES, SEPTEMBER_2013, Transactions, TransactionSource, from_frame
from schemas.dataset import read_dataset
from schemas.framing import confluent_prefix

PARTITIONS = 4
QUIET: dict[str, Any] = {"log_level": 0}
PREFIX = confluent_prefix(1)
BROKER = {
    # Workers that start together share the partitions before the first of them begins. (Kafka's default is 3000.)
    "group.initial.rebalance.delay.ms": "2000",
    # What was read and checked is deleted at once, or a long run fills the disk.
    "log.segment.delete.delay.ms": "1000",
}


@dataclass(frozen=True, slots=True)
class Bed:
    """The broker and everything that is the same for all contenders. ``home`` is for logs and scratch files.

    ``scores`` (m,) float64 is the oracle: the score of each row of ``source``, by XGBoost's ``DMatrix`` in one batch.
    """

    bootstrap_servers: str
    broker_pid: int | None
    admin: AdminClient
    home: Path
    model_dir: Path
    model: Model
    source: TransactionSource
    scores: NDArray[np.float64]

    def create_topic(self, name: str, timestamps: str = "LogAppendTime") -> str:
        """A topic with four partitions, whose records bear the time at which the broker appended them."""
        topic = NewTopic(name, PARTITIONS, 1, config={"message.timestamp.type": timestamps})
        self.admin.create_topics([topic])[name].result(30)
        # The controller has it; the broker that clients ask may learn of it a moment later.
        deadline = time.monotonic() + 30
        while name not in self.admin.list_topics(timeout=10).topics and time.monotonic() < deadline:
            time.sleep(0.02)
        return name

    def delete_topics(self, names: list[str]) -> None:
        """Give the disk back."""
        for future in self.admin.delete_topics(names).values():
            future.result(30)

    def preload(self, topic: str, count: int) -> str:
        """A new topic with the first ``count`` transactions of the stream."""
        publisher = Publisher({"bootstrap.servers": self.bootstrap_servers} | QUIET, self.create_topic(topic))
        for first in range(0, count, BURST):
            rows = self.source.stretch(first, min(BURST, count - first))
            publisher.send(rows.card_id.tolist(), encode_avro(rows, PREFIX))
        publisher.flush(60)
        return topic


@contextlib.contextmanager
def laid_out(console: Console) -> Iterator[Bed]:
    """A bed for as long as the block lasts; processes and files are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="fraudstream-bench-") as scratch:
        home = Path(scratch)
        with console.status("training a model on the bundled sample"):
            train(home / "model")
        with running_broker(properties=BROKER) as broker:
            yield bed_on(broker.bootstrap_servers, broker.pid, home)


def train(out: Path) -> None:
    """A model as a user trains it."""
    subprocess.run([sys.executable, "-m", "fraudstream", "train", "--out", str(out)], check=True, capture_output=True)


def bed_on(bootstrap_servers: str, broker_pid: int | None, home: Path) -> Bed:
    """A bed on a broker that runs, with the model in ``home``. Without its process nobody knows the broker's CPU."""
    model, source = load(home / "model"), in_real_mix()
    admin = AdminClient({"bootstrap.servers": bootstrap_servers} | QUIET)
    scores = score_all(model, source.stretch(0, len(source)))
    return Bed(bootstrap_servers, broker_pid, admin, home, home / "model", model, source, scores)


def flagging(bed: Bed, share: float) -> Bed:
    """The bed with thresholds under which this share of its events is reviewed or declined, by the same model."""
    model, path = bed.model, bed.home / f"model-that-flags-{share:g}"
    review_at = float(np.quantile(bed.scores, 1 - share, method="higher"))
    policy = replace(model.policy, review_at=review_at, decline_at=max(review_at, model.policy.decline_at))
    files = read_directory(bed.model_dir)
    del files[MANIFEST_FILE]
    save(path, replace(model.manifest, policy=policy), files)
    return replace(bed, model_dir=path, model=load(path))


def in_real_mix() -> TransactionSource:
    """The bundled sample with its honest transactions as often as in reality: 14 to one of the sample.

    The sample keeps every fraud and one honest transaction of 14. Repeated as it is, one event in 41 would be a fraud
    and be explained; in the full data it is one in 578.
    """
    dataset = read_dataset(sample_path())
    times = round(1 / dataset.legitimate_kept)
    frame = dataset.frame
    copies = frame.index.repeat(np.where(frame["is_fraud"], 1, times))
    return from_frame(frame.loc[copies], SEPTEMBER_2013)


def score_all(model: Model, rows: Transactions) -> NDArray[np.float64]:
    """The (n,) scores that every contender must give, by the plain way through ``DMatrix``."""
    columns = {name: rows.features[:, at] for at, name in enumerate(FEATURES)} | {"amount": rows.amount}
    matrix = np.column_stack([columns[name] for name in model.features]).astype(np.float32)
    margin = model.ensemble.boosters[0].predict(
        xgb.DMatrix(matrix, feature_names=list(model.features)), output_margin=True
    )
    return probability(margin, model.manifest.prior_shift)
