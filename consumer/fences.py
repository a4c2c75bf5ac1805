"""Decide when a slot that is taken away again and again has another live owner."""

import time
from collections import defaultdict, deque

from schemas.errors import ConfigurationError

FENCES_A_MINUTE = 3


class Fences:
    """How often the brokers have taken a producer or the membership of this slot for that of a newer process.

    Once or twice it may be ourselves: brokers that come back answer what was sent before, and meanwhile we had begun
    anew (librdkafka #3437). So it is taken back, and only who has it taken away again and again has a rival.
    """

    def __init__(self, slot_id: str) -> None:
        self._slot_id = slot_id
        self._recent: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=FENCES_A_MINUTE))
        self.total = 0

    def count(self, what: str) -> None:
        """Count one of this kind. Raises ConfigurationError naming the slot at the third of a kind within a minute.

        By kind: one outage may cost the membership and both producers.
        """
        self.total += 1
        recent = self._recent[what]
        recent.append(time.monotonic())
        if len(recent) == FENCES_A_MINUTE and recent[-1] - recent[0] < 60:
            raise ConfigurationError(
                f"slot {self._slot_id} is used by another live process: it fenced this one {FENCES_A_MINUTE} times "
                "within a minute; give each process a slot of its own"
            )
