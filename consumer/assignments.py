"""Decide whether a card's bucket and variant follow from the card and from the rollout that its decision names."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh64_intdigest

from consumer.outcomes import Named
from models.routing import BUCKETS, CONTROL, NO_BUCKET, Experiment, buckets_of

SplitOf = Callable[[int], Experiment | None]
"""The split of the rollout with this number, None where there is no such rollout."""


class Assignments:
    """Judges decisions by what they name: the bucket by the salt alone, the variant where the rollouts are known."""

    def __init__(self, split_of: SplitOf | None = None) -> None:
        """Without ``split_of`` only buckets are judged."""
        self._split_of = split_of
        self._splits: dict[int, Experiment | None] = {}

    def wrong(self, units: Sequence[bytes], buckets: NDArray[np.int64], named: Sequence[Named]) -> NDArray[np.bool_]:
        """Which of n decisions are not as they must be, (n,) bool; ``buckets`` (n,)."""
        wrong = np.zeros(len(units), np.bool_)
        for each in set(named):
            rows = np.flatnonzero([other == each for other in named])
            wrong[rows] = _not_drawn([units[row] for row in rows.tolist()], buckets[rows], each.salt_id)
            if self._split_of is not None:
                wrong[rows] |= self._misplaced(each, buckets[rows])
        return wrong

    def _misplaced(self, named: Named, buckets: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Those whose bucket does not belong to the variant in the rollout that is named."""
        split = self._split(named.epoch)
        if split is None or (split.id.encode(), split.salt_id.encode()) != (named.experiment, named.salt_id):
            return np.ones(len(buckets), np.bool_)
        expected = split.variant_of(np.clip(buckets, 0, BUCKETS - 1))
        expected[buckets == NO_BUCKET] = CONTROL
        names = np.array([variant.name.encode() for variant in split.variants], object)
        misplaced: NDArray[np.bool_] = names[expected] != named.variant
        return misplaced

    def _split(self, epoch: int) -> Experiment | None:
        assert self._split_of is not None
        if epoch not in self._splits:
            self._splits[epoch] = self._split_of(epoch)
        return self._splits[epoch]


def _not_drawn(units: Sequence[bytes], buckets: NDArray[np.int64], salt_id: bytes) -> NDArray[np.bool_]:
    """Those whose bucket is not that of their unit; without a unit there is none to draw."""
    undrawn = (buckets == NO_BUCKET) & np.array([unit == b"" for unit in units], np.bool_)
    others: NDArray[np.bool_] = (buckets_of(units, xxh64_intdigest(salt_id)) != buckets) & ~undrawn
    return others
