"""Say how two models differ: in what they take, in the scores they give, and in the decisions that follow."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logit

from models.manifest import Feature, Manifest, Policy
from models.model import Model
from schemas.dataset import Dataset

DECISIONS = ("approve", "review", "decline")

_EDGE = 1e-12


@dataclass(frozen=True, slots=True)
class FeatureChange:
    """What the second model wants otherwise of a feature; ``before`` and ``after`` are for people."""

    name: str
    change: Literal["added", "removed", "range", "missing"]
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class Pair:
    """n transactions as both models score them.

    ``first`` and ``second`` (n,) float64 probabilities; ``weights`` (n,) float64: the transactions of the real traffic
    that each row stands for; ``is_fraud`` (n,) bool.
    """

    first: NDArray[np.float64]
    second: NDArray[np.float64]
    weights: NDArray[np.float64]
    is_fraud: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Agreement:
    """How alike the two score ``rows`` rows that stand for ``transactions`` transactions.

    ``correlation`` is that of the log-odds (Pearson), None where one model gives a single score. The differences are
    those of the probabilities. ``decisions[i][j]`` counts the transactions for which the first model's policy says
    ``DECISIONS[i]`` and the second's ``DECISIONS[j]``; ``changed`` is the share of those that differ.
    """

    rows: int
    transactions: float
    correlation: float | None
    mean_difference: float
    largest_difference: float
    decisions: tuple[tuple[float, ...], ...]
    changed: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two models, called ``names`` here, on their golden rows and on the data set called ``data``."""

    names: tuple[str, str]
    manifests: tuple[Manifest, Manifest]
    changes: tuple[FeatureChange, ...]
    golden: Agreement
    data: str
    on_data: Agreement
    pair: Pair


def compare(names: tuple[str, str], first: Model, second: Model, dataset: Dataset, data: str) -> Comparison:
    """How the two differ, also on ``dataset``, which has all their features and is called ``data``."""
    is_fraud = dataset.frame["is_fraud"].to_numpy(np.bool_)
    weights = np.where(is_fraud, 1.0, 1 / dataset.legitimate_kept)
    pair = score(first, second, dataset.frame, weights, is_fraud)
    return Comparison(
        names=names,
        manifests=(first.manifest, second.manifest),
        changes=feature_changes(first.manifest, second.manifest),
        golden=agreement(on_golden_rows(first, second), first.policy, second.policy),
        data=data,
        on_data=agreement(pair, first.policy, second.policy),
        pair=pair,
    )


def feature_changes(first: Manifest, second: Manifest) -> tuple[FeatureChange, ...]:
    """What an input must have for the second model that it need not have for the first, and the reverse.

    The order of the features is no change: they are found by name.
    """
    before, after = ({feature.name: feature for feature in manifest.features} for manifest in (first, second))
    changes = []
    for name in dict.fromkeys((*before, *after)):
        if name not in after:
            changes.append(FeatureChange(name, "removed", _range(before[name]), ""))
        elif name not in before:
            changes.append(FeatureChange(name, "added", "", _range(after[name])))
        else:
            changes += _changes(before[name], after[name])
    return tuple(changes)


def on_golden_rows(first: Model, second: Model) -> Pair:
    """The golden rows of both, each once; a feature that a row does not have is missing in it."""
    frame = pd.concat([_golden(model) for model in (first, second)], ignore_index=True).drop_duplicates()
    return score(first, second, frame, np.ones(len(frame)), np.zeros(len(frame), np.bool_))


def score(
    first: Model, second: Model, frame: pd.DataFrame, weights: NDArray[np.float64], is_fraud: NDArray[np.bool_]
) -> Pair:
    """The rows of ``frame``, whose columns are features by name, as both models score them."""
    one, other = (
        model.score(frame.reindex(columns=list(model.features)).to_numpy(np.float32)) for model in (first, second)
    )
    return Pair(one, other, weights, is_fraud)


def agreement(pair: Pair, first: Policy, second: Policy) -> Agreement:
    """How alike the scores are, and which decisions change, each model under its own policy."""
    differences = np.abs(pair.first - pair.second)
    counts = np.zeros((3, 3))
    np.add.at(counts, (_decisions(pair.first, first), _decisions(pair.second, second)), pair.weights)
    total = float(pair.weights.sum())
    return Agreement(
        rows=len(differences),
        transactions=total,
        correlation=_correlation(pair),
        mean_difference=float(np.average(differences, weights=pair.weights)),
        largest_difference=float(differences.max()),
        decisions=tuple(tuple(row) for row in counts.tolist()),
        changed=float(counts[~np.eye(3, dtype=bool)].sum()) / total,
    )


def log_odds(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) probabilities to (n,) finite log-odds."""
    return np.asarray(logit(np.clip(scores, _EDGE, 1 - _EDGE)))


def _changes(before: Feature, after: Feature) -> list[FeatureChange]:
    changes = []
    if _range(before) != _range(after):
        changes.append(FeatureChange(before.name, "range", _range(before), _range(after)))
    if before.missing != after.missing:
        changes.append(FeatureChange(before.name, "missing", before.missing, after.missing))
    return changes


def _range(feature: Feature) -> str:
    if feature.minimum is None or feature.maximum is None:
        return "any value"
    return f"{feature.minimum:.6g} … {feature.maximum:.6g}"


def _golden(model: Model) -> pd.DataFrame:
    rows = np.array([row.features for row in model.manifest.golden_rows], np.float64)
    return pd.DataFrame(rows, columns=list(model.features))


def _decisions(scores: NDArray[np.float64], policy: Policy) -> NDArray[np.intp]:
    """(n,) probabilities to (n,) indexes into DECISIONS."""
    return np.digitize(scores, (policy.review_at, policy.decline_at))


def _correlation(pair: Pair) -> float | None:
    first, second = log_odds(pair.first), log_odds(pair.second)
    covariance = np.cov(first, second, aweights=pair.weights, ddof=0)
    deviations = np.sqrt(covariance[0, 0] * covariance[1, 1])
    return float(covariance[0, 1] / deviations) if deviations > 0 else None
