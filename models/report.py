"""Show a person what a model is worth: a table for the terminal, and a page with plots that needs nothing beside it."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from string import Template

import numpy as np
from numpy.typing import NDArray
from rich.table import Table
from scipy.special import expit, logit
from sklearn.metrics import precision_recall_curve, roc_curve

from models.evaluate import Scored, calibration
from models.manifest import Manifest
from models.metrics import AtThreshold, Evaluation
from models.plots import Mark, Series, amounts, chart, powers, probabilities, shares
from models.thresholds import NEVER


def table(manifest: Manifest) -> Table:
    """The figures of the model beside those of the baseline, for the terminal."""
    drawn = Table(title=f"{manifest.name} {manifest.version} on the held-out test part", title_justify="left")
    drawn.add_column()
    drawn.add_column("model", justify="right")
    drawn.add_column("logistic regression", justify="right")
    for label, model, baseline in rows(manifest):
        drawn.add_row(label, model, baseline)
    return drawn


def rows(manifest: Manifest) -> list[tuple[str, str, str]]:
    """(figure, of the model, of the baseline) as text."""
    sides = zip(figures(manifest.metrics.model), figures(manifest.metrics.baseline), strict=True)
    return [(label, model, baseline) for (label, model), (_, baseline) in sides]


def page(manifest: Manifest, test: Scored, baseline: Scored) -> str:
    """One HTML page about the model, whose test part is scored in ``test`` and by the baseline in ``baseline``."""
    evaluation, data = manifest.metrics.model, manifest.training_data
    return fill(
        "report.html",
        name=escape(manifest.name),
        version=escape(manifest.version),
        summary=_summary(evaluation),
        thinning=_thinning(data.legitimate_kept),
        figures="".join(f"<tr><th>{a}</th><td>{b}</td><td>{c}</td></tr>" for a, b, c in rows(manifest)),
        confusion=_confusion("declined", evaluation.decline) + _confusion("declined or reviewed", evaluation.review),
        plots="".join(figure(*plot) for plot in _plots(manifest, test, baseline)),
        facts="".join(f"<tr><th>{a}</th><td>{escape(b)}</td></tr>" for a, b in facts(manifest)),
    )


def fill(template: str, package: str = "models", **parts: str) -> str:
    """A page of a ``package`` of ours with the common style and ``parts`` in their places."""
    style = files("models").joinpath("page.css").read_text(encoding="utf-8")
    return Template(files(package).joinpath(template).read_text(encoding="utf-8")).substitute(parts, style=style)


def body(rows: Sequence[Sequence[str]]) -> str:
    """Rows of a table, each with its label first, all as text."""
    return "".join(
        f"<tr><th>{escape(label)}</th>{''.join(f'<td>{escape(value)}</td>' for value in values)}</tr>"
        for label, *values in rows
    )


def figures(of: Evaluation) -> list[tuple[str, str]]:
    """(figure, value) as text."""
    return [
        ("ROC-AUC", f"{of.roc_auc:.4f}"),
        ("PR-AUC", f"{of.pr_auc:.4f}"),
        ("recall at 1 % false positives", f"{of.recall_at_1_percent_fpr:.3f}"),
        ("recall at 0.1 % false positives", f"{of.recall_at_01_percent_fpr:.3f}"),
        ("Brier score", f"{of.brier:.6f}"),
        ("calibration error", f"{of.calibration_error:.6f}"),
        ("decline from a score of", _score(of.decline.threshold)),
        ("… precision", _share(of.decline.precision)),
        ("… recall", _share(of.decline.recall)),
        ("review from a score of", _score(of.review.threshold)),
        ("… share of traffic reviewed", f"{100 * of.reviewed:.3f} %"),
        ("… precision of all that is flagged", _share(of.review.precision)),
        ("… recall of all that is flagged", _share(of.review.recall)),
        ("cost of missed fraud", f"{of.cost.missed_fraud:,.0f}"),
        (f"cost of handling, {of.cost.review_cost:g} each", f"{of.cost.handling:,.0f}"),
        ("total cost", f"{of.cost.total:,.0f}"),
        ("total cost without a model", f"{of.cost.without_model:,.0f}"),
    ]


def _summary(of: Evaluation) -> str:
    precision = of.decline.precision
    declines = (
        f"It declines {100 * of.decline.recall:.0f} % of the frauds by itself, and {100 * precision:.0f} % of what it "
        "declines is fraud."
        if precision is not None
        else "It declines nothing by itself: no threshold was precise enough."
    )
    return (
        f"On {of.transactions:,.0f} later transactions with {of.frauds} frauds, none of which it was trained or tuned "
        f"on: {declines} With {100 * of.reviewed:.2f} % of the traffic reviewed by people it finds "
        f"{100 * of.review.recall:.0f} % of the frauds. That leaves a cost of {of.cost.total:,.0f} where doing nothing "
        f"costs {of.cost.without_model:,.0f}."
    )


def _thinning(kept: float) -> str:
    if kept == 1:
        return ""
    return (
        f"<p>Only {100 * kept:.1f} % of the legitimate transactions were left in the data set. Each of them counts for "
        f"{1 / kept:.1f} here, and the probabilities are corrected to the real share of frauds: what you read is what "
        "the whole traffic would show.</p>"
    )


def _confusion(name: str, at: AtThreshold) -> str:
    counts = (at.true_positives, at.false_positives, at.false_negatives, at.true_negatives)
    cells = "".join(f"<td>{count:,.0f}</td>" for count in counts)
    return f"<tr><th>{name}</th><td>{_score(at.threshold)}</td>{cells}</tr>"


def facts(manifest: Manifest) -> list[tuple[str, str]]:
    """(what, from what the model was made) as text."""
    data = manifest.training_data
    return [
        ("data set", f"{data.rows:,} rows, {data.frauds:,} frauds, sha256 {data.sha256}"),
        ("time", f"{data.first_time:,.0f} s to {data.last_time:,.0f} s"),
        ("features", ", ".join(feature.name for feature in manifest.features)),
        ("settings", ", ".join(f"{name} {value}" for name, value in manifest.settings.items())),
        ("libraries", ", ".join(f"{name} {value}" for name, value in manifest.libraries.items())),
    ]


def figure(title: str, note: str, svg: str) -> str:
    """A plot with what it shows."""
    return f"<figure><figcaption><b>{title}</b>{note}</figcaption>{svg}</figure>"


def _plots(manifest: Manifest, test: Scored, baseline: Scored) -> list[tuple[str, str, str]]:
    policy = manifest.policy
    marks = [Mark("review", policy.review_at), Mark("decline", policy.decline_at)]
    return [
        ("Precision and recall", "The further to the upper right, the better.", _precision_recall(test, baseline)),
        ("ROC", "False positives on a logarithmic axis: the left side is where one works.", _roc(test, baseline)),
        ("Calibration", "On the line, a score of 10 % means one fraud in ten.", _calibration(test, baseline)),
        ("Scores", "Share of each class, by score.", _histogram(test, marks)),
        ("Thresholds", "What flagging everything from a score on would give.", _thresholds(test, marks)),
        (
            "Cost",
            "Missed fraud and reviews, if all from a score on were reviewed.",
            _costs(test, baseline, manifest.metrics.model.cost.review_cost, marks),
        ),
    ]


def _both(test: Scored, baseline: Scored) -> list[tuple[str, str, Scored]]:
    return [("logistic regression", "baseline", baseline), ("model", "model", test)]


def _precision_recall(test: Scored, baseline: Scored) -> str:
    series = []
    for name, style, scored in _both(test, baseline):
        precision, recall, _ = precision_recall_curve(scored.is_fraud, scored.scores, sample_weight=scored.weights)
        series.append(Series(name, style, recall, precision))
    return chart(shares("recall"), shares("precision"), series)


def _roc(test: Scored, baseline: Scored) -> str:
    series = []
    for name, style, scored in _both(test, baseline):
        false_positives, recall, _ = roc_curve(scored.is_fraud, scored.scores, sample_weight=scored.weights)
        series.append(Series(name, style, false_positives, recall))
    return chart(powers("false positives", 1e-5), shares("recall"), series)


def _calibration(test: Scored, baseline: Scored) -> str:
    series = []
    for name, style, scored in _both(test, baseline):
        bins = calibration(scored)
        predicted, observed = (np.array([getattr(bin_, of) for bin_ in bins]) for of in ("predicted", "observed"))
        series.append(Series(name, style, predicted, observed, "points"))
    predicted_axis, observed_axis = (probabilities(label) for label in ("mean score", "share of frauds"))
    return chart(predicted_axis, observed_axis, series, diagonal=True)


def _histogram(test: Scored, marks: list[Mark]) -> str:
    axis = probabilities("score")
    edges = np.linspace(logit(axis.low), logit(axis.high), 49)
    places = logit(np.clip(test.scores, axis.low, axis.high))
    series = []
    for name, style, of_class in (("legitimate", "legitimate", ~test.is_fraud), ("fraud", "fraud", test.is_fraud)):
        counts, _ = np.histogram(places[of_class], edges)
        steps = np.repeat(counts / counts.sum(), 2)
        series.append(Series(name, style, expit(np.repeat(edges, 2)[1:-1]), steps, "area"))
    highest = max(float(line.y.max()) for line in series)
    return chart(axis, shares("share of the class", np.ceil(highest * 10) / 10), series, marks)


def _thresholds(test: Scored, marks: list[Mark]) -> str:
    precision, recall, thresholds = precision_recall_curve(
        test.is_fraud, test.scores, sample_weight=test.weights, drop_intermediate=True
    )
    series = [
        Series("recall", "fraud", thresholds, recall[:-1]),
        Series("precision", "model", thresholds, precision[:-1]),
    ]
    return chart(probabilities("threshold"), shares("share"), series, marks)


def _costs(test: Scored, baseline: Scored, review_cost: float, marks: list[Mark]) -> str:
    without = float((test.amounts * test.weights)[test.is_fraud].sum())
    top = 1.25 * without
    series = []
    for name, style, scored in _both(test, baseline):
        thresholds, costs = _cost_curve(scored, review_cost)
        shown = costs <= top
        series.append(Series(name, style, thresholds[shown], costs[shown]))
    return chart(probabilities("threshold"), amounts("cost", top), series, marks)


def _cost_curve(scored: Scored, review_cost: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Thresholds, falling, and the cost of reviewing everything from each on."""
    order = np.argsort(-scored.scores, kind="stable")
    losses = (scored.amounts * scored.weights * scored.is_fraud)[order]
    missed = losses.sum() - np.cumsum(losses)
    return scored.scores[order], missed + review_cost * np.cumsum(scored.weights[order])


def _score(probability: float) -> str:
    return f"{100 * probability:.3g} %" if probability < NEVER else "never"


def _share(value: float | None) -> str:
    return "none" if value is None else f"{100 * value:.1f} %"
