"""Judge the rows of a file as one window, by the tests and the rule that judge a stream."""

import numpy as np
from numpy.typing import NDArray

from drift.baseline import Baseline
from drift.detect import Rule, examine
from drift.report import DriftReport
from drift.sketch import Sketch
from drift.tally import Counts
from drift.training_set import mixed, plain_sample, units_of
from drift.windows import Scale, Watched, Window
from schemas.dataset import Rows

VARIANT = "file"


def check(
    rows: Rows,
    baseline: Baseline,
    scale: Scale,
    rule: Rule,
    scores: NDArray[np.float64] | None = None,
    review_at: float | None = None,
    card: str | None = None,
) -> DriftReport:
    """The report about ``rows``, which have the features of ``baseline`` as columns, as a window of ``scale``.

    ``scores`` (n,) are theirs, alerts from ``review_at`` on; ``card`` names the column with the card. Where labels tell
    frauds apart and legitimate rows were thinned, frauds are too. Raises ConfigurationError as ``examine`` does, or
    where there is no such column.
    """
    features = tuple(profile.name for profile in baseline.features)
    columns = rows.frame[list(features)].to_numpy(np.float32)
    numbers = np.arange(len(columns), dtype=np.uint64)
    units = numbers if card is None else units_of(rows.frame, card)
    kept = slice(None) if rows.is_fraud is None else plain_sample(rows.is_fraud, rows.legitimate_kept)
    counts = Counts()
    if scores is not None and review_at is not None:
        columns = np.concatenate([columns, scores.astype(np.float32)[:, None]], axis=1)
        counts = Counts(scored=len(scores[kept]), reviewed=int((scores[kept] >= review_at).sum()))
    sketch = Sketch(scale.capacity, columns.shape[1])
    sketch.add(mixed(numbers, salt=3)[kept], units[kept], columns[kept])
    watched = Watched(baseline.name, baseline.version, VARIANT)
    return examine(Window(watched, scale, 0, scale.length, features, sketch, counts, ()), baseline, rule)
