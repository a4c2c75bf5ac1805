"""Decide when so many records in a row are bad that the fault is not theirs, but that of a schema or a setting."""

import numpy as np
from numpy.typing import NDArray

from schemas.errors import FraudstreamError


class TooManyBadRecordsError(FraudstreamError):
    """Catch this to keep the place: the batch was decided, and nothing of it shall be published."""


class BadRecords:
    """Of any ``limit`` records in a row less than ``share`` may be bad; without a limit all may.

    Records in a row are those of one batch after another, whether published or still on the way; what comes again
    after a rewind counts once.
    """

    def __init__(self, limit: int, share: float) -> None:
        self._limit = limit
        self._most = max(1.0, share * limit)
        self._partitions: NDArray[np.int32] = np.empty(0, np.int32)
        self._offsets: NDArray[np.int64] = np.empty(0, np.int64)
        self._bad = np.empty(0, np.bool_)

    def check(self, partitions: NDArray[np.int32], offsets: NDArray[np.int64], bad: NDArray[np.bool_]) -> None:
        """Take the next records, (n,) each. Raises TooManyBadRecordsError, and takes none, if too many are bad."""
        if not self._limit:
            return
        before = self._before(partitions, offsets)
        counted = np.concatenate((self._bad[before], bad))
        if bad.any():
            counts = np.concatenate(([0], np.cumsum(counted)))
            worst = int((counts[self._limit :] - counts[: -self._limit]).max(initial=0))
            if worst >= self._most:
                raise TooManyBadRecordsError(
                    f"{worst} of {self._limit} records in a row cannot be scored (bad_records_limit, bad_records_share)"
                )
        last = slice(max(0, len(counted) - self._limit + 1), None)
        self._bad = counted[last]
        self._partitions = np.concatenate((self._partitions[before], partitions))[last]
        self._offsets = np.concatenate((self._offsets[before], offsets))[last]

    def _before(self, partitions: NDArray[np.int32], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of the records taken last do not come again with these."""
        begin = np.full(max(partitions.max(initial=0), self._partitions.max(initial=0)) + 1, np.iinfo(np.int64).max)
        # Offsets of a partition grow: backwards, the first of them is written last, and stays.
        begin[partitions[::-1]] = offsets[::-1]
        return self._offsets < begin[self._partitions]
