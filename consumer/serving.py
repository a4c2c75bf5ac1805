"""Say what scores now: an arm for each variant, shadows beside them, and the control where a model is missing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from consumer.decide import Arm, Rollout, Thresholds
from consumer.shadows import Shadow
from models.manifest import Policy
from models.model import Model
from models.registry import Version
from models.rollout import Document
from models.routing import Experiment
from schemas.decision import Lineage
from schemas.errors import FraudstreamError
from schemas.framing import RecordReader

LONGEST_REASON = 200
"""Characters; the reason for a fallback stands in every decision that it degrades."""


@dataclass(frozen=True, slots=True)
class Missing:
    """A variant or a shadow whose model cannot be had, and why."""

    role: str
    name: str
    version: str
    reason: str


@dataclass(frozen=True, slots=True)
class Serving:
    """All that decides a batch; no batch is decided by two of these. ``reader`` reads what its variants need.

    ``missing`` names what is in the rollout and not here: the control decides in place of such a variant.
    """

    rollout: Rollout
    shadows: tuple[Shadow, ...]
    reader: RecordReader
    missing: tuple[Missing, ...] = ()

    @property
    def epoch(self) -> int:
        """The number of the rollout."""
        return self.rollout.experiment.epoch

    @property
    def lineages(self) -> tuple[Lineage, ...]:
        """What the decisions of each variant have in common."""
        return tuple(arm.lineage for arm in self.rollout.arms)

    @property
    def degraded_share(self) -> float:
        """The probability that a card belongs to a variant in whose place the control decides."""
        return sum(line.probability for line in self.lineages if line.fallback_reason is not None)


def arm_of(model: Model, experiment: Experiment, index: int, policy: Policy | None = None) -> Arm:
    """A variant of the experiment with the model that serves it, under its own policy unless another is given."""
    policy = policy or model.policy
    variant = experiment.variants[index]
    lineage = Lineage(
        policy_version=policy.version,
        review_at=policy.review_at,
        decline_at=policy.decline_at,
        model_name=model.name,
        model_version=model.version,
        model_sha256=model.sha256,
        backend="xgboost",
        experiment_id=experiment.id,
        epoch=experiment.epoch,
        variant=variant.name,
        salt_id=experiment.salt_id,
        probability=variant.share,
    )
    thresholds = Thresholds(policy.version, policy.review_at, policy.decline_at)
    return Arm(model, thresholds, lineage, _required(model), model.codes)


def serving_of(
    document: Document,
    models: Mapping[Version, Model],
    failures: Mapping[Version, str],
    reader_of: Callable[[Sequence[str]], RecordReader],
    own_reader_of: Callable[[Sequence[str]], RecordReader],
) -> Serving:
    """What serves under a rollout, with the ``models`` that could be had; ``failures`` says of each other one why not.

    ``reader_of`` gives the reader by which the stream is decoded, ``own_reader_of`` one for the thread of a shadow.

    Raises FraudstreamError where the model of the control is not among them: nobody could stand in for it.
    """
    if document.control.model in failures:
        raise FraudstreamError(f"the control cannot serve: {failures[document.control.model]}")
    split = document.split
    control = arm_of(models[document.control.model], split, 0, document.policy)
    missing = _missing(document, failures)
    reasons = {each.name: each.reason for each in missing}
    arms = tuple(
        _standing_in(control, split, index, reasons[variant.name])
        if variant.name in reasons
        else arm_of(models[variant.model], split, index, document.policy)
        for index, variant in enumerate(document.variants)
    )
    rollout = Rollout(split, arms)
    shadows = tuple(
        _shadow(shadow.name, models[shadow.model], rollout, own_reader_of)
        for shadow in document.shadows
        if shadow.name not in reasons
    )
    return Serving(rollout, shadows, reader_of(rollout.fields), missing)


def _shadow(name: str, model: Model, rollout: Rollout, reader_of: Callable[[Sequence[str]], RecordReader]) -> Shadow:
    """It shares the columns of the variants where they are all that it needs."""
    shares = set(model.features) <= set(rollout.fields)
    return Shadow(name, model, _required(model), None if shares else reader_of)


def _missing(document: Document, failures: Mapping[Version, str]) -> tuple[Missing, ...]:
    places = [("variant", each.name, each.model) for each in document.variants]
    places += [("shadow", each.name, each.model) for each in document.shadows]
    return tuple(
        Missing(role, name, str(version), failures[version][:LONGEST_REASON])
        for role, name, version in places
        if version in failures
    )


def _standing_in(control: Arm, experiment: Experiment, index: int, reason: str) -> Arm:
    """The model and the policy of the control in the place of a variant, and decisions that say so."""
    variant = experiment.variants[index]
    lineage = replace(control.lineage, variant=variant.name, probability=variant.share, fallback_reason=reason)
    return replace(control, lineage=lineage)


def _required(model: Model) -> NDArray[np.bool_]:
    return np.array([feature.missing == "reject" for feature in model.manifest.features])
