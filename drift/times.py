"""Write event times as a person reads them, in UTC and no longer than needed."""

from dataclasses import dataclass
from datetime import UTC, datetime

STEPS = tuple(1000 * 60 * minutes for minutes in (10, 30, 60, 120, 180, 360, 720, 1440, 2880, 7 * 1440, 30 * 1440))


@dataclass(frozen=True, slots=True)
class Times:
    """How the moments between two event times (ms) are written: with the date where they lie on several days."""

    first: int
    last: int

    @property
    def _has_days(self) -> bool:
        return _moment(self.first).date() != _moment(self.last).date()

    def at(self, milliseconds: int) -> str:
        """One moment."""
        return _moment(milliseconds).strftime("%d %b %H:%M" if self._has_days else "%H:%M")

    def span(self, start: int, end: int) -> str:
        """From one moment to another."""
        return f"{self.at(start)} to {self.at(end)}"

    def ticks(self, first: int, last: int, most: int) -> tuple[tuple[float, str], ...]:
        """(moment, label) at round times, about ``most`` of them."""
        step = next((step for step in STEPS if (last - first) / step <= most), STEPS[-1])
        begin = -(-first // step) * step
        whole_days = step >= STEPS[7]
        return tuple(
            (float(at), _moment(at).strftime("%d %b") if whole_days else self.at(at))
            for at in range(begin, last + 1, step)
        )


def long(milliseconds: int) -> str:
    """A moment with its date and year."""
    return _moment(milliseconds).strftime("%Y-%m-%d %H:%M")


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
