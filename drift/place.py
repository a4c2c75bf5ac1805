"""Say where a successor goes on reading, so that it tells every window that may still change, and no other in part."""

from collections import deque
from dataclasses import dataclass, field

import msgspec


@dataclass(frozen=True, slots=True)
class Memo:
    """What is kept beside the committed offset.

    ``since`` (ms of event time): windows that begin earlier are told already. ``requested`` is that of ``Requests``.
    """

    since: int = 0
    requested: dict[str, int] = field(default_factory=dict)

    def to_text(self) -> str:
        """As the broker keeps it: metadata of an offset."""
        return msgspec.json.encode(self).decode()


def read_memo(text: str | None) -> Memo | None:
    """The memo that ``to_text`` wrote; None for nothing, or for what somebody else wrote there."""
    try:
        return msgspec.json.decode(text or "", type=Memo)
    except (msgspec.DecodeError, UnicodeError):
        return None


class Trail:
    """The records that were read, as far back as one of them holds something of a window that may still change.

    Kept are those that are newer than all before them: the first one that is as new as a time is always among these.
    """

    __slots__ = ("_records",)

    def __init__(self) -> None:
        self._records: deque[tuple[int, int]] = deque()

    def note(self, offset: int, newest: int) -> None:
        """A record was read whose newest event has the time ``newest``."""
        if not self._records or newest > self._records[-1][1]:
            self._records.append((offset, newest))

    def __len__(self) -> int:
        return len(self._records)

    def begin(self, since: int, end: int) -> int:
        """The offset of the first record with an event at or after ``since``; ``end`` where there is none."""
        while self._records and self._records[0][1] < since:
            self._records.popleft()
        return self._records[0][0] if self._records else end
