"""Every number that the monitor tells about what it found and about itself, named and explained in one place."""

from collections.abc import Callable, Collection, Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, ProcessCollector
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from drift.alarm import Severity
from drift.report import DriftReport, DriftTest
from drift.windows import DAY, Untimely, Watched

KEPT = 2 * DAY
"""Event time (ms) after which a model that sees nothing more is not told of any longer."""

LEVELS = {Severity.INSUFFICIENT: -1, Severity.OK: 0, Severity.WARN: 1, Severity.CRITICAL: 2}

_WINDOW = ("model", "version", "variant", "scale")


Figures = Callable[[DriftReport], Iterable[tuple[tuple[str, ...], float]]]
"""The values of further labels, and the figure."""


def _of_tests(figure: Callable[[DriftTest], float]) -> Figures:
    return lambda report: (((test.subject, test.kind.value), figure(test)) for test in report.tests)


def _of_window(figure: Callable[[DriftReport], float]) -> Figures:
    return lambda report: [((), figure(report))]


def _psi(report: DriftReport) -> Iterator[tuple[tuple[str, ...], float]]:
    return (((test.subject,), test.psi) for test in report.tests if test.psi is not None)


def _worst(report: DriftReport) -> Iterator[tuple[tuple[str, ...], float]]:
    for subject in dict.fromkeys(test.subject for test in report.tests):
        yield (subject,), max(LEVELS[test.severity] for test in report.tests if test.subject == subject)


_GAUGES: tuple[tuple[str, str, tuple[str, ...], Figures], ...] = (
    (
        "statistic",
        "Size of a change: distance D, total variation, difference of shares.",
        ("subject", "kind"),
        _of_tests(lambda test: test.statistic),
    ),
    ("threshold", "The size beyond which it is an alarm.", ("subject", "kind"), _of_tests(lambda test: test.threshold)),
    ("psi", "Population stability index; decides nothing.", ("subject",), _psi),
    ("severity", "The worst of a subject: -1 too few rows, 0 ok, 1 warn, 2 critical.", ("subject",), _worst),
    ("window_severity", "The worst of a window.", (), _of_window(lambda report: LEVELS[report.severity])),
    ("window_rows", "Sampled rows of the window.", (), _of_window(lambda report: report.rows)),
    ("window_scored", "All events of the window.", (), _of_window(lambda report: report.counts.scored)),
    ("window_alerts", "Events reviewed or declined.", (), _of_window(lambda report: report.counts.alerts)),
    ("window_dead_letters", "Events not scored.", (), _of_window(lambda report: report.counts.dead_lettered)),
    (
        "window_end_timestamp_seconds",
        "Where the window ends, in event time.",
        (),
        _of_window(lambda report: report.window_end / 1000),
    ),
)


def _labels(report: DriftReport) -> list[str]:
    return [report.watched.name, report.watched.version, report.watched.variant, report.scale]


class LatestReports(Collector):
    """The newest window of each kind: as many series as there are features, times the variants that serve."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._latest: dict[tuple[Watched, str], DriftReport] = {}
        registry.register(self)

    def observe(self, report: DriftReport) -> None:
        """Tell of this window from now on, if none is newer."""
        key = report.watched, report.scale
        known = self._latest.get(key)
        if known is None or report.window_end >= known.window_end:
            # A new dictionary: a scrape may be going through the old one.
            self._latest = {
                each: kept for each, kept in self._latest.items() if kept.window_end > report.window_end - KEPT
            } | {key: report}

    def forget(self) -> None:
        """Tell of no window."""
        self._latest = {}

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The gauges of all newest windows."""
        for name, text, labels, figures in _GAUGES:
            family = GaugeMetricFamily(f"fraudstream_drift_{name}", text, labels=(*_WINDOW, *labels))
            for report in self._latest.values():
                for more, value in figures(report):
                    family.add_metric([*_labels(report), *more], value)
            yield family


class MonitorMetrics:
    """The metrics of one monitor, on the registry that is passed in."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"fraudstream_drift_{name}", text, labels, registry=registry)

        ProcessCollector(registry=registry)
        self.latest = LatestReports(registry)
        self.samples = Counter("fraudstream_drift_samples", "Records of the sample topic read.", registry=registry)
        self.unreadable = Counter(
            "fraudstream_drift_unreadable_samples", "Records that are no sample of our input.", registry=registry
        )
        self.reports = Counter(
            "fraudstream_drift_reports", "Reports told, revisions included.", ("scale", "severity"), registry=registry
        )
        self.requests = Counter("fraudstream_drift_retrain_requests", "Retrainings asked for.", registry=registry)
        self.watermark = gauge("watermark_timestamp_seconds", "Event time up to which windows are complete.")
        self.untimely = gauge("untimely_events", "Sampled events by how they missed their time since the start.", "how")
        self.unjudged = gauge("unjudged", "1 for each model whose windows have no baseline.", "model", "version")
        self.active = gauge("active", "1 while this monitor judges what comes; 0: another one does, or none can.")

    def observe(self, reports: Collection[DriftReport]) -> None:
        """Take in reports that were published."""
        for report in reports:
            self.latest.observe(report)
            self.reports.labels(report.scale, report.severity.value).inc()

    def observe_stream(self, untimely: Untimely, watermark: int | None, unjudged: Collection[Watched]) -> None:
        """Take in how far the samples have been read."""
        for how in ("revising", "late", "future"):
            self.untimely.labels(how).set(getattr(untimely, how))
        if watermark is not None:
            self.watermark.set(watermark / 1000)
        self.unjudged.clear()
        for watched in unjudged:
            self.unjudged.labels(watched.name, watched.version).set(1)

    def forget(self) -> None:
        """Tell no more of what was found: another monitor goes on from there, and would be contradicted for good."""
        self.latest.forget()
        self.unjudged.clear()
