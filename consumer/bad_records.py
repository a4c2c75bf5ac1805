"""Decide when so many records in a row are bad that the fault is not theirs, but that of a schema or a setting."""

import numpy as np
from numpy.typing import NDArray

from schemas.errors import FraudstreamError


class TooManyBadRecordsError(FraudstreamError):
    """Catch this to keep the place: the batch was decided, and nothing of it shall be published."""


class BadRecords:
    """Of any ``limit`` records in a row less than ``share`` may be bad; without a limit all may."""

    def __init__(self, limit: int, share: float) -> None:
        self._limit = limit
        self._most = max(1.0, share * limit)
        self._before = np.empty(0, np.bool_)

    def check(self, bad: NDArray[np.bool_]) -> None:
        """Raises TooManyBadRecordsError if with these (n,) there are too many since what was published last."""
        if not self._limit or not bad.any():
            return
        counts = np.concatenate(([0], np.cumsum(np.concatenate((self._before, bad)))))
        worst = int((counts[self._limit :] - counts[: -self._limit]).max(initial=0))
        if worst >= self._most:
            raise TooManyBadRecordsError(
                f"{worst} of {self._limit} records in a row cannot be scored (bad_records_limit, bad_records_share)"
            )

    def published(self, bad: NDArray[np.bool_]) -> None:
        """These are out: the next ones are counted together with the last of them."""
        if self._limit > 1:
            self._before = np.concatenate((self._before, bad))[1 - self._limit :]
