"""Draw the sample of a batch by the hash of the event id, and count every record of the batch by what it became."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consumer.decide import Rollout, Verdict
from models.routing import CONTROL, SAMPLING_SALT_ID, seed_of
from models.xxh64 import xxh64
from schemas.columns import BytesColumn, Columns
from schemas.feature_sample import CELL, DEAD_LETTER, MINUTE_MS, RUN, FeatureSample, SampledArm
from schemas.framing import CONFLUENT_MAGIC, SINGLE_OBJECT_MAGIC

MOST_BYTES = 400_000
"""Of sampled rows in one record: with the counts it stays below the 1 MB that brokers take by default."""

_BYTES_A_ROW = 29
"""Of a sampled row, besides its features."""

DENSE = 1 << 16
"""Keys that lie within a range of this size are numbered without sorting."""

_SEED = seed_of(SAMPLING_SALT_ID)


@dataclass(frozen=True, slots=True)
class Batch:
    """n records that were decided: ``values``, ``partitions`` (n,) and ``offsets`` (n,) as consumed, and the verdict.

    ``broker_time`` is that of the first record, in ms since 1970.
    """

    values: Sequence[bytes | None]
    partitions: NDArray[np.int32]
    offsets: NDArray[np.int64]
    columns: Columns
    verdict: Verdict
    rollout: Rollout
    broker_time: int

    @property
    def deciders(self) -> NDArray[np.uint8]:
        """The arm of each of the m decisions: for want of a unit it was the control, under a lineage of its own."""
        variants = self.verdict.decisions.variant
        return np.where(variants < len(self.rollout.arms), variants, np.uint8(CONTROL))


def sample(batch: Batch, rate: float) -> FeatureSample:
    """The sample of a batch at ``rate``, the share of events that are drawn: the same events wherever they come.

    Where the rows would be too many for one record, those with the lowest hashes are kept and the threshold says so.
    """
    decisions = batch.verdict.decisions
    hashes = _hashes(decisions.transaction_id)
    threshold = min(int(rate * 2**64), 2**64 - 1)
    chosen = np.flatnonzero(hashes <= np.uint64(threshold))
    most = MOST_BYTES // (_BYTES_A_ROW + 4 * len(batch.rollout.fields))
    if len(chosen) > most:
        threshold = int(np.partition(hashes[chosen], most - 1)[most - 1])
        chosen = np.flatnonzero(hashes <= np.uint64(threshold))
    order = np.argsort(batch.partitions, kind="stable")
    cells, records = _count(batch)
    arms, deciders = range(len(batch.rollout.arms)), batch.deciders
    return FeatureSample(
        sampled_at=decisions.decided_at,
        topic=decisions.topic,
        salt=SAMPLING_SALT_ID,
        threshold=threshold,
        runs=_runs(batch.partitions[order], batch.offsets[order]),
        cells=cells,
        records=records[order],
        arms=tuple(_arm(batch, arm, hashes, chosen[deciders[chosen] == arm]) for arm in arms),
    )


def _arm(batch: Batch, index: int, hashes: NDArray[np.uint64], chosen: NDArray[np.int64]) -> SampledArm:
    """The sampled decisions of one arm; ``chosen`` are their positions among all decisions."""
    decisions, features = batch.verdict.decisions, batch.rollout.arms[index].scorer.features
    lineage = decisions.lineages[index]
    rows = batch.verdict.decided[chosen]
    return SampledArm(
        model_name=lineage.model_name,
        model_version=lineage.model_version,
        variant=lineage.variant,
        epoch=lineage.epoch,
        features=features,
        hashes=hashes[chosen],
        units=_hashes(decisions.unit.take(chosen)),
        event_times=decisions.event_time[chosen],
        scores=decisions.score[chosen].astype(np.float32),
        outcomes=decisions.outcome[chosen],
        schemas=_schemas_of([batch.values[row] or b"" for row in rows.tolist()]),
        rows=batch.columns.matrix(features, rows=rows) if len(rows) else np.empty((0, len(features)), np.float32),
    )


def _count(batch: Batch) -> tuple[NDArray[np.void], NDArray[np.intp]]:
    """The cells, and for each record of the batch its index among them."""
    decisions, arms = batch.verdict.decisions, len(batch.rollout.arms) + 1
    minutes = decisions.event_time // MINUTE_MS
    last = int(minutes[-1]) if len(minutes) else batch.broker_time // MINUTE_MS
    keys = np.full(len(batch.values), (last * arms + DEAD_LETTER + 1) * 4)
    keys[batch.verdict.decided] = (minutes * arms + batch.deciders + 1) * 4 + decisions.outcome
    present, records = _numbered(keys)
    cells = np.empty(len(present), CELL)
    cells["minute"] = present // 4 // arms
    cells["arm"] = present // 4 % arms - 1
    cells["outcome"] = present % 4
    return cells, records


def _numbered(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.intp]]:
    """The different keys, rising, and for each key its index among them."""
    low, high = int(keys.min()), int(keys.max())
    if high - low >= DENSE:
        return np.unique(keys, return_inverse=True)
    # The events of a batch lie minutes apart: a table of all keys between costs a quarter of sorting them.
    keys = keys - low
    index = np.zeros(high - low + 1, np.intp)
    index[keys] = 1
    present = np.flatnonzero(index)
    index[present] = np.arange(len(present))
    return present + low, index[keys]


def _runs(partitions: NDArray[np.int32], offsets: NDArray[np.int64]) -> NDArray[np.void]:
    """The records, sorted by partition and offset, as stretches without a gap."""
    gap = (np.diff(partitions) != 0) | (np.diff(offsets) != 1)
    starts = np.concatenate(([0], np.flatnonzero(gap) + 1))
    runs = np.empty(len(starts), RUN)
    runs["partition"], runs["first"] = partitions[starts], offsets[starts]
    runs["length"] = np.diff(starts, append=len(offsets))
    return runs


def _hashes(column: BytesColumn) -> NDArray[np.uint64]:
    return xxh64(column, _SEED)


def _schemas_of(values: Iterable[bytes]) -> NDArray[np.uint64]:
    """The Confluent ids or the fingerprints of the schemas that wrote payloads; 0 where a framing names none."""
    heads = {value[:10] if value.startswith(SINGLE_OBJECT_MAGIC) else value[:5] for value in values}
    return np.array(sorted(set(map(_schema_of, heads))), np.uint64)


def _schema_of(head: bytes) -> int:
    if head.startswith(CONFLUENT_MAGIC):
        return int.from_bytes(head[1:5])
    return int.from_bytes(head[2:10], "little") if head.startswith(SINGLE_OBJECT_MAGIC) else 0
