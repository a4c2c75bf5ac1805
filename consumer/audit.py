"""Decide from what stands on the topics whether every source record has exactly one outcome, and in order."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from consumer.ranges import Span
from consumer.sheet import Anomaly, Decided, Sheet

EXAMPLES = 5
"""So many places of each anomaly are named; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One anomaly and where: the place of the source record, or of the output record where that is unreadable."""

    anomaly: Anomaly
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class Line:
    """What was found for one partition of the source; ``decisions`` are all of them, those on duplicates too."""

    span: Span
    records: int
    decisions: int
    duplicates: int
    dead_letters: int
    anomalies: Mapping[Anomaly, int]


@dataclass(frozen=True, slots=True)
class Report:
    """What was found: a line for each partition, and the first few places of each anomaly."""

    lines: tuple[Line, ...]
    examples: tuple[Finding, ...]
    tolerated: frozenset[Anomaly]

    @property
    def anomalies(self) -> Counter[Anomaly]:
        """Over all partitions."""
        return sum((Counter(line.anomalies) for line in self.lines), Counter())

    @property
    def clean(self) -> bool:
        """Whether nothing was found that the delivery mode excludes."""
        return self.tolerated.issuperset(self.anomalies)


class Audit:
    """Holds sources and outcomes against each other: all sources first, then the outcomes in any order."""

    def __init__(self, spans: Iterable[Span], partitions: Collection[int], *, exactly_once: bool = True) -> None:
        """``spans`` are judged; ``partitions`` are all that the source has."""
        self._sheets = {span.partition: Sheet(span) for span in spans}
        self._furthest = dict.fromkeys(partitions, -1)
        self._exactly_once = exactly_once
        self._beside: Counter[tuple[int, Anomaly]] = Counter()
        self._examples: list[Finding] = []

    def add_sources(self, partition: int, offset: NDArray[np.int64], key: NDArray[np.uint64]) -> None:
        """Committed records of one partition's span: ``offset`` (n,) and the hash of each ``key`` (n,), 0 for none."""
        self._sheets[partition].add_sources(offset, key)

    def add_decisions(self, decided: Decided) -> None:
        """Take note of these decisions."""
        for sheet, rows in self._inside(decided.partition, decided.offset):
            sheet.add_decisions(decided.take(rows))

    def add_dead_letters(self, partition: NDArray[np.int64], offset: NDArray[np.int64]) -> None:
        """Take note of the dead letters about these source records, (n,) int64 each."""
        for sheet, rows in self._inside(partition, offset):
            sheet.add_dead_letters(offset[rows])

    def add_unreadable(self, partition: int, offset: int) -> None:
        """Take note of a record of the decisions topic, at this place, that is no decision."""
        self._note(Anomaly.UNREADABLE, partition, offset)

    @property
    def has_lost(self) -> bool:
        """Whether some record has no outcome so far."""
        return any(sheet.has_lost for sheet in self._sheets.values())

    def report(self, ends: Mapping[int, int], committed: Mapping[int, int]) -> Report:
        """What was found. Both are to be asked for after the last outcome was read.

        ``ends`` maps each partition of the source to its end. ``committed`` holds the offsets of the group that
        decides, where they are known: with exactly-once delivery no outcome is visible before its offset is.
        """
        for partition, furthest in self._furthest.items():
            if furthest >= ends[partition]:
                self._note(Anomaly.UNFOUNDED, partition, furthest)
            elif self._exactly_once and furthest >= committed.get(partition, ends[partition]):
                self._note(Anomaly.TORN, partition, furthest)
        lines = [self._line(partition, sheet) for partition, sheet in sorted(self._sheets.items())]
        tolerated = frozenset() if self._exactly_once else frozenset({Anomaly.DOUBLED})
        return Report((*lines, *self._lines_beside()), tuple(_first_of_each(self._examples)), tolerated)

    def _inside(
        self, partition: NDArray[np.int64], offset: NDArray[np.int64]
    ) -> Iterator[tuple[Sheet, NDArray[np.int64]]]:
        """For each span the rows that lie within it; of the others it is only kept how far they reach."""
        for each in np.unique(partition).tolist():
            rows = np.flatnonzero(partition == each)
            if each not in self._furthest:
                for at in offset[rows].tolist():
                    self._note(Anomaly.UNFOUNDED, each, at)
                continue
            self._furthest[each] = max(self._furthest[each], int(offset[rows].max()))
            if each in self._sheets:
                span = self._sheets[each].span
                inside = (offset[rows] >= span.start) & (offset[rows] < span.stop)
                yield self._sheets[each], rows[inside]

    def _note(self, anomaly: Anomaly, partition: int, offset: int) -> None:
        self._beside[partition, anomaly] += 1
        if self._beside[partition, anomaly] <= EXAMPLES:
            self._examples.append(Finding(anomaly, partition, offset))

    def _line(self, partition: int, sheet: Sheet) -> Line:
        found = sheet.anomalies()
        for anomaly, offsets in found.items():
            self._examples += [Finding(anomaly, partition, offset) for offset in offsets[:EXAMPLES].tolist()]
        counts = Counter({anomaly: len(offsets) for anomaly, offsets in found.items()})
        counts.update(_of_partition(self._beside, partition))
        return Line(sheet.span, sheet.records, sheet.decisions, sheet.duplicates, sheet.dead_letters, counts)

    def _lines_beside(self) -> Iterator[Line]:
        """For partitions that are not in the range, or that the source does not even have."""
        for partition in sorted({partition for partition, _ in self._beside} - set(self._sheets)):
            yield Line(Span(partition, 0, 0), 0, 0, 0, 0, _of_partition(self._beside, partition))


def _of_partition(counts: Mapping[tuple[int, Anomaly], int], partition: int) -> Counter[Anomaly]:
    return Counter({anomaly: count for (where, anomaly), count in counts.items() if where == partition})


def _first_of_each(findings: Iterable[Finding]) -> Iterator[Finding]:
    seen: Counter[Anomaly] = Counter()
    order = list(Anomaly)
    for finding in sorted(findings, key=lambda each: (order.index(each.anomaly), each.partition, each.offset)):
        seen[finding.anomaly] += 1
        if seen[finding.anomaly] <= EXAMPLES:
            yield finding
