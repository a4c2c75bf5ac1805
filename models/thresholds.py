"""Choose from which score on transactions are reviewed and declined, for a budget that somebody set."""

from hashlib import sha256

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from models.evaluate import Scored
from models.manifest import Policy

NEVER = 1.0
"""A threshold that no probability of a tree model reaches."""


def choose(scored: Scored, decline_precision: float, review_rate: float) -> Policy:
    """The policy that declines as many frauds as it may, then reviews as much as it may.

    ``decline_precision``: of all that is declined at least this share is fraud. ``review_rate``: at most this share of
    all transactions is reviewed. Both hold on ``scored``, which the model must not have been trained on. Where no
    threshold is precise enough nothing is declined.
    """
    decline_at = decline_threshold(scored, decline_precision)
    review_at = review_threshold(scored, decline_at, review_rate)
    return Policy(sha256(f"{review_at!r} {decline_at!r}".encode()).hexdigest()[:8], review_at, decline_at)


def decline_threshold(scored: Scored, precision: float) -> float:
    """The lowest threshold at which the share of frauds among the flagged is at least ``precision``."""
    scores, frauds, flagged = _cumulative(scored)
    enough = np.flatnonzero(frauds >= precision * flagged)
    return _below(scores, int(enough[-1])) if len(enough) else NEVER


def review_threshold(scored: Scored, decline_at: float, rate: float) -> float:
    """The lowest threshold at which at most the share ``rate`` of the traffic lies between it and ``decline_at``."""
    scores, _, flagged = _cumulative(scored)
    declined = float(scored.weights[scored.scores >= decline_at].sum())
    affordable = np.flatnonzero((scores < decline_at) & (flagged - declined <= rate * flagged[-1]))
    return _below(scores, int(affordable[-1])) if len(affordable) else decline_at


def _cumulative(scored: Scored) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Distinct scores, falling, with the weight of the frauds and of all transactions from each on."""
    order = np.argsort(-scored.scores, kind="stable")
    scores, weights = scored.scores[order], scored.weights[order]
    last_of_ties = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
    frauds = np.cumsum(weights * scored.is_fraud[order])
    return scores[last_of_ties], frauds[last_of_ties], np.cumsum(weights)[last_of_ties]


def _below(scores: NDArray[np.float64], index: int) -> float:
    """A threshold halfway (in log-odds) to the next lower score: no rounding on any machine carries a score over it."""
    neighbours = scores[index : index + 2]
    return float(expit(logit(neighbours).mean()))
