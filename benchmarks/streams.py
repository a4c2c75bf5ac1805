"""Make the Kafka Streams contender ready to run: its jars, its classes, and the model as a file it can read."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logit

from benchmarks.bed import Bed
from benchmarks.check import EXPERIMENT
from deploy.jvm import CACHE, fetch_jars
from models.model import Model
from schemas.errors import ConfigurationError, FraudstreamError

HERE = Path(__file__).resolve().parent / "kafka_streams"
JVM = ("-Xms512m", "-Xmx512m", "-XX:+UseParallelGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error")


def class_path() -> str:
    """The jars and the compiled sources. Raises ConfigurationError without Java or Maven."""
    jars = fetch_jars(HERE / "pom.xml", "copy-dependencies")
    sources = sorted(HERE.glob("*.java"))
    digest = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]
    classes = CACHE / HERE.name / f"classes-{digest}"
    if not (classes / "Main.class").exists():
        if shutil.which("javac") is None:
            raise ConfigurationError("the Kafka Streams contender needs a JDK, and there is no javac on the PATH")
        command = ["javac", "-cp", f"{jars}/*", "-d", str(classes), *map(str, sources)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise FraudstreamError(f"the Kafka Streams contender does not compile: {result.stderr.strip()}")
    return f"{jars}/*:{classes}"


def command(bed: Bed, group: str, topics: tuple[str, str, str], threads: int, commit_ms: int) -> list[str]:
    """The command that runs it on (input, decisions, dead letters)."""
    model, settings = bed.home / "model.properties", bed.home / f"{group}.properties"
    _write(model, model_properties(bed.model))
    _write(settings, streams_properties(bed, group, threads, commit_ms))
    return ["java", *JVM, "-cp", class_path(), "Main", str(model), str(settings), *topics]


def streams_properties(bed: Bed, group: str, threads: int, commit_ms: int) -> dict[str, object]:
    """Exactly-once, and tuned as far as we know how: large fetches and batches, and a commit as often as is useful."""
    return {
        "application.id": group,
        "bootstrap.servers": bed.bootstrap_servers,
        "state.dir": bed.home / f"{group}.state",
        "processing.guarantee": "exactly_once_v2",
        "num.stream.threads": threads,
        "commit.interval.ms": commit_ms,
        "poll.ms": 5,
        "input.buffer.max.bytes": 64 << 20,
        "buffered.records.per.partition": 20_000,
        "enable.metrics.push": "false",
        "consumer.auto.offset.reset": "earliest",
        "consumer.max.poll.records": 5_000,
        "consumer.max.partition.fetch.bytes": 4 << 20,
        "consumer.fetch.max.wait.ms": 10,
        "producer.linger.ms": 5,
        "producer.batch.size": 512 << 10,
        "producer.buffer.memory": 128 << 20,
        "producer.max.request.size": 4 << 20,
        "producer.compression.type": "none",
    }


def model_properties(model: Model) -> dict[str, object]:
    """The trees as flat arrays, with what each decision says of the model and the experiment."""
    learner = json.loads(model.ensemble.boosters[0].save_raw("json"))["learner"]
    base = np.float32(json.loads(learner["learner_model_param"]["base_score"])[0])
    policy = model.policy
    return _flat_trees(learner["gradient_booster"]["model"]["trees"]) | {
        "features": _joined(model.features),
        "base_margin": np.float32(logit(base)),
        "prior_shift": model.manifest.prior_shift,
        "policy_version": policy.version,
        "review_at": policy.review_at,
        "decline_at": policy.decline_at,
        "model_name": model.name,
        "model_version": model.version,
        "model_sha256": model.sha256.hex(),
        "experiment": EXPERIMENT.id,
        "salt_id": EXPERIMENT.salt_id,
        "seed": EXPERIMENT.seed,
    }


def _flat_trees(trees: list[dict[str, Any]]) -> dict[str, object]:
    """All nodes in a row. XGBoost keeps the right child behind the left one, and a leaf's value as its condition."""
    roots: list[int] = []
    feature: list[int] = []
    left: list[int] = []
    value: list[np.float32] = []
    missing: list[int] = []
    for tree in trees:
        first = len(feature)
        roots.append(first)
        for at, child in enumerate(tree["left_children"]):
            assert child == -1 or tree["right_children"][at] == child + 1
            feature.append(tree["split_indices"][at] if child != -1 else -1)
            left.append(first + child)
        value += [np.float32(condition) for condition in tree["split_conditions"]]
        missing += tree["default_left"]
    arrays = {"roots": roots, "feature": feature, "value": value, "left": left, "missing_goes_left": missing}
    return {name: _joined(array) for name, array in arrays.items()}


def _joined(values: Any) -> str:
    return " ".join(map(str, values))


def _write(path: Path, properties: dict[str, object]) -> None:
    path.write_text("".join(f"{name}={value}\n" for name, value in properties.items()))
