"""Score with one booster or several, and say why: contributions that sum to the log-odds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from models.boosting import xgboost as xgb
from models.manifest import Combine, GoldenRow, Manifest, Policy, digest
from models.reasons import REASONS_FILE, ReasonName, read_reasons
from models.shap import Explainer, explainer
from schemas.errors import BadModelError

GOLDEN_TOLERANCE = 1e-6
ADDITIVE_TOLERANCE = 1e-3
"""TreeSHAP adds up hundreds of float32 numbers, relative to the size of the sum."""


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Boosters over the same features, averaged by weight. The weights sum to 1; one booster is the ensemble of one.

    ``explainers`` explain them, in the same order.

    ``combine`` says what is averaged: the log-odds, or the probabilities after the prior shift.
    """

    boosters: tuple[xgb.Booster, ...]
    explainers: tuple[Explainer, ...]
    weights: tuple[float, ...]
    combine: Combine
    prior_shift: float

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, k) float32 features, NaN where missing, to (n,) probabilities of fraud."""
        if self.combine == "log_odds":
            return probability(self.margin(features), self.prior_shift)
        scores = np.zeros(len(features))
        for booster, weight in self._members():
            scores += weight * probability(_margin(booster, features), self.prior_shift)
        # The weights sum to 1 but for rounding.
        return np.minimum(scores, 1.0, out=scores)

    def margin(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, k) features to the (n,) weighted mean of the log-odds, without the prior shift."""
        margins = np.zeros(len(features))
        for booster, weight in self._members():
            margins += np.multiply(_margin(booster, features), weight, dtype=np.float64)
        return margins

    def contributions(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, k) features to (n, k + 1) shares of the mean log-odds, the bias with the prior shift last."""
        shares = np.zeros((len(features), features.shape[1] + 1))
        for each, weight in zip(self.explainers, self.weights, strict=True):
            shares += weight * each.contributions(features)
        shares[:, -1] += self.prior_shift
        return shares

    def _members(self) -> Iterator[tuple[xgb.Booster, float]]:
        return zip(self.boosters, self.weights, strict=True)


def probability(margin: NDArray[np.floating], prior_shift: float) -> NDArray[np.float64]:
    """(n,) log-odds of the trees to (n,) probabilities at the real share of frauds."""
    shifted = np.add(margin, prior_shift, dtype=np.float64)
    return np.asarray(expit(shifted, out=shifted))


def _margin(booster: xgb.Booster, features: NDArray[np.float32]) -> NDArray[np.float32]:
    margin: NDArray[np.float32] = booster.inplace_predict(features, predict_type="margin", validate_features=False)
    return margin


@dataclass(frozen=True, slots=True)
class Model:
    """A model in this process. ``sha256`` is the ``digest`` of its manifest, ``reasons`` names some of its features."""

    manifest: Manifest
    sha256: bytes
    ensemble: Ensemble
    features: tuple[str, ...]
    reasons: Mapping[str, ReasonName]

    @property
    def name(self) -> str:
        """What the model is called."""
        return self.manifest.name

    @property
    def version(self) -> str:
        """Which of the models of this name it is."""
        return self.manifest.version

    @property
    def policy(self) -> Policy:
        """The thresholds chosen when it was trained."""
        return self.manifest.policy

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, k) float32 features in the order of ``features``, NaN where missing, to (n,) probabilities of fraud."""
        return self.ensemble.score(features)

    @property
    def codes(self) -> tuple[str, ...]:
        """What each feature is called in a decision: the code that it was given, or its own name."""
        return tuple(self.reasons[name].code if name in self.reasons else name for name in self.features)

    def contributions(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, k) float32 features to (n, k + 1) shares of the log-odds by TreeSHAP (Lundberg 2020), the bias last.

        The bias includes the prior shift, so that each row sums to the log-odds of its score. An ensemble that averages
        probabilities has no additive log-odds: its rows sum to the weighted mean of the log-odds of its members.
        """
        return self.ensemble.contributions(features)


def open_model(manifest: Manifest, files: Mapping[str, bytes], threads: int) -> Model:
    """The model whose ``files`` were found good, or are tried in a process that may crash.

    Raises BadModelError where XGBoost refuses one.
    """
    boosters = tuple(_booster(files[member.file], member.file, threads) for member in manifest.members)
    weights = tuple(member.weight for member in manifest.members)
    explainers = tuple(map(explainer, boosters))
    ensemble = Ensemble(boosters, explainers, weights, manifest.combine, manifest.prior_shift)
    features = tuple(feature.name for feature in manifest.features)
    reasons = read_reasons(files.get(REASONS_FILE, b"{}"), REASONS_FILE, features)
    return Model(manifest, digest(manifest), ensemble, features, reasons)


def _booster(data: bytes, name: str, threads: int) -> xgb.Booster:
    booster = xgb.Booster()
    try:
        booster.load_model(bytearray(data))
    except xgb.core.XGBoostError as error:
        raise BadModelError(f"{name} is not a model that this XGBoost can read") from error
    booster.set_param({"nthread": threads})
    return booster


def golden_rows(features: NDArray[np.float32], scores: NDArray[np.float64]) -> tuple[GoldenRow, ...]:
    """(n, k) features, NaN where missing, and their (n,) probabilities, as the manifest keeps them."""
    return tuple(
        GoldenRow(tuple(None if np.isnan(value) else float(value) for value in row), float(score))
        for row, score in zip(features, scores, strict=True)
    )


def check_scores(model: Model) -> None:
    """Raise BadModelError unless the model scores its golden rows as in training, and explains these scores."""
    rows = np.array([row.features for row in model.manifest.golden_rows], np.float32)  # None becomes NaN
    if np.isinf(rows).any():
        raise BadModelError("a golden row holds a number that no feature can have")
    expected = np.array([row.score for row in model.manifest.golden_rows])
    scores = model.score(rows)
    if scores.shape != expected.shape or not ((scores >= 0) & (scores <= 1)).all():
        raise BadModelError("it does not give each row one probability")
    worst = float(np.abs(scores - expected).max())
    if worst > GOLDEN_TOLERANCE:
        raise BadModelError(f"it scores its golden rows otherwise than in training: off by {worst:.2g}")
    for booster in model.ensemble.boosters:
        if booster.feature_names != list(model.features):
            raise BadModelError("the features of its trees are not those of its manifest")
    log_odds = model.ensemble.margin(rows) + model.manifest.prior_shift
    shares = model.contributions(rows)
    if shares.shape != (len(rows), len(model.features) + 1) or not np.allclose(
        shares.sum(axis=1), log_odds, rtol=ADDITIVE_TOLERANCE, atol=ADDITIVE_TOLERANCE
    ):
        raise BadModelError("its reasons do not add up to its scores")
