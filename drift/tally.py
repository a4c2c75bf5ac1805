"""Count all that was scored, each batch once, however often it is told."""

from dataclasses import astuple, dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """Events of a stretch of event time: scored, of them reviewed and declined; and those that became dead letters."""

    scored: int = 0
    reviewed: int = 0
    declined: int = 0
    dead_lettered: int = 0

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(*(one + two for one, two in zip(astuple(self), astuple(other), strict=True)))

    @property
    def alerts(self) -> int:
        """Events that somebody had to look at, or that were stopped."""
        return self.reviewed + self.declined


class Tally:
    """The counts of one pane by batch. A batch that is decided again bears the same number and adds nothing."""

    __slots__ = ("_batches", "_settled")

    def __init__(self) -> None:
        self._batches: dict[int, Counts] = {}
        self._settled = Counts()

    def add(self, batch: int, counts: Counts) -> None:
        """Take in what one batch counted here. Where it comes with other counts, the largest stay."""
        known = self._batches.get(batch, Counts())
        largest = (max(one, two) for one, two in zip(astuple(known), astuple(counts), strict=True))
        self._batches[batch] = Counts(*largest)

    @property
    def total(self) -> Counts:
        """The counts of all batches."""
        return sum(self._batches.values(), self._settled)

    def settle(self) -> None:
        """Nothing more is to come: keep the total, and forget the batches."""
        self._settled, self._batches = self.total, {}
