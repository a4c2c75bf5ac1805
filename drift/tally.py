"""Count all that was scored, sampled or not."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """Events of a stretch of event time: scored, of them reviewed and declined; and those that became dead letters."""

    scored: int = 0
    reviewed: int = 0
    declined: int = 0
    dead_lettered: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.scored + other.scored,
            self.reviewed + other.reviewed,
            self.declined + other.declined,
            self.dead_lettered + other.dead_lettered,
        )

    @property
    def alerts(self) -> int:
        """Events that somebody had to look at, or that were stopped."""
        return self.reviewed + self.declined
