"""Say how long records have waited for their decision, from what the client and the records tell."""


class Waiting:
    """How long records have waited on each partition, as far as can be said from outside the broker's log.

    Times are seconds since 1970. What waits is not older than the newest record that was decided before it, nor than
    the last moment at which nothing waited: the later of the two bounds its age.
    """

    def __init__(self) -> None:
        self._decided: dict[int, float] = {}
        self._nothing_since: dict[int, float] = {}
        self._known_since: dict[int, float] = {}
        self._waiting: set[int] = set()

    def decided(self, partition: int, broker_time: float) -> None:
        """The newest record that was decided has this time."""
        self._decided[partition] = broker_time

    def behind(self, partition: int, records: int, now: float) -> None:
        """So many records wait."""
        self._known_since.setdefault(partition, now)
        if records:
            self._waiting.add(partition)
        else:
            self._waiting.discard(partition)
            self._nothing_since[partition] = now

    def forget(self, partition: int) -> None:
        """The partition is read by somebody else from now on."""
        for known in (self._decided, self._nothing_since, self._known_since):
            known.pop(partition, None)
        self._waiting.discard(partition)

    def seconds(self, partition: int, now: float) -> float:
        """The most that a record which waits can have waited; 0 where none does."""
        if partition not in self._waiting:
            return 0.0
        bounds = [known[partition] for known in (self._decided, self._nothing_since) if partition in known]
        return max(0.0, now - max(bounds, default=self._known_since[partition]))
