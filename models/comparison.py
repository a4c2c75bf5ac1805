"""Show a person how two models differ: tables for the terminal, and a page with plots that needs nothing beside it."""

from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from scipy.special import expit, logit
from sklearn.metrics import precision_recall_curve

from models.compare import DECISIONS, Agreement, Comparison, log_odds
from models.manifest import Manifest
from models.plots import Axis, Mark, Series, chart, outline, probabilities, shares, spread
from models.report import body, figure, figures, fill


def tables(comparison: Comparison) -> list[Table]:
    """The figures, the features, the agreement and the decisions, for the terminal."""
    first, second = comparison.names
    changes = [(change.name, change.change, change.before, change.after) for change in comparison.changes]
    return [
        draw("each on the test part of its own training", ("", first, second), metric_rows(comparison)),
        draw("features", ("feature", "change", first, second), changes or [("none differs", "", "", "")]),
        draw("agreement", ("", "golden rows", comparison.data), agreement_rows(comparison)),
        draw(
            f"transactions of {comparison.data}, by decision",
            (f"{first} ↓ · {second} →", *DECISIONS),
            decision_rows(comparison),
        ),
    ]


def metric_rows(comparison: Comparison) -> list[tuple[str, str, str]]:
    """(figure, of the first, of the second) as text."""
    first, second = (figures(manifest.metrics.model) for manifest in comparison.manifests)
    return [(label, one, other) for (label, one), (_, other) in zip(first, second, strict=True)]


def agreement_rows(comparison: Comparison) -> list[tuple[str, str, str]]:
    """(figure, on the golden rows, on the data set) as text."""
    sides = zip(_agreement(comparison.golden), _agreement(comparison.on_data), strict=True)
    return [(label, golden, data) for (label, golden), (_, data) in sides]


def decision_rows(comparison: Comparison) -> list[tuple[str, ...]]:
    """(decision of the first, transactions by decision of the second) as text."""
    return [
        (name, *(f"{count:,.0f}" for count in counts))
        for name, counts in zip(DECISIONS, comparison.on_data.decisions, strict=True)
    ]


def page(comparison: Comparison) -> str:
    """One HTML page about the two."""
    first, second = map(escape, comparison.names)
    return fill(
        "comparison.html",
        first=first,
        second=second,
        data=escape(comparison.data),
        summary=_summary(comparison),
        plots="".join(figure(*plot) for plot in _plots(comparison)),
        decisions=body(decision_rows(comparison)),
        agreement=body(agreement_rows(comparison)),
        figures=body(metric_rows(comparison)),
        features=_features(comparison),
    )


def draw(title: str, headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Rows of text under headings, for the terminal; all columns but the first to the right."""
    drawn = Table(title=title, title_justify="left")
    for at, heading in enumerate(headings):
        drawn.add_column(heading, justify="right" if at else "left", overflow="fold")
    for row in rows:
        drawn.add_row(*row)
    return drawn


def _agreement(of: Agreement) -> list[tuple[str, str]]:
    return [
        ("rows", f"{of.rows:,}"),
        ("transactions they stand for", f"{of.transactions:,.0f}"),
        ("correlation of the log-odds", "none" if of.correlation is None else f"{of.correlation:.4f}"),
        ("mean difference of the scores", f"{of.mean_difference:.6f}"),
        ("largest difference", f"{of.largest_difference:.6f}"),
        ("decisions that change", f"{100 * of.changed:.3f} %"),
    ]


def _summary(comparison: Comparison) -> str:
    on_data = comparison.on_data
    return (
        f"Of {on_data.transactions:,.0f} transactions, {100 * on_data.changed:.3f} % are decided otherwise when "
        f"{escape(comparison.names[1])} takes the place of {escape(comparison.names[0])}, each under its own policy. "
        f"Their scores differ by {on_data.mean_difference:.6f} on average."
    )


def _features(comparison: Comparison) -> str:
    if not comparison.changes:
        return "<p>Both take the same features, within the same ranges.</p>"
    first, second = map(escape, comparison.names)
    rows = body([(change.name, change.change, change.before, change.after) for change in comparison.changes])
    return (
        '<div class="scroll"><table><thead><tr><th>feature</th><th>change</th>'
        f"<th>{first}</th><th>{second}</th></tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _plots(comparison: Comparison) -> list[tuple[str, str, str]]:
    plots = [
        ("One against the other", "On the line, both say the same.", _against(comparison)),
        ("Scores", "Share of the traffic, by score.", _distributions(comparison)),
        ("Difference", "Of the log-odds: to the right, the second model is more suspicious.", _differences(comparison)),
        ("Calibration", "Each on its own test part: on the line, 10 % means one in ten.", _calibrations(comparison)),
    ]
    if comparison.pair.is_fraud.any():
        note = "On this data set; a model looks better than it is on what it was trained on."
        plots.append(("Precision and recall", note, _precision_recall(comparison)))
    return plots


def _against(comparison: Comparison) -> str:
    pair = comparison.pair
    series = []
    for name, style, rows in (("legitimate", "legitimate", ~pair.is_fraud), ("fraud", "fraud", pair.is_fraud)):
        chosen = spread(np.flatnonzero(rows))
        series.append(Series(name, style, pair.first[chosen], pair.second[chosen], "points"))
    first, second = comparison.names
    return chart(probabilities(first), probabilities(second), series, diagonal=True)


def _distributions(comparison: Comparison) -> str:
    axis = probabilities("score")
    edges = np.linspace(logit(axis.low), logit(axis.high), 49)
    series, marks = [], []
    for name, style, scores, manifest in _sides(comparison):
        steps = outline(logit(np.clip(scores, axis.low, axis.high)), comparison.pair.weights, edges)
        series.append(Series(name, style, expit(np.repeat(edges, 2)[1:-1]), steps, "area"))
        marks.append(Mark(f"decline, {name}", manifest.policy.decline_at))
    return chart(axis, shares("share of the traffic", _top(series)), series, marks)


def _differences(comparison: Comparison) -> str:
    difference = log_odds(comparison.pair.second) - log_odds(comparison.pair.first)
    reach = max(1.0, float(np.ceil(np.abs(difference).max())))
    edges = np.linspace(-reach, reach, 50)
    steps = outline(difference, comparison.pair.weights, edges)
    series = [Series("difference", "model", np.repeat(edges, 2)[1:-1], steps, "area")]
    ticks = tuple((at, f"{at:+.3g}" if at else "0") for at in np.linspace(-reach, reach, 5).tolist())
    return chart(Axis("log-odds", -reach, reach, ticks), shares("share of the traffic", _top(series)), series)


def _calibrations(comparison: Comparison) -> str:
    series = []
    for name, style, _, manifest in _sides(comparison):
        bins = manifest.metrics.model.calibration
        predicted, observed = (np.array([getattr(bin_, of) for bin_ in bins]) for of in ("predicted", "observed"))
        series.append(Series(name, style, predicted, observed, "points"))
    return chart(probabilities("mean score"), probabilities("share of frauds"), series, diagonal=True)


def _precision_recall(comparison: Comparison) -> str:
    pair = comparison.pair
    series = []
    for name, style, scores, _ in _sides(comparison):
        precision, recall, _ = precision_recall_curve(pair.is_fraud, scores, sample_weight=pair.weights)
        series.append(Series(name, style, recall, precision))
    return chart(shares("recall"), shares("precision"), series)


def _sides(comparison: Comparison) -> list[tuple[str, str, NDArray[np.float64], Manifest]]:
    """(name, style, scores, manifest) of each."""
    (one, other), (before, after), pair = comparison.names, comparison.manifests, comparison.pair
    return [(one, "baseline", pair.first, before), (other, "model", pair.second, after)]


def _top(series: Sequence[Series]) -> float:
    return float(np.ceil(max(float(line.y.max()) for line in series) * 10) / 10)
