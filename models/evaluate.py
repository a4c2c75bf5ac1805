"""Judge scores against labels: how well they rank, how true they are, and what a policy made of them costs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score, roc_curve

from models.metrics import AtThreshold, CalibrationBin, Cost, Evaluation

BIN_EDGES = (0.0, 1e-4, 1e-3, 0.01, 0.05, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
"""Bins of equal width would put all but a few hundred transactions in the first one."""


@dataclass(frozen=True, slots=True)
class Scored:
    """n transactions with their scores, in any order.

    ``scores`` (n,) float64 probabilities; ``is_fraud`` (n,) bool; ``amounts`` (n,) float64, currency units;
    ``weights`` (n,) float64: how many transactions of the real traffic each row stands for. A legitimate row of a data
    set in which only the share beta was kept stands for 1 / beta of them.
    """

    scores: NDArray[np.float64]
    is_fraud: NDArray[np.bool_]
    amounts: NDArray[np.float64]
    weights: NDArray[np.float64]


def evaluate(scored: Scored, review_at: float, decline_at: float, review_cost: float) -> Evaluation:
    """Everything a report says of these scores under the policy of the two thresholds (probabilities).

    ``review_cost`` is in currency units a review. Both classes must be present.
    """
    labels, scores, weights = scored.is_fraud, scored.scores, scored.weights
    bins = calibration(scored)
    review, decline = at_threshold(scored, review_at), at_threshold(scored, decline_at)
    return Evaluation(
        rows=len(labels),
        transactions=float(weights.sum()),
        frauds=int(labels.sum()),
        roc_auc=float(roc_auc_score(labels, scores, sample_weight=weights)),
        pr_auc=float(average_precision_score(labels, scores, sample_weight=weights)),
        recall_at_1_percent_fpr=recall_at_fpr(scored, 0.01),
        recall_at_01_percent_fpr=recall_at_fpr(scored, 0.001),
        brier=float(brier_score_loss(labels, scores, sample_weight=weights)),
        calibration_error=calibration_error(bins),
        calibration=bins,
        review=review,
        decline=decline,
        reviewed=review.flagged - decline.flagged,
        cost=cost(scored, review_at, decline_at, review_cost),
    )


def recall_at_fpr(scored: Scored, fpr: float) -> float:
    """The largest share of frauds that a threshold finds while it flags at most ``fpr`` of the legitimate traffic."""
    rates, recalls, _ = roc_curve(scored.is_fraud, scored.scores, sample_weight=scored.weights, drop_intermediate=False)
    return float(recalls[rates <= fpr].max())


def at_threshold(scored: Scored, threshold: float) -> AtThreshold:
    """The confusion counts of flagging every score ≥ ``threshold``."""
    flagged, weights = scored.scores >= threshold, scored.weights
    found = float(weights[flagged & scored.is_fraud].sum())
    alarms = float(weights[flagged & ~scored.is_fraud].sum())
    missed = float(weights[~flagged & scored.is_fraud].sum())
    passed = float(weights[~flagged & ~scored.is_fraud].sum())
    return AtThreshold(
        threshold=threshold,
        true_positives=found,
        false_positives=alarms,
        false_negatives=missed,
        true_negatives=passed,
        precision=found / (found + alarms) if flagged.any() else None,
        recall=found / (found + missed),
        flagged=(found + alarms) / float(weights.sum()),
    )


def cost(scored: Scored, review_at: float, decline_at: float, review_cost: float) -> Cost:
    """What the policy costs: the amounts of the frauds it approves, and a review for each that people look at."""
    losses = scored.amounts * scored.weights * scored.is_fraud
    approved, declined = scored.scores < review_at, scored.scores >= decline_at
    looked_at = (~approved & ~declined) | (declined & ~scored.is_fraud)
    missed = float(losses[approved].sum())
    handling = review_cost * float(scored.weights[looked_at].sum())
    return Cost(missed, handling, missed + handling, float(losses.sum()), review_cost)


def calibration(scored: Scored) -> tuple[CalibrationBin, ...]:
    """The reliability of the scores, bin by bin of ``BIN_EDGES``; empty bins are left out."""
    index = np.clip(np.searchsorted(BIN_EDGES, scored.scores, side="right") - 1, 0, len(BIN_EDGES) - 2)
    count = len(BIN_EDGES) - 1
    weight = np.bincount(index, scored.weights, count)
    predicted = np.bincount(index, scored.weights * scored.scores, count)
    observed = np.bincount(index, scored.weights * scored.is_fraud, count)
    return tuple(
        CalibrationBin(float(predicted[i] / weight[i]), float(observed[i] / weight[i]), float(weight[i]))
        for i in np.flatnonzero(weight)
    )


def calibration_error(bins: tuple[CalibrationBin, ...]) -> float:
    """The expected calibration error: the distance of predicted from observed, weighted by transactions."""
    total = sum(bin_.transactions for bin_ in bins)
    return sum(abs(bin_.predicted - bin_.observed) * bin_.transactions for bin_ in bins) / total
