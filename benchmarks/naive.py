"""The worker that everybody writes first: one message, fastavro, a ``DMatrix``, produce, auto commit."""

import io
import time
from typing import Any

import fastavro
import numpy as np
import xgboost as xgb
from confluent_kafka import Consumer, Message, Producer
from scipy.special import expit

from benchmarks.check import DECISIONS_ID, EXPERIMENT
from benchmarks.pass_through import settings_of
from consumer.settings import WorkerSettings
from models.artifact import load
from models.model import Model
from models.routing import buckets_of
from schemas.decision import decision_id
from schemas.framing import confluent_prefix
from schemas.load import load as load_schema

PREFIX = confluent_prefix(DECISIONS_ID)
TRANSACTION = fastavro.parse_schema(load_schema("transaction"))
DECISION = fastavro.parse_schema(load_schema("decision"))


def run(settings: WorkerSettings, model: Model) -> None:
    consumer = Consumer(
        {
            "bootstrap.servers": settings.bootstrap_servers,
            "group.id": settings.group,
            "auto.offset.reset": "earliest",
            "auto.commit.interval.ms": 1000,
        }
    )
    producer = Producer({"bootstrap.servers": settings.bootstrap_servers, "partitioner": "murmur2_random"})
    consumer.subscribe([settings.input_topic])
    while True:
        message = consumer.poll(0.5)
        if message is not None and message.error() is None:
            producer.produce(settings.decisions_topic, decide(message, model), message.key())
        producer.poll(0)


def decide(message: Message, model: Model) -> bytes:
    value = message.value()
    assert value is not None
    row: Any = fastavro.schemaless_reader(io.BytesIO(value[5:]), TRANSACTION, None)
    features = [[row[name] for name in model.features]]
    # One thread is kind to it: for one row all the others only spin, the more so on busy cores.
    matrix = xgb.DMatrix(features, feature_names=list(model.features), nthread=1)
    margin = model.ensemble.boosters[0].predict(matrix, output_margin=True)
    score = float(expit(np.float64(margin[0]) + model.manifest.prior_shift))
    out = io.BytesIO()
    out.write(PREFIX)
    fastavro.schemaless_writer(out, DECISION, record(message, row, score, model))
    return out.getvalue()


def record(message: Message, row: dict[str, Any], score: float, model: Model) -> dict[str, Any]:
    policy = model.policy
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None
    assert partition is not None
    assert offset is not None
    outcome = "decline" if score >= policy.decline_at else "review" if score >= policy.review_at else "approve"
    return {
        "decision_id": decision_id(topic, partition, offset).bytes,
        "transaction_id": row["transaction_id"],
        "unit": row["card_id"],
        "source": {"topic": topic, "partition": partition, "offset": offset},
        "event_time": row["event_time"],
        "decided_at": int(time.time() * 1000),
        "score": score,
        "decision": outcome,
        "policy": {"version": policy.version, "review_at": policy.review_at, "decline_at": policy.decline_at},
        "model": {
            "name": model.name,
            "version": model.version,
            "sha256": model.sha256,
            "backend": "xgboost",
        },
        "experiment": {
            "id": EXPERIMENT.id,
            "epoch": EXPERIMENT.epoch,
            "variant": "champion",
            "bucket": int(buckets_of([row["card_id"].encode()], EXPERIMENT.seed)[0]),
            "salt_id": EXPERIMENT.salt_id,
            "probability": 1.0,
        },
    }


def main() -> None:
    settings = settings_of(__doc__)
    assert settings.model is not None
    run(settings, load(settings.model))


if __name__ == "__main__":
    main()
