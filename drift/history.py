"""Put reports in order for a person: by what was watched, in time, the worst first."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from drift.alarm import Severity, worst
from drift.report import DriftReport, DriftTest, Kind
from drift.windows import Watched


@dataclass(frozen=True, slots=True)
class Alarm:
    """A hypothesis about ``subject`` that did not hold in ``windows`` (rising in time, one at least)."""

    subject: str
    kind: Kind
    scale: str
    windows: tuple[DriftReport, ...]
    tests: tuple[DriftTest, ...]

    @property
    def largest(self) -> tuple[DriftReport, DriftTest]:
        """The window in which the change was largest against its threshold."""
        return max(zip(self.windows, self.tests, strict=True), key=lambda pair: excess(pair[1]))

    @property
    def severity(self) -> Severity:
        """The worst of the windows."""
        return worst(test.severity for test in self.tests)


@dataclass(frozen=True, slots=True)
class History:
    """What was found about one model and variant: the reports of each scale, rising in time."""

    watched: Watched
    scales: dict[str, tuple[DriftReport, ...]]

    @property
    def reports(self) -> tuple[DriftReport, ...]:
        """Those of all scales."""
        return tuple(report for reports in self.scales.values() for report in reports)

    @property
    def shortest(self) -> tuple[DriftReport, ...]:
        """Those of the scale with the shortest windows, of the scales that are still told."""
        return self._told[0]

    @property
    def longest(self) -> tuple[DriftReport, ...]:
        """Those of the scale with the longest windows, likewise."""
        return self._told[-1]

    @property
    def _told(self) -> list[tuple[DriftReport, ...]]:
        """Without the scales of which a window is overdue: those of a monitor that had other settings."""
        newest = max(reports[-1].window_end for reports in self.scales.values())
        return [reports for reports in self.scales.values() if reports[-1].window_end + hop_of(reports) > newest]

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """All alarms, the largest first."""
        found: dict[tuple[str, str, Kind], list[tuple[DriftReport, DriftTest]]] = {}
        for report in self.reports:
            for test in report.alarms:
                found.setdefault((report.scale, test.subject, test.kind), []).append((report, test))
        alarms = (
            Alarm(subject, kind, scale, *(tuple(column) for column in zip(*pairs, strict=True)))
            for (scale, subject, kind), pairs in found.items()
        )
        return tuple(sorted(alarms, key=lambda alarm: (-excess(alarm.largest[1]), alarm.subject, alarm.scale)))

    def subjects(self, scale: str) -> tuple[str, ...]:
        """All that was tested at a scale: first what alarmed, by its largest excess, then the rest as it comes."""
        largest: dict[str, float] = {}
        for report in self.scales[scale]:
            for test in report.tests:
                size = excess(test) if test.severity.is_alarm else 0.0
                largest[test.subject] = max(largest.get(test.subject, 0.0), size)
        return tuple(sorted(largest, key=lambda subject: -largest[subject]))


def histories(reports: Iterable[DriftReport]) -> tuple[History, ...]:
    """The reports by what was watched; models by name, each with its scales from the shortest window to the longest."""
    by_watched: dict[Watched, list[DriftReport]] = {}
    for report in reports:
        by_watched.setdefault(report.watched, []).append(report)
    return tuple(History(watched, _by_scale(by_watched[watched])) for watched in sorted(by_watched))


def excess(test: DriftTest) -> float:
    """How many times its threshold a change is."""
    return test.statistic / test.threshold if test.threshold > 0 else 0.0


def hop_of(reports: Sequence[DriftReport]) -> int:
    """How far (ms) the windows of a scale are apart."""
    ends = [report.window_end for report in reports]
    apart = (later - earlier for earlier, later in pairwise(ends))
    return min(apart, default=reports[0].window_end - reports[0].window_start)


def _by_scale(reports: Sequence[DriftReport]) -> dict[str, tuple[DriftReport, ...]]:
    ordered = sorted(reports, key=lambda report: (report.window_end - report.window_start, report.window_end))
    return {
        scale: tuple(report for report in ordered if report.scale == scale)
        for scale in dict.fromkeys(report.scale for report in ordered)
    }
