"""Time an ensemble against the sum of its members, each scored as a model of its own."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
from rich.console import Console
from rich.table import Table

from models.artifact import from_files
from models.manifest import MANIFEST_FILE, Combine, to_json
from models.model import Ensemble
from models.train import TrainingSettings, train
from producer import sample_path
from schemas.dataset import read_dataset

MEMBERS = 5
BATCHES = (70, 5_000, 20_000)
ROUNDS = 15
COMBINES: tuple[Combine, ...] = ("log_odds", "probability")


def microseconds(work: Callable[[], object]) -> float:
    """CPU time of a call."""
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1e6


def compare(ensemble: Ensemble, features: np.ndarray) -> dict[str, float]:
    """µs a row of the ensemble and of its members one after another, in turn; of each the least."""
    each = zip(ensemble.boosters, ensemble.explainers, strict=True)
    alone = [replace(ensemble, boosters=(booster,), explainers=(why,), weights=(1.0,)) for booster, why in each]
    together, sum_of_members = [], []
    for _ in range(ROUNDS):
        together.append(microseconds(partial(ensemble.score, features)))
        sum_of_members.append(sum(microseconds(partial(member.score, features)) for member in alone))
    count = len(features)
    return {
        "batch": count,
        "ensemble_us": min(together) / count,
        "members_us": min(sum_of_members) / count,
        "ratio": min(together) / min(sum_of_members),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    dataset = read_dataset(sample_path())
    features = dataset.frame[list(dataset.features)].to_numpy(np.float32)
    results = []
    for combine in COMBINES:
        trained = train(dataset, TrainingSettings(ensemble=MEMBERS, combine=combine))
        model = from_files({**trained.boosters, MANIFEST_FILE: to_json(trained.manifest)}, "the ensemble")
        results += [{"combine": combine} | compare(model.ensemble, features[:batch]) for batch in BATCHES]
    if options.json:
        sys.stdout.write(json.dumps({"benchmark": "ensemble", "members": MEMBERS, "results": results}) + "\n")
        return
    table = Table("averaged", "batch", f"ensemble of {MEMBERS}, µs a row", "its members, µs a row", "ratio")
    for row in results:
        table.add_row(
            str(row["combine"]),
            f"{row['batch']:,}",
            f"{row['ensemble_us']:.2f}",
            f"{row['members_us']:.2f}",
            f"{row['ratio']:.2f}",
        )
    Console().print(table)


if __name__ == "__main__":
    main()
