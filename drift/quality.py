"""Say how good the data of a stretch of time was: its volume, what is missing or out of range, and what was refused."""

from collections.abc import Callable, Iterator

from drift.history import History
from drift.report import DriftReport, DriftTest, Kind

_SHARES = {Kind.MISSING: "missing", Kind.INFINITE: "infinite", Kind.RANGE: "out of range"}


def quality_rows(history: History) -> list[tuple[str, str, str, str]]:
    """(what, in the baseline, in the newest of the longest windows, in the worst of the shortest) as text."""
    shortest, longest = history.shortest, history.longest[-1]
    smallest = min(shortest, key=lambda report: report.counts.scored)
    return [
        ("events", "", f"{longest.counts.scored:,}", f"{smallest.counts.scored:,}"),
        *_volume(history, longest),
        ("sampled rows compared", "", f"{longest.rows:,}", f"{min(report.rows for report in shortest):,}"),
        _rate("alerts", lambda report: _share(report.counts.alerts, report.counts.scored), longest, shortest),
        _rate("dead letters", dead_letter_share, longest, shortest),
        ("schemas", "", ", ".join(longest.schemas), f"{max(len(report.schemas) for report in shortest)} at once"),
        *_features(history, longest),
    ]


def dead_letter_share(report: DriftReport) -> float:
    """The share of the events that could not be scored."""
    return _share(report.counts.dead_lettered, report.counts.scored + report.counts.dead_lettered)


def _rate(
    name: str, share: Callable[[DriftReport], float], longest: DriftReport, shortest: tuple[DriftReport, ...]
) -> tuple[str, str, str, str]:
    known = next((test.reference for test in longest.tests if test.subject == name.replace(" ", "_")), None)
    return name, _percent(known), _percent(share(longest)), _percent(max(map(share, shortest)))


def _volume(history: History, longest: DriftReport) -> Iterator[tuple[str, str, str, str]]:
    """Where it is known what is usual; the worst of the shortest windows is that farthest from it."""
    found = [test for report in history.shortest for test in report.tests if _is_volume(test)]
    now = next((test for test in longest.tests if _is_volume(test)), None)
    if found:
        worst = max(found, key=lambda test: test.statistic)
        known, newest = (None, None) if now is None else (now.reference, now.observed)
        yield "events a minute, all variants", _number(known), _number(newest), _number(worst.observed)


def _is_volume(test: DriftTest) -> bool:
    return (test.subject, test.kind) == ("volume", Kind.RATE)


def _features(history: History, longest: DriftReport) -> Iterator[tuple[str, str, str, str]]:
    """Those shares of features that differ from nothing somewhere."""
    worst: dict[tuple[str, Kind], float] = {}
    for report in history.reports:
        for test in report.tests:
            if test.kind in _SHARES and test.observed is not None:
                key = test.subject, test.kind
                worst[key] = max(worst.get(key, 0.0), test.observed)
    now = {(test.subject, test.kind): test for test in longest.tests}
    for (subject, kind), most in sorted(worst.items(), key=lambda item: -item[1]):
        newest = now.get((subject, kind))
        if most > 0:
            known, found = (None, None) if newest is None else (newest.reference, newest.observed)
            yield f"{subject} {_SHARES[kind]}", _percent(known), _percent(found), _percent(most)


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0


def _number(rate: float | None) -> str:
    return "" if rate is None else f"{rate:,.1f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.3g} %"
