"""Time reason codes against XGBoost's own TreeSHAP, and what they take from the throughput of deciding."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from consumer.decide import Bounds, Reasons, Roles, Rollout, Source, Thresholds, decide
from consumer.loading import load_rollout
from consumer.settings import WorkerSettings
from models.artifact import load
from models.shap import Recursion
from models.train import TrainingSettings, train_to
from producer import sample_path
from schemas.columns import BytesColumn, Column, Columns, NumberColumn
from schemas.dataset import read_dataset
from schemas.decision import Outcome

ROWS = (1, 5, 50, 170)
FLAGGED = (0.0, 0.002, 0.01)
BATCH = 5_000
NOW = 1_700_000_000_000
EVENT_US = 8.0
"""Time of an event from poll to commit, exactly once, as measured end to end on two cores with the broker beside."""
REPEATS = 15
FLAGGING = (Outcome.REVIEW, Outcome.DECLINE)


def microseconds(work: Callable[[], object], calls: int) -> float:
    """CPU time of a call, the least of several repeats: noise only ever adds."""
    best = float("inf")
    for _ in range(REPEATS):
        began = time.process_time()
        for _ in range(calls):
            work()
        best = min(best, (time.process_time() - began) / calls)
    return best * 1e6


def compare_contributions(model_dir: Path, features: NDArray[np.float32]) -> list[dict[str, float]]:
    model = load(model_dir)
    tables = model.ensemble.explainers[0]
    peer = Recursion(model.ensemble.boosters[0], "the peer")
    results = []
    for count in ROWS:
        rows, calls = features[:count], max(2, 200 // count)
        ours = microseconds(partial(tables.contributions, rows), calls) / count
        theirs = microseconds(partial(peer.contributions, rows), calls) / count
        results.append({"rows": count, "tables_us": ours, "xgboost_us": theirs, "ratio": theirs / ours})
    return results


def columns_of(features: NDArray[np.float32], names: tuple[str, ...]) -> Columns:
    count = len(features)
    ids = np.frombuffer(b"".join(b"card-%08d" % at for at in range(count)), np.uint8)
    text = BytesColumn(ids, np.arange(count) * 13, np.full(count, 13), None)
    numbers = {name: NumberColumn(features[:, at].astype(np.float64), None) for at, name in enumerate(names)}
    times = NumberColumn(np.full(count, NOW, np.int64), None)
    columns: dict[str, Column] = {"transaction_id": text, "card_id": text, "event_time": times, **numbers}
    return Columns(np.zeros(count, np.uint8), columns)


def flagging(rollout: Rollout, features: NDArray[np.float32], share: float) -> Rollout:
    """The rollout with its threshold where the share of the rows is reviewed, and nothing is declined."""
    arm = rollout.arms[0]
    scores = np.sort(arm.scorer.score(features))
    review_at = float(scores[len(scores) - round(share * len(scores))]) if share else 2.0
    return replace(rollout, arms=(replace(arm, thresholds=Thresholds("benchmark", review_at, 2.0)),))


def compare_decide(model_dir: Path, features: NDArray[np.float32]) -> list[dict[str, float]]:
    """Deciding a batch with and without reasons, for several shares of flagged rows."""
    rollout = load_rollout(WorkerSettings.model_validate({"model": model_dir}))
    columns = columns_of(features, rollout.arms[0].scorer.features)
    source = Source("transactions", np.zeros(len(features), np.int32), np.arange(len(features)))
    roles, bounds = Roles("transaction_id", "card_id", "event_time", "amount"), Bounds(0, 1_000)
    results = []
    for share in FLAGGED:
        chosen = flagging(rollout, features, share)
        with_reasons, without = (
            microseconds(partial(decide, columns, source, roles, bounds, chosen, Reasons(n, FLAGGING), NOW), 4)
            / len(features)
            for n in (3, 0)
        )
        added = max(0.0, with_reasons - without)
        results.append(
            {
                "flagged": share,
                "decide_us": with_reasons,
                "reasons_us": added,
                "throughput_fall": added / (EVENT_US + added),
            }
        )
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    dataset = read_dataset(sample_path())
    frame = dataset.frame
    with tempfile.TemporaryDirectory() as scratch:
        train_to(Path(scratch) / "model", dataset, TrainingSettings())
        frauds = frame[frame["is_fraud"]][list(dataset.features)].to_numpy(np.float32)
        contributions = compare_contributions(Path(scratch) / "model", frauds)
        batch = frame[list(dataset.features)].to_numpy(np.float32)[-BATCH:]
        deciding = compare_decide(Path(scratch) / "model", batch)
    if options.json:
        found = {"benchmark": "reasons", "unit": "us", "contributions": contributions, "decide": deciding}
        sys.stdout.write(json.dumps(found) + "\n")
        return
    table = Table("flagged rows", "tables, µs a row", "XGBoost, µs a row", "times as fast")
    for row in contributions:
        table.add_row(*(f"{row[name]:.{digits}f}" for name, digits in zip(row, (0, 1, 1, 1), strict=True)))
    Console().print(table)
    table = Table("flagged", "decide, µs an event", "of it reasons", f"throughput falls, at {EVENT_US:g} µs an event")
    for row in deciding:
        table.add_row(
            f"{row['flagged']:.1%}",
            f"{row['decide_us']:.2f}",
            f"{row['reasons_us']:.3f}",
            f"{row['throughput_fall']:.1%}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
