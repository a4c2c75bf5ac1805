"""Decide whether a file of decisions is what scoring its input again would make."""

from dataclasses import dataclass, field

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from fraudstream.batch.places import Place

_KEY = b"fraudstream.batch"


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the rows of a file: how many have each outcome, and how many were rejected for which reason."""

    outcomes: dict[str, int] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """All rows, each of which stands in one of the two."""
        return sum(self.outcomes.values()) + sum(self.rejected.values())

    def add(self, other: "Counts") -> None:
        """Count these rows too."""
        for mine, theirs in ((self.outcomes, other.outcomes), (self.rejected, other.rejected)):
            for name, count in theirs.items():
                mine[name] = mine.get(name, 0) + count

    def why(self) -> str:
        """The reasons of the rejected, the most frequent first."""
        return ", ".join(f"{reason} {count:,}" for reason, count in sorted(self.rejected.items(), key=_largest))


def _largest(item: tuple[str, int]) -> int:
    return -item[1]


@dataclass(frozen=True, slots=True)
class Mark:
    """Kept in a file of decisions: digests of the input and of what decided, and a name for the latter."""

    input: str
    decider: str
    models: str
    counts: Counts


def stamp(writer: pq.ParquetWriter, mark: Mark) -> None:
    """Write the mark into a file that is about to be finished."""
    writer.add_key_value_metadata({_KEY: msgspec.json.encode(mark)})


def mark_of(place: Place, name: str) -> Mark | None:
    """The mark in a file; None where we did not write it."""
    with place.open(name) as opened:
        try:
            metadata = pq.read_metadata(opened.file).metadata or {}
            return msgspec.json.decode(metadata.get(_KEY, b""), type=Mark)
        except (pa.ArrowException, OSError, msgspec.MsgspecError):
            return None
