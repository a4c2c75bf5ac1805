"""Show a person what was found in a window, in the terminal."""

from rich.table import Table

from drift.alarm import Severity
from drift.report import DriftReport, DriftTest

_COLOURS = {Severity.CRITICAL: "bold red", Severity.WARN: "yellow", Severity.OK: "", Severity.INSUFFICIENT: "dim"}

NEAREST = 5
"""So many of the tests that found nothing are shown, those nearest to an alarm."""


def tests_table(report: DriftReport) -> Table:
    """The alarms, and the tests that came nearest to one."""
    table = Table(box=None, pad_edge=False)
    for heading in ("", "subject", "kind"):
        table.add_column(heading, overflow="fold", no_wrap=heading != "subject")
    for heading in ("change", "alarm >", "p (Holm)", "PSI", "was", "is"):
        table.add_column(heading, justify="right", no_wrap=True)
    others = sorted(report.tests[len(report.alarms) :], key=_nearness, reverse=True)
    for test in (*report.alarms, *others[:NEAREST]):
        table.add_row(*_row(test), style=_COLOURS[test.severity])
    return table


def _nearness(test: DriftTest) -> float:
    return test.statistic / test.threshold if test.threshold else 0.0


def _row(test: DriftTest) -> tuple[str, ...]:
    figures = (test.statistic, test.threshold)
    informing = (test.psi, test.reference, test.observed)
    return (
        test.severity.value,
        test.subject,
        test.kind.value,
        *(f"{figure:.4f}" for figure in figures),
        f"{test.adjusted_p:.1e}",
        *("" if figure is None else f"{figure:.4f}" for figure in informing),
    )
