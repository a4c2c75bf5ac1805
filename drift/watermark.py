"""Decide up to which event time all partitions have told what they know."""


class Watermark:
    """The event time that the slowest partition has reached, less ``disorder``; it never goes back.

    ``disorder`` is how much older than its predecessor an event may be without being late. A partition that was read to
    its end and has had nothing new for ``idle_after`` is not waited for. Nor is, before that end, one of which nothing
    was written for ``silent_after`` while something was of others: from one that is never heard of, days of events
    would pile up. What it sends later may be late. While all are idle the watermark stands still: a clock cannot tell
    a quiet night from a replay of last year. All times are ms; ``now`` is the caller's clock.
    """

    __slots__ = (
        "_disorder",
        "_ended",
        "_heard",
        "_idle_after",
        "_latest",
        "_reached",
        "_silence",
        "_silent_after",
        "_written",
    )

    def __init__(self, disorder: int, idle_after: int, silent_after: int) -> None:
        self._disorder = disorder
        self._idle_after = idle_after
        self._silent_after = silent_after
        self._latest: dict[int, int | None] = {}
        self._heard: dict[int, int] = {}
        self._silence: dict[int, int] = {}
        self._written: int | None = None
        self._ended: set[int] = set()
        self._reached: int | None = None

    def watch(self, partition: int, now: int) -> None:
        """Wait for this partition from now on."""
        self._latest.setdefault(partition, None)
        self._heard.setdefault(partition, now)
        self._silence.setdefault(partition, 0)

    def forget(self, partition: int) -> None:
        """Do not wait for this partition any more: somebody else reads it."""
        self._latest.pop(partition, None)
        self._heard.pop(partition, None)
        self._silence.pop(partition, None)
        self._ended.discard(partition)

    def written(self, at: int) -> None:
        """What is seen next was written at this time, by the clock of the writer.

        Longer than ``idle_after`` after the last, nobody wrote in between, which says nothing of one partition: after
        an outage they come back one by one.
        """
        if self._written is None:
            self._written = at
        passed = min(max(0, at - self._written), self._idle_after)
        self._written = max(self._written, at)
        for partition in self._silence:
            self._silence[partition] += passed

    def saw(self, partition: int, event_time: int, now: int) -> None:
        """Something with this event time came from the partition."""
        known = self._latest.get(partition)
        self._latest[partition] = event_time if known is None else max(known, event_time)
        self._heard[partition] = now
        self._silence[partition] = 0
        self._ended.discard(partition)

    def ended(self, partition: int) -> None:
        """All that the partition holds has been read. A slow reader would otherwise take unread ones for idle."""
        self._ended.add(partition)

    def at(self, now: int) -> int | None:
        """The watermark, or None before there is one."""
        awake = [latest for partition, latest in self._latest.items() if not self._is_idle(partition, now)]
        known = [latest for latest in awake if latest is not None]
        if known and len(known) == len(awake):
            reached = min(known) - self._disorder
            self._reached = reached if self._reached is None else max(self._reached, reached)
        return self._reached

    def _is_idle(self, partition: int, now: int) -> bool:
        if self._silence[partition] >= self._silent_after:
            return True
        return partition in self._ended and now - self._heard[partition] >= self._idle_after
