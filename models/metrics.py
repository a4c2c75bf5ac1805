"""Name the figures by which a model is judged, apart from what computes them: a worker reads them without it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AtThreshold:
    """What flagging every score from ``threshold`` on means; counts and shares are those of the real traffic.

    ``precision`` is None where nothing is flagged. ``flagged`` is the share of all transactions.
    """

    threshold: float
    true_positives: float
    false_positives: float
    false_negatives: float
    true_negatives: float
    precision: float | None
    recall: float
    flagged: float


@dataclass(frozen=True, slots=True)
class Cost:
    """Currency units over the period: frauds approved, people's work, both, and the frauds where nothing is stopped.

    A review costs ``review_cost`` and finds out the truth. A declined legitimate transaction costs one too: somebody
    calls, and somebody looks.
    """

    missed_fraud: float
    handling: float
    total: float
    without_model: float
    review_cost: float


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Transactions with scores in one range: the mean of the scores, the share of frauds, and how many they are."""

    predicted: float
    observed: float
    transactions: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a model did on ``rows`` rows that stand for ``transactions`` transactions, ``frauds`` of them fraudulent.

    ``review`` counts everything that is not approved, declined or reviewed; ``decline`` what is declined.
    """

    rows: int
    transactions: float
    frauds: int
    roc_auc: float
    pr_auc: float
    recall_at_1_percent_fpr: float
    recall_at_01_percent_fpr: float
    brier: float
    calibration_error: float
    calibration: tuple[CalibrationBin, ...]
    review: AtThreshold
    decline: AtThreshold
    reviewed: float
    cost: Cost


@dataclass(frozen=True, slots=True)
class Metrics:
    """The model and the baseline on the held-out test part, which is later than all they learned from."""

    model: Evaluation
    baseline: Evaluation
