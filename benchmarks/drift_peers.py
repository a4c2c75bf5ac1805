"""Time alibi-detect and evidently on the windows of benchmarks/drift.py; run by a Python that has them, not ours.

It prints one JSON object: milliseconds of CPU by name and case, the least of several repeats.
"""

# ruff: noqa: PLC0415 - whoever only wants the samples has none of these

import json
import sys
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

ROWS, OTHERS, FEATURES, SHIFT = 10_000, 5_000, 30, 0.5
REPEATS = 3

Rows = NDArray[np.float32]


def samples(shift: float) -> tuple[Rows, Rows]:
    """(ROWS, FEATURES) and (OTHERS, FEATURES): normal features, those of the second moved by ``shift``."""
    chance = np.random.default_rng(7)
    baseline = chance.standard_normal((ROWS, FEATURES), dtype=np.float32)
    return baseline, chance.standard_normal((OTHERS, FEATURES), dtype=np.float32) + np.float32(shift)


def milliseconds(work: Callable[[], object], repeats: int = REPEATS) -> float:
    """CPU time of a call, the least of several repeats: noise only ever adds."""
    spent = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        spent.append((time.process_time() - began) * 1e3)
    return min(spent)


def alibi(shift: float) -> float:
    from alibi_detect.cd import KSDrift  # type: ignore[import-not-found]

    baseline, window = samples(shift)
    detector = KSDrift(baseline, p_val=0.05)
    return milliseconds(lambda: detector.predict(window))


def evidently(shift: float) -> float:
    import pandas as pd
    from evidently import Report  # type: ignore[import-not-found]
    from evidently.presets import DataDriftPreset  # type: ignore[import-not-found]

    baseline, window = (pd.DataFrame(rows).add_prefix("f") for rows in samples(shift))
    report = Report([DataDriftPreset(num_method="ks")])
    return milliseconds(lambda: report.run(current_data=window, reference_data=baseline).dict())


def main() -> None:
    found = {}
    for name, peer in (("alibi-detect", alibi), ("evidently", evidently)):
        found[name] = {case: peer(shift) for case, shift in (("quiet", 0.0), ("drifting", SHIFT))}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
