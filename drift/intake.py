"""Turn a record of the sample topic into what the windows take in, each event and each count once."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from drift.coverage import Coverage, Stretch
from drift.tally import Counts
from drift.windows import Minute, Sample, Watched
from models.routing import SAMPLING_SALT_ID
from schemas.decision import Outcome
from schemas.errors import InvalidRecordError
from schemas.feature_sample import DEAD_LETTER, MINUTE_MS, FeatureSample, SampledArm

_COUNTED_AS = {
    Outcome.APPROVE.value: ("scored",),
    Outcome.REVIEW.value: ("scored", "reviewed"),
    Outcome.DECLINE.value: ("scored", "declined"),
}


@dataclass(frozen=True, slots=True)
class Taken:
    """What one batch tells: a sample for each variant, and for each source partition the event time it has reached."""

    samples: tuple[Sample, ...]
    reached: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Intake:
    """The batches of one input ``topic``.

    An event time more than ``lead`` ms ahead of the worker's clock tells nothing of how far a partition has come.
    """

    topic: str
    lead: int
    coverage: Coverage = field(default_factory=Coverage)

    def take(self, record: FeatureSample) -> Taken:
        """What is new in a batch. Raises InvalidRecordError for one of another topic or with other hashes."""
        if record.topic != self.topic or record.salt != SAMPLING_SALT_ID:
            raise InvalidRecordError(f"it samples {record.topic} with salt {record.salt}")
        counts = self._new(record)
        limit = np.uint64(min(record.threshold + 1, 2**64 - 1))
        samples = tuple(
            _sample(record, arm, tuple(_minutes(record, counts, number)), limit)
            for number, arm in enumerate(record.arms)
        )
        return Taken(samples, dict(self._reached(record)))

    def _new(self, record: FeatureSample) -> NDArray[np.int64]:
        """How many records, not counted before, stand in each cell."""
        # What decides, besides the record itself, what it counts as.
        arms = tuple((arm.model_name, arm.model_version, arm.variant, arm.epoch) for arm in record.arms)
        counts = np.zeros(len(record.cells), np.int64)
        for run, cells in _runs(record):
            first, newest = int(run["first"]), int(record.cells["minute"][cells].max()) * MINUTE_MS
            told = Stretch(first, first + len(cells), newest)
            for start, end in self.coverage.take((int(run["partition"]), arms), told):
                counts += np.bincount(cells[start - first : end - first], minlength=len(counts))
        return counts

    def _reached(self, record: FeatureSample) -> Iterator[tuple[int, int]]:
        newest = (record.sampled_at + self.lead) // MINUTE_MS
        minutes = record.cells["minute"].astype(np.int64)
        believed = (record.cells["arm"] != DEAD_LETTER) & (minutes <= newest)
        minutes[~believed] = -1
        reached: dict[int, int] = {}
        for run, cells in _runs(record):
            partition = int(run["partition"])
            reached[partition] = max(reached.get(partition, -1), int(minutes[cells].max()))
        for partition, minute in reached.items():
            if minute >= 0:
                yield partition, minute * MINUTE_MS


def _runs(record: FeatureSample) -> Iterator[tuple[np.void, NDArray[np.integer]]]:
    """Each run with the cells of its records."""
    end = 0
    for run in record.runs:
        start, end = end, end + int(run["length"])
        yield run, record.records[start:end]


def _minutes(record: FeatureSample, counts: NDArray[np.int64], arm: int) -> Iterator[Minute]:
    """What is counted for an arm. Dead letters, which no variant is to blame for, are told with the first one."""
    by_minute: dict[int, dict[str, int]] = {}
    for (minute, of_arm, outcome), count in zip(record.cells.tolist(), counts.tolist(), strict=True):
        if count and of_arm in ((arm, DEAD_LETTER) if arm == 0 else (arm,)):
            of_minute = by_minute.setdefault(minute, dict.fromkeys(Counts.__slots__, 0))
            for name in _names(of_arm, outcome):
                of_minute[name] += count
    for minute, of_minute in by_minute.items():
        yield Minute(minute * MINUTE_MS, Counts(**of_minute))


def _names(arm: int, outcome: int) -> tuple[str, ...]:
    """What a record of a cell is counted as."""
    return ("dead_lettered",) if arm == DEAD_LETTER else _COUNTED_AS[outcome]


def _sample(record: FeatureSample, arm: SampledArm, minutes: tuple[Minute, ...], limit: np.uint64) -> Sample:
    return Sample(
        watched=Watched(arm.model_name, arm.model_version, arm.variant),
        sampled_at=record.sampled_at,
        schemas=tuple(_schema_name(number) for number in arm.schemas.tolist() if number),
        features=arm.features,
        hashes=arm.hashes,
        units=arm.units,
        event_times=arm.event_times,
        rows=arm.rows,
        scores=arm.scores,
        minutes=minutes,
        limit=limit,
    )


def _schema_name(number: int) -> str:
    """A Confluent id as such; a fingerprint in hexadecimal."""
    return str(number) if number < 1 << 32 else f"{number:016x}"
