"""Decide when a slot that is taken away again and again has another live owner."""

import time
from collections import deque

from schemas.errors import ConfigurationError

FENCES_A_MINUTE = 3


class Fences:
    """How often the brokers have taken a producer or the membership of this slot for that of a newer process.

    Once or twice it may be ourselves: brokers that come back answer what was sent before, and meanwhile we had begun
    anew (librdkafka #3437). So it is taken back, and only who has it taken away again and again has a rival.
    """

    def __init__(self, slot_id: str) -> None:
        self._slot_id = slot_id
        self._recent: deque[float] = deque(maxlen=FENCES_A_MINUTE)
        self.total = 0

    def count(self) -> None:
        """Count one. Raises ConfigurationError naming the slot at the third within a minute."""
        self.total += 1
        self._recent.append(time.monotonic())
        if len(self._recent) == FENCES_A_MINUTE and self._recent[-1] - self._recent[0] < 60:
            raise ConfigurationError(
                f"slot {self._slot_id} is used by another live process: it fenced this one {FENCES_A_MINUTE} times "
                "within a minute; give each process a slot of its own"
            )
