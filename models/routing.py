"""Pick the variant that scores a card, from a hash of the card alone."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh64_intdigest

from models.xxh64 import xxh64
from schemas.columns import BytesColumn
from schemas.errors import ConfigurationError

BUCKETS = 1_000_000


@dataclass(frozen=True, slots=True)
class Variant:
    """A name and the half-open ranges of buckets that it serves."""

    name: str
    ranges: tuple[tuple[int, int], ...]

    @property
    def share(self) -> float:
        """The probability that a card is assigned to this variant."""
        return sum(end - start for start, end in self.ranges) / BUCKETS


@dataclass(frozen=True, slots=True)
class Experiment:
    """Which variant owns which buckets, and the salt that makes the buckets of this experiment its own.

    Raises ConfigurationError where the ranges do not cover every bucket exactly once.
    """

    id: str
    epoch: int
    salt_id: str
    variants: tuple[Variant, ...]

    def __post_init__(self) -> None:
        edge = 0
        for start, end, _ in self._ranges():
            if start != edge or end < start:
                raise ConfigurationError(
                    f"experiment {self.id!r}: buckets around {min(start, edge)} are served by no variant or by two"
                )
            edge = end
        if edge != BUCKETS:
            raise ConfigurationError(f"experiment {self.id!r}: buckets from {edge} on are served by no variant")

    def _ranges(self) -> list[tuple[int, int, int]]:
        return sorted(
            (start, end, index)
            for index, variant in enumerate(self.variants)
            for start, end in variant.ranges
            if start != end
        )

    @property
    def seed(self) -> int:
        """The xxHash seed of this experiment: a hash of the salt, so that salts alike give seeds unlike."""
        return xxh64_intdigest(self.salt_id.encode())

    def variant_of(self, buckets: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Index into ``variants`` for each of the (n,) buckets, uint8."""
        if len(self.variants) == 1:
            return np.zeros(len(buckets), np.uint8)
        ranges = self._ranges()
        ends = np.array([end for _, end, _ in ranges])
        owners = np.array([owner for _, _, owner in ranges], np.uint8)
        return owners[np.searchsorted(ends, buckets, side="right")]


def buckets_of(units: Iterable[bytes], seed: int) -> NDArray[np.int64]:
    """The bucket of each unit, (n,) int64 in 0…999,999: XXH64 of its bytes, modulo one million.

    Golden values in ``tests/test_routing.py`` pin this function: changing it re-buckets every customer.
    """
    digests = [xxh64_intdigest(unit, seed) for unit in units]
    return (np.array(digests, np.uint64) % np.uint64(BUCKETS)).astype(np.int64)


def buckets_in(units: BytesColumn, seed: int) -> NDArray[np.int64]:
    """The same of a whole column."""
    return (xxh64(units, seed) % np.uint64(BUCKETS)).astype(np.int64)


def two_way(control: str, challenger: str, challenger_share: float) -> tuple[Variant, ...]:
    """The variants of a two-way split; the challenger takes the last buckets, so that ramping it up keeps its cards.

    Raises ConfigurationError unless the share lies between 0 and 1.
    """
    if not 0 <= challenger_share <= 1:
        raise ConfigurationError(f"the challenger's share must lie between 0 and 1, not {challenger_share}")
    edge = BUCKETS - round(challenger_share * BUCKETS)
    return Variant(control, ((0, edge),)), Variant(challenger, ((edge, BUCKETS),))


def single(name: str) -> Sequence[Variant]:
    """One variant that serves every card."""
    return (Variant(name, ((0, BUCKETS),)),)
