"""Train the successor of a model by the recipe of that model, and judge both on the same later transactions."""

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from models.evaluate import evaluate
from models.manifest import Manifest, Policy
from models.metrics import Evaluation
from models.model import Model
from models.split import parts
from models.train import Trained, TrainingSettings
from schemas.dataset import Dataset


@dataclass(frozen=True, slots=True)
class Contest:
    """How a model and its successor did on the test part of the successor's data, each under its own policy."""

    champion: Evaluation
    successor: Evaluation

    @property
    def loss(self) -> float:
        """By how much PR-AUC the successor is worse; negative where it is better."""
        return self.champion.pr_auc - self.successor.pr_auc


def recipe(manifest: Manifest) -> TrainingSettings:
    """What the model was trained with, but for its version; the defaults for what its manifest does not say."""
    known = {field.name for field in fields(TrainingSettings)} - {"name", "version"}
    chosen: dict[str, Any] = {name: value for name, value in manifest.settings.items() if name in known}
    return TrainingSettings(name=manifest.name, **chosen)


def contest(champion: Model, successor: Trained, dataset: Dataset, settings: TrainingSettings) -> Contest:
    """Both on the part of ``dataset`` that the successor, trained on it with ``settings``, has not seen.

    ``dataset`` has the features of both. Where the champion was trained on that part it looks better than it is, and
    the successor is refused rather than let through.
    """
    test = parts(dataset, settings.shares)[2]
    rows = dataset.frame[list(champion.features)].to_numpy(np.float32)[test]

    def judged(policy: Policy, scores: np.ndarray) -> Evaluation:
        scored = replace(successor.test, scores=scores)
        return evaluate(scored, policy.review_at, policy.decline_at, settings.review_cost)

    return Contest(
        judged(champion.policy, champion.score(rows)), judged(successor.manifest.policy, successor.test.scores)
    )
