"""Pick the variant that scores a card, from a hash of the card alone."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from xxhash import xxh64_intdigest

from models.xxh64 import hashes_of, xxh64
from schemas.columns import BytesColumn
from schemas.errors import ConfigurationError

BUCKETS = 1_000_000

Range = tuple[int, int]
"""Half-open: buckets from the first number on, up to but without the second."""

CONTROL = 0
"""Index of the variant that has what no other has."""

NO_BUCKET = -1
"""Where a card would have a bucket, if one were known."""

MISSING_UNIT = "the routing unit is missing"
"""Why a transaction went to the control without a draw."""

SAMPLING_SALT_ID = "feature-samples-1"
"""Salt of the feature samples. No experiment may have it: the sample would hold all of a challenger's cards or none."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A name and the half-open ranges of buckets that it serves."""

    name: str
    ranges: tuple[tuple[int, int], ...]

    @property
    def share(self) -> float:
        """The probability that a card is assigned to this variant."""
        return self.size / BUCKETS

    @property
    def size(self) -> int:
        """How many buckets it has."""
        return _size(self.ranges)


@dataclass(frozen=True, slots=True)
class Assignment:
    """Where n transactions go: ``buckets`` (n,) int64 and ``variants`` (n,) uint8, an index into those of the split.

    Where ``missing`` (n,) bool there was no unit to draw by: the control has it, with NO_BUCKET, for MISSING_UNIT.
    """

    buckets: NDArray[np.int64]
    variants: NDArray[np.uint8]
    missing: NDArray[np.bool_]


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
        """The xxHash seed of this experiment."""
        return seed_of(self.salt_id)

    def variant_of(self, buckets: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Index into ``variants`` for each of the (n,) buckets, uint8."""
        if len(self.variants) == 1:
            return np.zeros(len(buckets), np.uint8)
        ranges = self._ranges()
        ends = np.array([end for _, end, _ in ranges])
        owners = np.array([owner for _, _, owner in ranges], np.uint8)
        return owners[np.searchsorted(ends, buckets, side="right")]


def seed_of(salt_id: str) -> int:
    """The xxHash seed that a salt stands for: its hash, so that salts alike give seeds unlike."""
    return xxh64_intdigest(salt_id.encode())


def buckets_of(units: Iterable[bytes], seed: int) -> NDArray[np.int64]:
    """The bucket of each unit, (n,) int64 in 0…999,999: XXH64 of its bytes, modulo one million.

    Golden values in ``tests/test_routing.py`` pin this function: changing it re-buckets every customer.
    """
    return (hashes_of(units, seed) % np.uint64(BUCKETS)).astype(np.int64)


def assign(units: BytesColumn, experiment: Experiment) -> Assignment:
    """Draw for n units; one without a byte is missing."""
    missing = units.length == 0
    buckets = (xxh64(units, experiment.seed) % np.uint64(BUCKETS)).astype(np.int64)
    variants = experiment.variant_of(buckets)
    buckets[missing], variants[missing] = NO_BUCKET, CONTROL
    return Assignment(buckets, variants, missing)


def two_way(control: str, challenger: str, challenger_share: float) -> tuple[Variant, ...]:
    """The variants of a two-way split; the challenger takes the last buckets, so that ramping it up keeps its cards.

    Raises ConfigurationError unless the share lies between 0 and 1.
    """
    if not 0 <= challenger_share <= 1:
        raise ConfigurationError(f"the challenger's share must lie between 0 and 1, not {challenger_share}")
    return resplit((), control, {challenger: round(challenger_share * BUCKETS)})


def resplit(before: Sequence[Variant], control: str, challengers: Mapping[str, int]) -> tuple[Variant, ...]:
    """A split in which ``challengers`` have so many buckets and ``control`` the rest; the fewest cards move.

    ``before`` is the split in force, or nothing. A variant that shrinks gives up exactly what it has too much, the
    control its last buckets and a challenger its first: so a challenger that is ramped up and down again has the cards
    again that it had before.

    Raises ConfigurationError where the challengers ask for more than there is, or for less than nothing.
    """
    sizes = {control: BUCKETS - sum(challengers.values()), **challengers}
    if min(sizes.values()) < 0:
        raise ConfigurationError("the shares of the challengers must lie between 0 and 1, and so must their sum")
    kept: dict[str, list[Range]] = {}
    free: list[Range] = [] if before else [(0, BUCKETS)]
    for variant in before:
        ranges, most = sorted(variant.ranges), sizes.get(variant.name, 0)
        surplus = max(0, _size(ranges) - most)
        given, left = _take(ranges, surplus, last=variant.name == control)
        free += given
        kept[variant.name] = left
    for name in [*challengers, control]:
        own = kept.get(name, [])
        taken, free = _take(sorted(free), sizes[name] - _size(own), last=True)
        kept[name] = own + taken
    return tuple(Variant(name, _joined(kept[name])) for name in sizes)


def _size(ranges: Iterable[Range]) -> int:
    return sum(end - start for start, end in ranges)


def _take(ranges: Sequence[Range], size: int, *, last: bool) -> tuple[list[Range], list[Range]]:
    """So many buckets from the last or the first of the ``ranges``, and those that are left."""
    taken: list[Range] = []
    left = list(ranges)
    while size:
        start, end = left.pop(-1 if last else 0)
        part = min(size, end - start)
        size -= part
        cut = end - part if last else start + part
        taken.append((cut, end) if last else (start, cut))
        rest = (start, cut) if last else (cut, end)
        if rest[0] != rest[1]:
            left.insert(len(left) if last else 0, rest)
    return taken, left


def _joined(ranges: Iterable[Range]) -> tuple[Range, ...]:
    """The ranges in order, those that touch as one."""
    joined: list[Range] = []
    for start, end in sorted(ranges):
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return tuple(joined)


def single(name: str) -> Sequence[Variant]:
    """One variant that serves every card."""
    return (Variant(name, ((0, BUCKETS),)),)
