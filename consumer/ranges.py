"""Decide which offsets of each partition ``--from`` and ``--to`` mean: from the first up to, but not with, the second.

A point is ``beginning``, ``end``, an offset (the same on every partition), an offset for each of some partitions
(``0:1500,3:20``; the others are left out), a time (``2026-01-31T12:00``, local without a zone), or an age (``-90m``).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from schemas.errors import FraudstreamError

GRAMMAR = "beginning, end, an offset, offsets such as 0:1500,3:20, a time such as 2026-01-31T12:00, or an age: -90m."
"""For the help of a command."""

CLOCK_SKEW_MS = 60_000
"""A decision may bear an earlier time than its transaction where the clocks of their producers differ."""

_OFFSETS = re.compile(r"\d+:\d+(,\d+:\d+)*", re.ASCII)
_AGE = re.compile(r"-(\d+)([smhd])", re.ASCII)
_MILLISECONDS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


class Extreme(Enum):
    """An end of the topic, as it is when the range is resolved."""

    BEGINNING = "beginning"
    END = "end"


@dataclass(frozen=True, slots=True)
class Offset:
    """The same offset on every partition."""

    offset: int


@dataclass(frozen=True, slots=True)
class Offsets:
    """An offset for each of some partitions; a range that has one leaves the other partitions out."""

    by_partition: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Moment:
    """The first record of each partition whose timestamp is not before this one, in ms since 1970."""

    milliseconds: int


Point = Extreme | Offset | Offsets | Moment


@dataclass(frozen=True, slots=True)
class Span:
    """Offsets of a partition from ``start`` up to, but not with, ``stop``; not all of them need hold a record."""

    partition: int
    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start


def parse_point(text: str, now: int) -> Point:
    """What a person wrote, as a point; ages count back from ``now`` (ms since 1970). Raises ValueError."""
    if text in {extreme.value for extreme in Extreme}:
        return Extreme(text)
    if text.isascii() and text.isdecimal():
        return Offset(int(text))
    if _OFFSETS.fullmatch(text):
        return _offsets(text)
    if age := _AGE.fullmatch(text):
        return Moment(now - _milliseconds(age))
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no point of a topic: {GRAMMAR}") from None
    return Moment(int((moment if moment.tzinfo else moment.astimezone()).timestamp() * 1000))


def parse_duration(text: str) -> int:
    """The ms of a length of time: ``90m``, ``30d``. Raises ValueError."""
    found = _AGE.fullmatch(f"-{text}")
    if not found:
        raise ValueError(f"{text!r} is no length of time such as 90m, 12h or 30d")
    return _milliseconds(found)


def _milliseconds(age: re.Match[str]) -> int:
    return int(age[1]) * _MILLISECONDS[age[2]]


def _offsets(text: str) -> Offsets:
    pairs = [pair.split(":") for pair in text.split(",")]
    by_partition = {int(partition): int(offset) for partition, offset in pairs}
    if len(by_partition) < len(pairs):
        raise ValueError(f"{text!r} names a partition twice")
    return Offsets(by_partition)


def resolve(
    topic: str,
    first: Point,
    last: Point,
    limits: Mapping[int, tuple[int, int]],
    offsets_at: Callable[[int], Mapping[int, int]],
) -> list[Span]:
    """The spans of ``topic`` between two points, one for each partition that they do not leave out, in order.

    ``limits`` maps every partition to its first offset and its end (the last stable offset); ``offsets_at`` maps a
    time in ms since 1970 to the first offset from then on, and leaves out partitions that hold nothing so late. What
    lies beyond the end is not waited for. Raises FraudstreamError for a partition that the topic does not have, and
    for an offset that was named and is no longer there.
    """
    chosen = _allowed(topic, first, limits) & _allowed(topic, last, limits)
    limits = {each: limits[each] for each in sorted(chosen)}
    starts, stops = (_places(topic, point, limits, offsets_at) for point in (first, last))
    return [Span(each, starts[each], max(starts[each], stops[each])) for each in limits]


def _allowed(topic: str, point: Point, limits: Mapping[int, tuple[int, int]]) -> set[int]:
    """The partitions that a range with this point does not leave out."""
    if not isinstance(point, Offsets):
        return set(limits)
    unknown = sorted(set(point.by_partition) - set(limits))
    if unknown:
        raise FraudstreamError(f"topic {topic} has no partition {unknown[0]}")
    return set(point.by_partition)


def _places(
    topic: str, point: Point, limits: Mapping[int, tuple[int, int]], offsets_at: Callable[[int], Mapping[int, int]]
) -> dict[int, int]:
    """The offset that the point means on each partition, within the limits."""
    match point:
        case Extreme.BEGINNING:
            return {partition: low for partition, (low, _) in limits.items()}
        case Extreme.END:
            return {partition: high for partition, (_, high) in limits.items()}
        case Moment(milliseconds):
            known = offsets_at(milliseconds)
            return {each: min(max(known.get(each, high), low), high) for each, (low, high) in limits.items()}
        case Offset(offset):
            named = dict.fromkeys(limits, offset)
        case Offsets(by_partition):
            named = {each: by_partition[each] for each in limits}
    for partition, offset in named.items():
        low = limits[partition][0]
        if offset < low:
            raise FraudstreamError(
                f"offset {offset} of partition {partition} of topic {topic} is no longer there: "
                f"the partition begins at {low}"
            )
    return {partition: min(offset, limits[partition][1]) for partition, offset in named.items()}
