"""Train a model on the past, choose its thresholds on what came next, and judge it on what came last."""

import hashlib
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import baseline, thresholds
from models.artifact import save
from models.boosting import xgboost as xgb
from models.evaluate import Scored, evaluate
from models.manifest import (
    FORMAT,
    MAX_MEMBERS,
    MODEL_FILE,
    REPORT_FILE,
    Combine,
    Feature,
    File,
    Manifest,
    Member,
    TrainingData,
    digest,
)
from models.metrics import Metrics
from models.model import Ensemble, golden_rows, probability
from models.reasons import REASONS_FILE, read_reasons
from models.report import page
from models.split import parts, weights
from schemas.dataset import Dataset
from schemas.errors import ConfigurationError

TREES: dict[str, Any] = {
    "objective": "binary:logistic",
    "eval_metric": "logloss",
    "tree_method": "hist",
    "max_depth": 5,
    "eta": 0.1,
    "subsample": 0.8,
    "colsample_bytree": 0.5,
    "lambda": 5,
    "min_child_weight": 1,
    # The histograms are sums of floats: another number of threads would add in another order, and give other bytes.
    "nthread": 1,
}
"""Chosen by forward validation inside the first 80 % of the public data set; its last 20 % had no say."""

PATIENCE = 20
"""Rounds without a better validation loss before training stops."""


@dataclass(frozen=True, slots=True)
class TrainingSettings:
    """What a user chooses. Shares are of the traffic, ``review_cost`` is in currency units.

    Without a ``version`` it is the beginning of the digest of the model: the same model, the same version. An
    ``ensemble`` is so many boosters on different samples of rows and columns, averaged as ``combine`` says.
    """

    name: str = "card-fraud"
    version: str | None = None
    seed: int = 7
    rounds: int = 100
    ensemble: int = 1
    combine: Combine = "log_odds"
    train_share: float = 0.6
    validation_share: float = 0.2
    review_rate: float = 0.002
    decline_precision: float = 0.9
    review_cost: float = 5.0

    def __post_init__(self) -> None:
        for name in ("train_share", "validation_share", "review_rate", "decline_precision"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigurationError(f"{name} must lie between 0 and 1, not {getattr(self, name)}")
        if self.train_share + self.validation_share >= 1:
            raise ConfigurationError("train_share and validation_share leave nothing to test on")
        if not 1 <= self.ensemble <= MAX_MEMBERS:
            raise ConfigurationError(f"ensemble must be 1 to {MAX_MEMBERS} boosters, not {self.ensemble}")
        if self.review_cost < 0:
            raise ConfigurationError(f"review_cost must not be negative, as {self.review_cost} is")

    @property
    def shares(self) -> tuple[float, float]:
        """Of the traffic, those of the training and of the validation part; the test part is the rest."""
        return self.train_share, self.validation_share


@dataclass(frozen=True, slots=True)
class Trained:
    """A manifest with its boosters by file name, and the test part as the model and the baseline score it."""

    manifest: Manifest
    boosters: dict[str, bytes]
    test: Scored
    baseline_test: Scored


@dataclass(frozen=True, slots=True)
class _Part:
    """Some rows of a data set: ``features`` (n, k) float32, NaN where missing."""

    features: NDArray[np.float32]
    is_fraud: NDArray[np.bool_]
    amounts: NDArray[np.float64]
    weights: NDArray[np.float64]

    def scored(self, scores: NDArray[np.float64]) -> Scored:
        return Scored(scores, self.is_fraud, self.amounts, self.weights)


def train_to(
    path: Path,
    dataset: Dataset,
    settings: TrainingSettings,
    on_round: Callable[[], None] = lambda: None,
    reasons: bytes | None = None,
) -> Trained:
    """Train on ``dataset`` and write the artifact, with its report, to the directory ``path``.

    ``reasons`` is the content of a ``reasons.json`` to put beside the model.

    Raises ConfigurationError as ``read_reasons``, ``train`` and ``artifact.save`` do.
    """
    named = {} if reasons is None else {REASONS_FILE: reasons}
    for name, content in named.items():
        read_reasons(content, name, dataset.features)
    trained = train(dataset, settings, on_round)
    report = page(trained.manifest, trained.test, trained.baseline_test)
    manifest = save(path, trained.manifest, {**trained.boosters, REPORT_FILE: report.encode(), **named})
    return replace(trained, manifest=manifest)


def train(dataset: Dataset, settings: TrainingSettings, on_round: Callable[[], None] = lambda: None) -> Trained:
    """Train on ``dataset``; ``on_round`` is called after each boosting round. Same data and settings, same bytes.

    Trees learn from the first part in time; the second stops the boosting and fixes the thresholds; the third is only
    scored. There is no second fit on the first two together: the thresholds belong to the very trees they were chosen
    for. Where the legitimate rows were thinned to the share beta, the probabilities are brought back to the real prior
    by adding ln(beta) to the log-odds (Dal Pozzolo et al. 2015, equation 4).

    Raises ConfigurationError where a part holds no fraud, or nothing but frauds.
    """
    learn, validate, test = _parts(dataset, settings)
    prior_shift = float(np.log(dataset.legitimate_kept))
    ensemble = _ensemble(learn, validate, dataset.features, settings, prior_shift, on_round)
    boosters = {_file(settings, i): bytes(booster.save_raw("ubj")) for i, booster in enumerate(ensemble.boosters)}
    validated, tested = (part.scored(ensemble.score(part.features)) for part in (validate, test))
    policy = thresholds.choose(validated, settings.decline_precision, settings.review_rate)
    base_validated, base_tested = (
        part.scored(probability(log_odds, prior_shift))
        for part, log_odds in zip(
            (validate, test),
            baseline.log_odds(learn.features, learn.is_fraud, validate.features, test.features),
            strict=True,
        )
    )
    base_policy = thresholds.choose(base_validated, settings.decline_precision, settings.review_rate)
    rows = _golden_inputs(test, tested.scores, dataset.features)
    manifest = Manifest(
        format=FORMAT,
        name=settings.name,
        version=settings.version or "",
        features=_described(learn.features, dataset.features),
        files={file: File.of(content) for file, content in boosters.items()},
        members=tuple(Member(file, weight) for file, weight in zip(boosters, ensemble.weights, strict=True)),
        combine=settings.combine,
        prior_shift=prior_shift,
        policy=policy,
        metrics=Metrics(
            model=evaluate(tested, policy.review_at, policy.decline_at, settings.review_cost),
            baseline=evaluate(base_tested, base_policy.review_at, base_policy.decline_at, settings.review_cost),
        ),
        training_data=fingerprint(dataset),
        golden_rows=golden_rows(rows, ensemble.score(rows)),
        settings=_used(settings, ensemble),
        libraries=_libraries(),
    )
    named = replace(manifest, version=manifest.version or digest(manifest).hex()[:12])
    return Trained(named, boosters, tested, base_tested)


def _parts(dataset: Dataset, settings: TrainingSettings) -> list[_Part]:
    frame = dataset.frame
    features = frame[list(dataset.features)].to_numpy(np.float32)
    is_fraud, amounts = frame["is_fraud"].to_numpy(np.bool_), frame["amount"].to_numpy(np.float64)
    traffic, cuts = weights(dataset), parts(dataset, settings.shares)
    found = [_Part(features[cut], is_fraud[cut], amounts[cut], traffic[cut]) for cut in cuts]
    for name, part in zip(("training", "validation", "test"), found, strict=True):
        if part.is_fraud.all() or not part.is_fraud.any():
            raise ConfigurationError(f"the {name} part needs both frauds and others: give more data or other shares")
    return found


class _Progress(xgb.callback.TrainingCallback):
    """Tells somebody that a round is done."""

    def __init__(self, on_round: Callable[[], None]) -> None:
        super().__init__()
        self.on_round = on_round

    def after_iteration(self, model: xgb.Booster, epoch: int, evals_log: dict[str, Any]) -> bool:  # noqa: ARG002
        self.on_round()
        return False


def _ensemble(
    learn: _Part,
    validate: _Part,
    names: tuple[str, ...],
    settings: TrainingSettings,
    prior_shift: float,
    on_round: Callable[[], None],
) -> Ensemble:
    """Boosters that differ by their seed: each sees other samples of the rows and columns. All have the same say."""
    seeds = range(settings.seed, settings.seed + settings.ensemble)
    boosters = tuple(_boost(learn, validate, names, replace(settings, seed=seed), on_round) for seed in seeds)
    return Ensemble(boosters, (), (1 / len(boosters),) * len(boosters), settings.combine, prior_shift)


def _file(settings: TrainingSettings, number: int) -> str:
    return MODEL_FILE if settings.ensemble == 1 else f"model-{number + 1}.ubj"


def _boost(
    learn: _Part,
    validate: _Part,
    names: tuple[str, ...],
    settings: TrainingSettings,
    on_round: Callable[[], None],
) -> xgb.Booster:
    """The trees up to the best round on the validation part."""
    learning, validating = (
        xgb.DMatrix(part.features, part.is_fraud, feature_names=list(names), nthread=1) for part in (learn, validate)
    )
    booster = xgb.train(
        {**TREES, "seed": settings.seed},
        learning,
        settings.rounds,
        evals=[(validating, "validation")],
        early_stopping_rounds=PATIENCE,
        verbose_eval=False,
        callbacks=[_Progress(on_round)],
    )
    best = booster[: booster.best_iteration + 1]
    best.feature_names = list(names)
    return best


def _described(learn: NDArray[np.float32], names: tuple[str, ...]) -> tuple[Feature, ...]:
    """Each feature with the range that is still believable: the training range, and as much again on either side.

    What was never negative stays so. Everything may be missing but the amount, without which there is no transaction.
    """
    return tuple(
        Feature(name, "float32", "reject" if name == "amount" else "allow", *_range(learn[:, column]))
        for column, name in enumerate(names)
    )


def _range(values: NDArray[np.float32]) -> tuple[float, float] | tuple[None, None]:
    known = values[~np.isnan(values)].astype(np.float64)
    if not len(known):
        return None, None
    low, high = float(known.min()), float(known.max())
    return (max(0.0, 2 * low - high) if low >= 0 else 2 * low - high), 2 * high - low


def _golden_inputs(test: _Part, scores: NDArray[np.float64], names: tuple[str, ...]) -> NDArray[np.float32]:
    """(12, k): test rows from the lowest to the highest score, and some of them with holes.

    The holes take every third feature, so that each feature is missing somewhere; the amount never is.
    """
    by_score = np.argsort(scores, kind="stable")
    spread = by_score[np.linspace(0, len(by_score) - 1, 4).astype(int)]
    frauds = by_score[test.is_fraud[by_score]]
    spread = np.append(spread, frauds[np.linspace(0, len(frauds) - 1, 5).astype(int)])
    rows = test.features[spread]
    holed = rows[-3:].copy()
    optional = np.array([name != "amount" for name in names])
    for offset, row in enumerate(holed):
        row[(np.arange(len(names)) % 3 == offset) & optional] = np.nan
    return np.concatenate([rows, holed])


def fingerprint(dataset: Dataset) -> TrainingData:
    """A digest of every value that training could see, with the names of the columns."""
    frame = dataset.frame
    digest = hashlib.sha256()
    for name in dict.fromkeys(("time", "amount", "is_fraud", *dataset.features)):
        digest.update(name.encode() + b"\0")
        digest.update(frame[name].to_numpy(np.float64).astype("<f8").tobytes())
    times = frame["time"]
    return TrainingData(
        sha256=digest.hexdigest(),
        rows=len(frame),
        frauds=int(frame["is_fraud"].sum()),
        first_time=float(times.iloc[0]),
        last_time=float(times.iloc[-1]),
        legitimate_kept=dataset.legitimate_kept,
    )


def _used(settings: TrainingSettings, ensemble: Ensemble) -> dict[str, int | float | str]:
    chosen = {name: value for name, value in asdict(settings).items() if name not in ("name", "version")}
    return {**chosen, "trees": sum(booster.num_boosted_rounds() for booster in ensemble.boosters), **TREES}


def _libraries() -> dict[str, str]:
    names = ("numpy", "scikit-learn", "scipy")
    return {"python": platform.python_version(), "xgboost": xgb.__version__} | {name: version(name) for name in names}
