"""Decide whether a file of decisions is what scoring its input again would make."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from consumer.decide import Bounds, Reasons, Roles, Rollout
from fraudstream.batch.places import Place

_KEY = b"fraudstream.batch"


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the rows of a file: how many have each outcome, and how many were rejected for which reason."""

    outcomes: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)

    @property
    def rows(self) -> int:
        """All rows, each of which stands in one of the two."""
        return self.outcomes.total() + self.rejected.total()

    def add(self, other: "Counts") -> None:
        """Count the rows of another file with these."""
        self.outcomes.update(other.outcomes)
        self.rejected.update(other.rejected)

    def why(self) -> str:
        """The reasons of the rejected, the most frequent first."""
        return ", ".join(f"{reason} {count:,}" for reason, count in self.rejected.most_common())


@dataclass(frozen=True, slots=True)
class Mark:
    """Kept in a file of decisions: digests of the input and of what decided, and a name for the latter."""

    input: str
    decider: str
    models: str
    counts: Counts


@dataclass(frozen=True, slots=True)
class Decider:
    """All that a decision depends on but the row and the clock."""

    rollout: Rollout
    roles: Roles
    bounds: Bounds
    reasons: Reasons

    @property
    def models(self) -> str:
        """The models by name and version, for people."""
        lineages = [arm.lineage for arm in self.rollout.arms]
        return " and ".join(f"{each.model_name}@{each.model_version}" for each in lineages)

    @property
    def digest(self) -> str:
        """Changes whenever a row could be decided otherwise."""
        parts = [
            self.rollout.experiment,
            [(arm.lineage, arm.thresholds, arm.required.tolist(), arm.codes) for arm in self.rollout.arms],
            (self.roles, self.bounds, self.reasons),
        ]
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


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
