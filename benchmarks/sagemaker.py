"""Time scoring at an endpoint of 1, 10 and 50 ms, with more and more requests in flight, beside scoring in process.

``python -m benchmarks.sagemaker`` times the scorer alone, ``--kafka`` the worker on a real Kafka, exactly-once.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from benchmarks.bed import Bed, laid_out
from benchmarks.check import WrongOutputError
from benchmarks.contenders import at_endpoint, fraudstream
from benchmarks.latency import measure as latency_of
from benchmarks.throughput import run
from models.artifact import load, read_directory
from models.container import container_model
from models.endpoint import Endpoint
from models.folder import FolderStore
from models.model import Model
from models.registry import Registry, Version
from models.rollout import Changed, first
from models.rollout_store import RolloutStore
from models.sagemaker import EndpointScorer
from models.scorer import Scorer
from models.train import TrainingSettings, train_to
from producer import sample_path
from schemas.dataset import read_dataset

FAKE = Path(__file__).parents[1] / "tests" / "fake_endpoint.py"
LATENCIES_MS = (1, 10, 50)
IN_FLIGHT = (1, 4, 16)
BATCH = 2_000
"""Rows: what a worker has in hand when it is busy. An endpoint gets them in requests of REQUEST rows."""
REQUEST = 250
CLOSE = 1e-6
EVENTS = 50_000
"""What lies in the topic for a worker whose model is at an endpoint; for one in process it is ten times as much."""
RATE = 500
"""Events a second at which latencies are taken."""


@contextmanager
def served(model: Model, home: Path) -> Iterator[str]:
    """The address of the fake of the tests, in a process of its own: a real HTTP server and a real XGBoost."""
    file = home / "xgboost-model"
    file.write_bytes(container_model(model))
    with subprocess.Popen(
        [sys.executable, str(FAKE), str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def make_slow(url: str, milliseconds: float) -> None:
    body = json.dumps({"latency": milliseconds / 1000}).encode()
    with urlopen(Request(f"{url}/control", body), timeout=10):  # noqa: S310 - it is our own
        pass


def measure(
    scorer: Scorer, features: NDArray[np.float32], expected: NDArray[np.float64], rows: int, seconds: float
) -> dict[str, float]:
    """Batches of so many rows one after the other for so long: events a second and the p99 of a batch in ms.

    Raises WrongOutputError unless each score is that of the model in process.
    """
    scorer.score(features[:rows])
    times: list[float] = []
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        at = len(times) * rows % (len(features) - rows)
        started = time.perf_counter()
        scores = scorer.score(features[at : at + rows])
        times.append(time.perf_counter() - started)
        if not np.abs(scores - expected[at : at + rows]).max() <= CLOSE:
            raise WrongOutputError("the scores are not those of the model in process")
    p50, p99 = np.percentile(times, (50, 99)) * 1000
    return {"rows": rows, "events_a_second": rows * len(times) / sum(times), "p50_ms": p50, "p99_ms": p99}


def compare(home: Path, seconds: float) -> list[dict[str, float | str]]:
    data = read_dataset(sample_path())
    train_to(home / "model", data, TrainingSettings(name="bench", version="1"))
    model = load(home / "model")
    features = data.frame[list(model.features)].to_numpy(np.float32)
    expected = model.score(features)
    results: list[dict[str, float | str]] = [
        {"scorer": "in process", **measure(model, features, expected, rows, seconds)} for rows in (1, BATCH)
    ]
    with served(model, home) as url:
        for latency in LATENCIES_MS:
            make_slow(url, latency)
            for rows, in_flight in [(1, 1), *((BATCH, count) for count in IN_FLIGHT)]:
                settings = Endpoint(
                    "fraud", in_flight=in_flight, request_rows=REQUEST, budget_seconds=30.0, read_seconds=10.0
                )
                scorer = EndpointScorer(model, settings, url)
                scorer.check()
                name = f"endpoint, {latency} ms, {in_flight} in flight"
                results.append({"scorer": name, **measure(scorer, features, expected, rows, seconds)})
    return results


def compare_workers(seconds: int) -> list[dict[str, float | str]]:
    """Through Kafka: events a second from a full topic, and ms from due until readable at ``RATE`` for so long.

    Every decision is read back and checked.
    """
    console = Console(stderr=True)
    with laid_out(console) as bed, served(bed.model, bed.home) as url, console.status("") as status:
        few, many = bed.preload("few", EVENTS), bed.preload("many", 10 * EVENTS)
        workers = [(0, fraudstream("exactly_once"), many, 10 * EVENTS)]
        for latency, in_flight in product(LATENCIES_MS, IN_FLIGHT):
            name = f"endpoint, {latency} ms, {in_flight} in flight"
            workers.append((latency, at_endpoint(name, rollout_in(bed, name, in_flight), url), few, EVENTS))
        results: list[dict[str, float | str]] = []
        for latency, worker, source, events in workers:
            status.update(worker.name)
            make_slow(url, latency)
            rate = run(bed, worker, source, events, 1).warm_rate
            steady = latency_of(bed, worker, seconds, 1, RATE)
            figures = {"rows": steady.batch, "events_a_second": rate, "p50_ms": steady.p50, "p99_ms": steady.p99}
            results.append({"scorer": worker.name, **figures})
    return results


def rollout_in(bed: Bed, name: str, in_flight: int) -> Path:
    """A store whose rollout has an endpoint score with the model of the bed."""
    store = FolderStore(bed.home / name)
    Registry(store).publish(read_directory(bed.model_dir))
    document = first(Version(bed.model.name, bed.model.version), Changed("bench", datetime.now(UTC), "", "set"))
    endpoint = Endpoint("fraud", in_flight=in_flight, request_rows=REQUEST, budget_seconds=30.0, read_seconds=10.0)
    variant = replace(document.control, backend="sagemaker", endpoint=endpoint)
    RolloutStore(store).write(replace(document, variants=(variant,)), None)
    return store.root


def show(results: list[dict[str, float | str]], *, kafka: bool) -> None:
    table = Table("scorer", "rows a batch", "events/s", "p50 ms", "p99 ms", box=None)
    for each in results:
        figures = (
            f"{each['rows']:,.0f}",
            f"{each['events_a_second']:,.0f}",
            f"{each['p50_ms']:.2f}",
            f"{each['p99_ms']:.2f}",
        )
        table.add_row(str(each["scorer"]), *figures)
    console = Console()
    console.print(table)
    console.print(f"Every score was that of the model in process to {CLOSE:g}. Requests have {REQUEST} rows.")
    console.print("The server, Python's own with a real XGBoost, runs on the same cores.")
    if kafka:
        console.print(f"Events/s from a full topic; batches and ms, from due until readable, at {RATE} events/s.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement")
    parser.add_argument("--kafka", action="store_true", help="the worker on a real Kafka, not the scorer alone")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    os.environ |= {"AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none", "AWS_DEFAULT_REGION": "us-east-1"}
    if arguments.kafka:
        results = compare_workers(arguments.seconds)
    else:
        with tempfile.TemporaryDirectory() as home:
            results = compare(Path(home), arguments.seconds)
    if arguments.json:
        print(json.dumps(results))
    else:
        show(results, kafka=arguments.kafka)


if __name__ == "__main__":
    main()
