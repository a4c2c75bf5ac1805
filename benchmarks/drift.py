"""Time the Kolmogorov-Smirnov tests of a window against SciPy, alibi-detect and evidently, and the sample it is of."""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy import stats

from benchmarks.drift_alarms import RULE, baseline_of, quiet_rows, window_of
from benchmarks.drift_peers import FEATURES, OTHERS, SHIFT, milliseconds, samples
from drift import ks
from drift.columns import observe
from drift.detect import examine
from drift.sketch import NO_LIMIT, Sketch
from drift.windows import PANE

PEERS = Path(__file__).with_name("drift_peers.py")
CASES = {"quiet": 0.0, "drifting": SHIFT}
STREAM = 2_000_000
BATCH = 5_000

Rows = NDArray[np.float32]


def ours(baseline: Rows, window: Rows) -> Callable[[], object]:
    """What a window costs: the baseline was sorted when it was made."""
    known = [column.values for column in observe(baseline)]

    def test() -> None:
        for rows, column in zip(known, observe(window), strict=True):
            distance = ks.distance(rows, column.values)
            ks.p_value(distance, len(rows), len(column.values))

    return test


def scipys(baseline: Rows, window: Rows, method: Literal["asymp", "auto"]) -> Callable[[], object]:
    return lambda: [stats.ks_2samp(baseline[:, at], window[:, at], method=method) for at in range(FEATURES)]


def largest_difference(baseline: Rows, window: Rows) -> float:
    """Between our D and SciPy's."""
    pairs = [(one.values, two.values) for one, two in zip(observe(baseline), observe(window), strict=True)]
    return max(abs(ks.distance(*pair) - float(stats.ks_2samp(*pair, method="asymp").statistic)) for pair in pairs)


def nanoseconds_of_sampling() -> float:
    """Of one event of a long stream, in batches, into a sketch of 5,000 rows."""
    rng = np.random.default_rng(7)
    hashes = rng.integers(0, int(NO_LIMIT), STREAM, dtype=np.uint64)
    rows = rng.standard_normal((BATCH, FEATURES), dtype=np.float32)

    def fill() -> None:
        sketch = Sketch(PANE.capacity, FEATURES)
        for at in range(0, STREAM, BATCH):
            sketch.add(hashes[at : at + BATCH], hashes[at : at + BATCH], rows)

    return milliseconds(fill) / STREAM * 1e6


def measured(peers: str | None) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for case, shift in CASES.items():
        baseline, window = samples(shift)
        found.setdefault("fraudstream", {})[case] = milliseconds(ours(baseline, window), repeats=15)
        found.setdefault("scipy, asymp", {})[case] = milliseconds(scipys(baseline, window, "asymp"))
        found.setdefault("scipy, auto", {})[case] = milliseconds(scipys(baseline, window, "auto"))
    if peers:
        output = subprocess.run([peers, str(PEERS)], check=True, capture_output=True, text=True).stdout
        found |= json.loads(output.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", help="a Python with alibi-detect and evidently")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    rng = np.random.default_rng(7)
    window = window_of(rng, quiet_rows(rng, OTHERS), PANE)
    known = baseline_of(rng, 20_000)
    tests = measured(options.peers)
    others = {
        "largest_difference_of_d": max(largest_difference(*samples(shift)) for shift in CASES.values()),
        "whole_report_ms": milliseconds(lambda: examine(window, known, RULE)),
        "sampling_ns": nanoseconds_of_sampling(),
    }
    if options.json:
        sys.stdout.write(json.dumps({"ms_cpu": tests, **others}) + "\n")
        return
    table = Table("30 features, 10,000 x 5,000", "no drift, ms", "drift, ms", "drift ÷ none")
    for name, cases in tests.items():
        none, some = cases["quiet"], cases["drifting"]
        table.add_row(name, f"{none:.1f}", f"{some:.1f}", f"{some / none:.2f}")
    Console().print(table)
    Console().print(others)


if __name__ == "__main__":
    main()
