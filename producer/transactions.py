"""Turn a data set into an endless stream of transactions whose ids and cards are the same in every run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    import pandas as pd

FEATURES = tuple(f"V{number}" for number in range(1, 29))
CARDS = 100_000
"""Cards that the stream spreads over. The public card data names none: ours are derived, not real."""
SEPTEMBER_2013 = 1_377_993_600_000
"""Midnight UTC of the first day of the month in which the public card data was recorded, in ms since 1970."""

SECONDS_UNTIL_2001 = 10**9
_THREE_DIGITS = np.array([b"%03d" % number for number in range(1000)], "S3")


@dataclass(frozen=True, slots=True)
class Transactions:
    """n transactions in a row.

    ``transaction_id`` (n,) S15 and ``card_id`` (n,) S11 of fixed width; ``event_time`` (n,) int64 in ms since 1970;
    ``amount`` (n,) float64; ``features`` (n, 28) float64, V1 to V28, NaN where null; ``is_fraud`` (n,) bool.
    """

    transaction_id: NDArray[np.bytes_]
    card_id: NDArray[np.bytes_]
    event_time: NDArray[np.int64]
    amount: NDArray[np.float64]
    features: NDArray[np.float64]
    is_fraud: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.event_time)

    def happening_at(self, event_time: NDArray[np.int64]) -> Self:
        """The same transactions at other times: ``event_time`` (n,) int64 in ms since 1970."""
        return replace(self, event_time=event_time)


@dataclass(frozen=True, slots=True)
class TransactionSource:
    """A data set of m rows in time order, repeated without end: the numbers of its transactions go on, so do the times.

    ``time`` (m,) int64 in ms since ``start``, which is in ms since 1970; the rest as in :class:`Transactions`.
    """

    start: int
    time: NDArray[np.int64]
    amount: NDArray[np.float64]
    features: NDArray[np.float64]
    is_fraud: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.time)

    def stretch(self, first: int, count: int) -> Transactions:
        """Transactions number ``first`` to ``first + count - 1`` of the stream."""
        number = np.arange(first, first + count, dtype=np.int64)
        repetition, row = np.divmod(number, len(self))
        # One second between the last transaction of a round and the first of the next keeps time going forward.
        length = int(self.time[-1] - self.time[0]) + 1_000
        return Transactions(
            transaction_id=transaction_ids(number),
            card_id=card_ids(number),
            event_time=self.start + self.time[row] + repetition * length,
            amount=self.amount[row],
            features=self.features[row],
            is_fraud=self.is_fraud[row],
        )


def from_frame(frame: "pd.DataFrame", start: int = SEPTEMBER_2013) -> TransactionSource:
    """The source of a frame with ``time`` (s), ``amount``, ``is_fraud`` and those of V1 to V28 that it has.

    Times count from ``start``, unless they are dates already: seconds since 1970. Raises ConfigurationError where
    there is no row.
    """
    if frame.empty:
        raise ConfigurationError("the data set has no rows")
    features = frame.reindex(columns=list(FEATURES)).to_numpy(np.float64)
    seconds = frame["time"].to_numpy(np.float64)
    return TransactionSource(
        start=0 if seconds[0] >= SECONDS_UNTIL_2001 else start,
        time=np.rint(seconds * 1_000).astype(np.int64),
        amount=frame["amount"].to_numpy(np.float64),
        features=np.ascontiguousarray(features),
        is_fraud=frame["is_fraud"].to_numpy(np.bool_),
    )


def transaction_ids(number: NDArray[np.int64]) -> NDArray[np.bytes_]:
    """``tx-000000000042`` for 42: (n,) int64 below 10^12 to (n,) S15."""
    return _labelled(b"tx-", [number // 10**9, number // 10**6 % 1000, number // 1000 % 1000, number % 1000])


def card_ids(number: NDArray[np.int64]) -> NDArray[np.bytes_]:
    """The derived card of each transaction number, ``card-000123``: (n,) int64 to (n,) S11.

    Few cards are used often and most seldom: with u uniform the card's rank is CARDS x u^1.5, so its share falls with
    the cube root of its rank and the busiest card has 1 of 2,150 transactions.
    """
    uniform = (_splitmix64(number.astype(np.uint64)) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    card = (CARDS * uniform**1.5).astype(np.int64)
    return _labelled(b"card-", [card // 1000, card % 1000])


def _labelled(prefix: bytes, groups: Sequence[NDArray[np.int64]]) -> NDArray[np.bytes_]:
    """The prefix and then each group as three digits; writing three at a time is a quarter of the work."""
    parts: list[tuple[str, Any]] = [("prefix", f"S{len(prefix)}")]
    parts += [(f"group{at}", "S3") for at in range(len(groups))]
    out = np.empty(len(groups[0]), np.dtype(parts))
    out["prefix"] = prefix
    for at, group in enumerate(groups):
        out[f"group{at}"] = _THREE_DIGITS[group]
    return out.view(f"S{out.dtype.itemsize}")


def _splitmix64(value: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Steele, Lea and Flood, Fast splittable pseudorandom number generators (2014): each 64-bit value to another."""
    mixed = (value + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
