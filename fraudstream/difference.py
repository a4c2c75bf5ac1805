"""Show a person how a replay differs from what was decided live: tables for the terminal, and a page with plots."""

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text
from scipy.special import expit, logit

from consumer.difference import QUANTILES, Changed, Difference
from consumer.replay import Plan
from models.plots import Axis, Series, chart, outline, probabilities, shares, spread
from schemas.decision import Outcome
from schemas.printable import printable

_EDGE = 1e-12
_BINS = 49
OUTCOMES = tuple(outcome.name.lower() for outcome in Outcome)


def tables(found: Difference) -> list[Table]:
    """The decisions, the quantiles and the largest differences, for the terminal."""
    largest = ("transaction", "partition", "offset", "live", "replayed", "difference")
    return [
        _table("decisions", ("live ↓ · replayed →", *OUTCOMES), decision_rows(found)),
        _table("difference of the scores, replayed minus live", ("quantile", "difference"), quantile_rows(found)),
        _table("the largest differences", largest, largest_rows(found)),
    ]


def summary(found: Difference) -> str:
    """The whole in a sentence or two."""
    if not found.compared:
        told = "No record was decided both live and in the replay."
    else:
        share = 100 * found.changed / found.compared
        told = (
            f"Of {found.compared:,} records that were decided both live and in the replay, {found.changed:,} "
            f"({share:.3f} %) are decided otherwise; the scores differ by {found.mean_absolute:.6f} on average."
        )
    alone = [(found.only_live, "live"), (found.only_replayed, "in the replay")]
    return told + "".join(f" {count:,} were decided only {where}." for count, where in alone if count)


def decision_rows(found: Difference) -> list[tuple[str, ...]]:
    """(live decision, records by decision of the replay) as text."""
    return [(name, *(f"{count:,}" for count in counts)) for name, counts in zip(OUTCOMES, found.decisions, strict=True)]


def quantile_rows(found: Difference) -> list[tuple[str, str]]:
    """(quantile, difference) as text."""
    return [
        (f"{100 * at:g} %", f"{value:+.6f}")
        for at, value in zip(QUANTILES, found.quantiles or (0.0,) * len(QUANTILES), strict=True)
    ]


def largest_rows(found: Difference) -> list[tuple[str, ...]]:
    """What changed most, as text."""
    return [_changed(each) for each in found.largest]


def page(found: Difference, plan: Plan) -> str:
    """One HTML page that needs nothing beside it."""
    from models.report import body, figure, fill  # noqa: PLC0415 - it loads scikit-learn, for which a terminal need not wait

    return fill(
        "difference.html",
        "fraudstream",
        title=escape(f"Replay {plan.name}"),
        range=escape(f"from {plan.first} to {plan.last}"),
        summary=escape(summary(found)),
        decisions=body(decision_rows(found)),
        quantiles=body(quantile_rows(found)),
        largest=body(largest_rows(found)),
        plots="".join(figure(*plot) for plot in _plots(found)) if found.compared else "",
    )


def _changed(each: Changed) -> tuple[str, ...]:
    return (
        each.transaction_id,
        str(each.partition),
        str(each.offset),
        f"{each.live} {each.live_score:.6f}",
        f"{each.replayed} {each.replayed_score:.6f}",
        f"{each.difference:+.6f}",
    )


def _table(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    drawn = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for at, heading in enumerate(headings):
        drawn.add_column(heading, justify="right" if at else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*(Text(printable(each)) for each in row))
    return drawn


def _plots(found: Difference) -> list[tuple[str, str, str]]:
    return [
        ("One against the other", "On the line, both say the same.", _against(found)),
        ("Scores", "Share of the records, by score.", _distributions(found)),
        ("Difference", "Of the log-odds: to the right, the replay is more suspicious.", _differences(found)),
    ]


def _against(found: Difference) -> str:
    chosen = spread(np.arange(found.compared))
    live, replayed = np.array([(each.live_score, each.replayed_score) for each in found.largest]).reshape(-1, 2).T
    series = [
        Series("records", "model", found.live[chosen], found.replayed[chosen], "points"),
        Series("largest differences", "fraud", live, replayed, "points"),
    ]
    return chart(probabilities("live"), probabilities("replayed"), series, diagonal=True)


def _distributions(found: Difference) -> str:
    axis = probabilities("score")
    edges = np.linspace(logit(axis.low), logit(axis.high), _BINS)
    series = []
    for name, style, scores in (("live", "baseline", found.live), ("replayed", "model", found.replayed)):
        shown = logit(np.clip(scores, axis.low, axis.high))
        series.append(_area(name, style, expit(edges), outline(shown, np.ones(len(shown)), edges)))
    return chart(axis, shares("share of the records", _top(series)), series)


def _differences(found: Difference) -> str:
    before, after = (logit(np.clip(scores, _EDGE, 1 - _EDGE)) for scores in (found.live, found.replayed))
    difference = after - before
    reach = max(1.0, float(np.ceil(np.abs(difference).max())))
    edges = np.linspace(-reach, reach, _BINS)
    series = [_area("difference", "model", edges, outline(difference, np.ones(len(difference)), edges))]
    ticks = tuple((at, f"{at:+.3g}" if at else "0") for at in np.linspace(-reach, reach, 5).tolist())
    return chart(Axis("log-odds", -reach, reach, ticks), shares("share of the records", _top(series)), series)


def _area(name: str, style: str, edges: NDArray[np.float64], steps: NDArray[np.float64]) -> Series:
    return Series(name, style, np.repeat(edges, 2)[1:-1], steps, "area")


def _top(series: Sequence[Series]) -> float:
    return float(np.ceil(max(float(line.y.max()) for line in series) * 10) / 10)
