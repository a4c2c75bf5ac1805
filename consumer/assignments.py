"""Decide whether a card's bucket and variant follow from the card and from the rollout that its decision names."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh64_intdigest

from consumer.outcomes import Assignment
from models.routing import BUCKETS, Experiment, buckets_of

SplitOf = Callable[[int], Experiment | None]
"""The split of the rollout of an epoch, None where there is no such rollout."""


class Assignments:
    """Judges decisions by what they name: the bucket by the salt alone, the variant where the rollouts are known."""

    def __init__(self, split_of: SplitOf | None = None) -> None:
        """Without ``split_of`` only buckets are judged."""
        self._split_of = split_of
        self._splits: dict[int, Experiment | None] = {}

    def wrong(
        self, units: Sequence[bytes], buckets: NDArray[np.int64], assignments: Sequence[Assignment]
    ) -> NDArray[np.bool_]:
        """Which of n decisions are not as they must be, (n,) bool; ``buckets`` (n,)."""
        wrong = np.zeros(len(units), np.bool_)
        for assignment in set(assignments):
            rows = np.flatnonzero([each == assignment for each in assignments])
            seed = xxh64_intdigest(assignment.salt_id)
            wrong[rows] = buckets_of([units[row] for row in rows.tolist()], seed) != buckets[rows]
            if self._split_of is not None:
                wrong[rows] |= self._misplaced(assignment, buckets[rows])
        return wrong

    def _misplaced(self, assignment: Assignment, buckets: NDArray[np.int64]) -> NDArray[np.bool_]:
        split = self._split(assignment.epoch)
        names = [] if split is None else [variant.name.encode() for variant in split.variants]
        if (
            split is None
            or (split.id.encode(), split.salt_id.encode()) != (assignment.experiment, assignment.salt_id)
            or assignment.variant not in names
        ):
            return np.ones(len(buckets), np.bool_)
        expected = split.variant_of(np.clip(buckets, 0, BUCKETS - 1))
        return np.not_equal(expected, names.index(assignment.variant))

    def _split(self, epoch: int) -> Experiment | None:
        assert self._split_of is not None
        if epoch not in self._splits:
            self._splits[epoch] = self._split_of(epoch)
        return self._splits[epoch]
