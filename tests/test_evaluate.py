"""The figures by which a model is judged, and the thresholds that are chosen from them."""

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score, roc_curve

from models import thresholds
from models.evaluate import Scored, at_threshold, calibration, calibration_error, cost, evaluate, recall_at_fpr


def make(scores, is_fraud, amounts=None, weights=None):
    count = len(scores)
    return Scored(
        np.array(scores, np.float64),
        np.array(is_fraud, np.bool_),
        np.ones(count) if amounts is None else np.array(amounts, np.float64),
        np.ones(count) if weights is None else np.array(weights, np.float64),
    )


def traffic(rng, count, fraud_share=0.05):
    """Calibrated scores: each transaction is a fraud with the probability that it is given."""
    scores = expit(rng.normal(logit(fraud_share), 1.5, count))
    return make(scores, rng.random(count) < scores, rng.exponential(50, count))


@pytest.fixture
def hand():
    """Seven transactions, falling by score, that can be counted by hand."""
    return make(
        [0.9, 0.8, 0.7, 0.4, 0.3, 0.2, 0.1],
        [True, True, False, True, False, False, False],
        [100.0, 10.0, 5.0, 50.0, 5.0, 5.0, 5.0],
    )


def test_counts_at_a_threshold_are_those_counted_by_hand(hand):
    at = at_threshold(hand, 0.7)

    assert (at.true_positives, at.false_positives, at.false_negatives, at.true_negatives) == (2, 1, 1, 3)
    assert at.precision == pytest.approx(2 / 3)
    assert at.recall == pytest.approx(2 / 3)
    assert at.flagged == pytest.approx(3 / 7)


def test_precision_of_nothing_is_unknown_not_perfect(hand):
    assert at_threshold(hand, 0.95).precision is None


def test_cost_is_missed_frauds_and_a_review_for_each_that_people_look_at(hand):
    # Approved below 0.5: the fraud of 50 is missed. Reviewed: 0.7. Declined from 0.75 on: both frauds, no false one.
    assert cost(hand, review_at=0.5, decline_at=0.75, review_cost=4.0).total == 50 + 4
    # Declined from 0.65 on: one of the three is legitimate, and somebody will call.
    assert cost(hand, review_at=0.65, decline_at=0.65, review_cost=4.0).total == 50 + 4
    assert cost(hand, review_at=0.5, decline_at=0.75, review_cost=4.0).without_model == 160


def test_figures_equal_those_of_scikit_learn():
    scored = traffic(np.random.default_rng(5), 4000)

    evaluation = evaluate(scored, 0.2, 0.6, 5.0)

    assert evaluation.roc_auc == pytest.approx(roc_auc_score(scored.is_fraud, scored.scores))
    assert evaluation.pr_auc == pytest.approx(average_precision_score(scored.is_fraud, scored.scores))
    assert evaluation.brier == pytest.approx(brier_score_loss(scored.is_fraud, scored.scores))
    assert evaluation.reviewed == pytest.approx(np.mean((scored.scores >= 0.2) & (scored.scores < 0.6)))


def test_recall_at_a_false_positive_rate_never_exceeds_that_rate():
    scored = traffic(np.random.default_rng(6), 4000)

    recall = recall_at_fpr(scored, 0.01)

    rates, recalls, cuts = roc_curve(scored.is_fraud, scored.scores, drop_intermediate=False)
    at = int(np.flatnonzero(recalls == recall)[0])
    assert rates[at] <= 0.01
    assert at_threshold(scored, cuts[at]).recall == recall
    assert recalls[np.searchsorted(rates, 0.01, side="right")] >= recall


def test_recall_at_a_false_positive_rate_counted_by_hand(hand):
    assert recall_at_fpr(hand, 0.0) == pytest.approx(2 / 3)
    assert recall_at_fpr(hand, 0.25) == 1.0


def test_weighted_figures_equal_those_of_the_data_with_each_row_repeated():
    rng = np.random.default_rng(7)
    base = traffic(rng, 1500)
    copies = np.where(base.is_fraud, 2, 14)
    weighted = Scored(base.scores, base.is_fraud, base.amounts, copies.astype(np.float64))
    expanded = make(*(np.repeat(of, copies) for of in (base.scores, base.is_fraud, base.amounts)))

    a, b = evaluate(weighted, 0.2, 0.6, 5.0), evaluate(expanded, 0.2, 0.6, 5.0)

    assert a.decline.precision == pytest.approx(b.decline.precision)
    assert a.decline.precision != at_threshold(base, 0.6).precision
    assert (a.review.flagged, a.reviewed) == pytest.approx((b.review.flagged, b.reviewed))
    assert (a.roc_auc, a.pr_auc, a.brier) == pytest.approx((b.roc_auc, b.pr_auc, b.brier))
    assert (a.recall_at_1_percent_fpr, a.calibration_error) == pytest.approx(
        (b.recall_at_1_percent_fpr, b.calibration_error)
    )
    assert a.cost.total == pytest.approx(b.cost.total)


def test_calibrated_scores_have_no_calibration_error_and_shifted_ones_do():
    scored = traffic(np.random.default_rng(8), 200_000)
    shifted = make(expit(logit(scored.scores) + 1.0), scored.is_fraud)

    assert calibration_error(calibration(scored)) < 0.002
    assert calibration_error(calibration(shifted)) > 0.03


def test_calibration_counts_every_transaction_once_even_at_the_edges():
    bins = calibration(make([0.0, 1e-4, 0.05, 1.0], [False, False, True, True]))

    assert sum(bin_.transactions for bin_ in bins) == 4
    assert bins[-1].predicted == 1.0
    assert bins[-1].observed == 1.0


def test_declines_as_much_as_the_precision_allows(hand):
    # Two frauds of two, two of three, three of four.
    assert 0.7 < thresholds.decline_threshold(hand, 0.9) < 0.8
    assert 0.3 < thresholds.decline_threshold(hand, 0.75) < 0.4


def test_declines_nothing_where_no_threshold_is_precise_enough():
    hopeless = make([0.9, 0.5], [False, True])

    policy = thresholds.choose(hopeless, decline_precision=0.9, review_rate=0.001)

    assert policy.decline_at == thresholds.NEVER
    assert policy.review_at == thresholds.NEVER


def test_reviews_as_much_as_the_budget_allows_beside_what_is_declined(hand):
    decline_at = thresholds.decline_threshold(hand, 0.9)

    assert thresholds.review_threshold(hand, decline_at, 0.1) == decline_at
    assert 0.4 < thresholds.review_threshold(hand, decline_at, 1 / 7) < 0.7
    assert 0.2 < thresholds.review_threshold(hand, decline_at, 3 / 7) < 0.3


def test_equal_scores_are_never_parted_by_a_threshold():
    tied = make([0.9, 0.5, 0.5, 0.5, 0.1], [True, True, False, False, False])

    assert 0.5 < thresholds.decline_threshold(tied, 0.6) < 0.9
    assert 0.5 < thresholds.review_threshold(tied, 0.95, 0.5) < 0.9


def test_the_budgets_hold_on_the_data_the_thresholds_were_chosen_on():
    rng = np.random.default_rng(9)
    base = traffic(rng, 20_000)
    scored = Scored(base.scores, base.is_fraud, base.amounts, np.where(base.is_fraud, 1.0, 3.0))

    policy = thresholds.choose(scored, decline_precision=0.7, review_rate=0.02)
    evaluation = evaluate(scored, policy.review_at, policy.decline_at, 5.0)

    assert evaluation.decline.precision >= 0.7
    assert 0.019 < evaluation.reviewed <= 0.02
    assert policy.review_at < policy.decline_at


def test_other_thresholds_are_another_version_of_the_policy(hand):
    one = thresholds.choose(hand, 0.9, 0.2)

    assert thresholds.choose(hand, 0.9, 0.2) == one
    assert thresholds.choose(hand, 0.7, 0.2).version != one.version
