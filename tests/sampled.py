"""A stream of events in memory, and the records of the sample topic that workers would make of its batches."""

from dataclasses import dataclass

import numpy as np

from drift.period import Alerts, Period
from drift.reference import build
from drift.volume import Traffic
from drift.windows import HOUR, MINUTE, Scale
from models.routing import SAMPLING_SALT_ID, hashes_of, seed_of
from schemas.feature_sample import CELL, RUN, FeatureSample, SampledArm

START = 1_700_000_400_000
"""The beginning of a pane."""

FEATURES = ("V1", "V2", "country")
SCALES = (
    Scale("10m", 10 * MINUTE, 10 * MINUTE, capacity=300, least=100, floor=0.05),
    Scale("1h", HOUR, 10 * MINUTE, capacity=900, least=100, floor=0.03),
)
SEED = seed_of(SAMPLING_SALT_ID)


@dataclass(frozen=True)
class Events:
    """n events in the order of their places; event i of a partition has the offset i."""

    partition: np.ndarray
    offset: np.ndarray
    time: np.ndarray
    ids: tuple
    cards: tuple
    variant: np.ndarray
    outcome: np.ndarray
    rows: np.ndarray
    scores: np.ndarray

    def __len__(self):
        return len(self.time)


def events(count, minutes, partitions=2, shift=lambda _minute: 0.0, seed=5):
    """``count`` events over so many minutes, out of order by seconds; from minute to minute V1 is shifted.

    A fifth of the cards goes to the challenger; 2 % of all are dead letters, 5 % are reviewed, 1 % declined.
    """
    rng = np.random.default_rng(seed)
    times = START + np.sort(rng.uniform(0, minutes * MINUTE, count)) + rng.uniform(-20_000, 20_000, count)
    times = np.maximum(times, START).astype(np.int64)
    card = rng.integers(0, count // 2, count)
    rows = np.column_stack([rng.normal(size=count), rng.normal(size=count), rng.integers(0, 4, count)])
    rows[:, 0] += [shift((time - START) / MINUTE) for time in times]
    rows[rng.random(count) < 0.03, 1] = np.nan
    partition = card % partitions
    offset = np.empty(count, np.int64)
    for each in range(partitions):
        offset[partition == each] = np.arange((partition == each).sum())
    return Events(
        partition,
        offset,
        times,
        tuple(b"tx-%06d" % number for number in range(count)),
        tuple(b"card-%05d" % number for number in card),
        (card % 5 == 0).astype(np.int64),
        rng.choice([0, 1, 2, -1], count, p=[0.92, 0.05, 0.01, 0.02]),
        rows.astype(np.float32),
        rng.beta(1, 20, count).astype(np.float32),
    )


def record(of, chosen, rate=0.5, topic="transactions"):
    """The record that a worker writes about the events at ``chosen``, as one batch."""
    order = chosen[np.lexsort((of.offset[chosen], of.partition[chosen]))]
    place = list(zip(of.partition[order].tolist(), of.offset[order].tolist(), strict=True))
    starts = [at for at, (p, o) in enumerate(place) if at == 0 or place[at - 1] != (p, o - 1)]
    runs = [(*place[at], end - at) for at, end in zip(starts, [*starts[1:], len(order)], strict=True)]
    dead = of.outcome[order] < 0
    arm, outcome = np.where(dead, -1, of.variant[order]), np.where(dead, 0, of.outcome[order])
    cells = np.array(list(zip((of.time[order] // MINUTE).tolist(), arm.tolist(), outcome.tolist(), strict=True)), CELL)
    different, index = np.unique(cells, return_inverse=True)
    threshold = min(int(rate * 2**64), 2**64 - 1)
    return FeatureSample(
        sampled_at=int(of.time[order].max()) + 5_000,
        topic=topic,
        salt=SAMPLING_SALT_ID,
        threshold=threshold,
        runs=np.array(runs, RUN),
        cells=different,
        records=index,
        arms=tuple(_arm(of, order[arm == number], number, threshold) for number in (0, 1)),
    )


def _arm(of, chosen, number, threshold):
    hashes = hashes_of([of.ids[at] for at in chosen], SEED)
    chosen, hashes = chosen[hashes <= threshold], hashes[hashes <= threshold]
    return SampledArm(
        model_name="card-fraud",
        model_version=("7", "8")[number],
        variant=("champion", "challenger")[number],
        epoch=1,
        features=FEATURES,
        hashes=hashes,
        units=hashes_of([of.cards[at] for at in chosen], SEED),
        event_times=of.time[chosen],
        scores=of.scores[chosen],
        outcomes=of.outcome[chosen].astype(np.uint8),
        schemas=np.array([1], np.uint64),
        rows=of.rows[chosen],
    )


def batches(of, size=100):
    """Row numbers of the batches of a group of workers: as the events come, each partition by itself."""
    queues = [np.flatnonzero(of.partition == each) for each in np.unique(of.partition)]
    cut = [queue[at : at + size] for queue in queues for at in range(0, len(queue), size)]
    return sorted(cut, key=lambda rows: of.time[rows].max())


def baseline(version="7", count=4_000, scales=SCALES):
    """What the model was trained on: events as ``events`` makes them where nothing shifts."""
    of = events(count, minutes=7 * 24 * 60, seed=1)
    order = np.argsort(of.time)
    return build(
        Period(
            source="a test",
            features=FEATURES,
            times=of.time[order],
            hashes=hashes_of([of.ids[at] for at in order], SEED),
            units=hashes_of([of.cards[at] for at in order], SEED),
            rows=of.rows[order],
            scores=of.scores[order],
            alerts=Alerts(of.time[order], np.ones(count, np.int64), (of.outcome[order] > 0).astype(np.int64)),
            traffic=Traffic(START // HOUR * HOUR, np.full(7 * 24 * 60, 35)),
        ),
        "card-fraud",
        version,
        ranges={},
        categorical=("country",),
        scales=scales,
    )
