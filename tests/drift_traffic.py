"""Reference periods and windows of made-up traffic, for the tests of drift."""

import numpy as np

from drift.period import Alerts, Period
from drift.reference import build
from drift.sketch import NO_LIMIT, Sketch
from drift.tally import Counts
from drift.windows import DAY, PANE, Watched, Window

CHAMPION = Watched("card-fraud", "7", "champion")


def period_of(rows, scores=None, days=7.01, alerts=None, units=None, rng=None):
    """A reference period with (n, k) rows at even times, features f0, f1 and so on."""
    rng = rng or np.random.default_rng(1)
    count = len(rows)
    times = (np.arange(count) * days * DAY / count).astype(np.int64)
    flags = None if alerts is None else Alerts(times, np.full(count, 20), alerts)
    hashes = rng.integers(0, int(NO_LIMIT), count, dtype=np.uint64)
    names = tuple(f"f{at}" for at in range(rows.shape[1]))
    scored = None if scores is None else scores.astype(np.float32)
    return Period("test", names, times, hashes, units, rows.astype(np.float32), scored, flags)


def baseline_of(rows, scores=None, believed=None, categorical=(), **fields):
    return build(period_of(rows, scores, **fields), "card-fraud", "7", believed or {}, categorical)


def window_of(rows, scores=None, scale=PANE, counts=None, units=None, start=0, rng=None):
    """A window with (n, k) rows, of which the sketch keeps a uniform sample if they are more than it holds."""
    rng = rng or np.random.default_rng(2)
    count = len(rows)
    hashes = rng.integers(0, int(NO_LIMIT), count, dtype=np.uint64)
    columns = rows if scores is None else np.concatenate([rows, scores[:, None]], axis=1)
    sketch = Sketch(scale.capacity, columns.shape[1])
    sketch.add(hashes, hashes if units is None else units, columns.astype(np.float32))
    names = tuple(f"f{at}" for at in range(rows.shape[1]))
    counted = Counts(scored=20 * count) if counts is None else counts
    return Window(CHAMPION, scale, start, start + scale.length, names, sketch, counted, ("12",))


def bytes_of(sketch):
    """All that a sketch holds: equal for sketches that have seen the same events."""
    numbers = np.array([sketch.capacity, sketch.limit], np.uint64)
    return b"".join(array.tobytes() for array in (numbers, sketch.hashes, sketch.units, sketch.rows))
