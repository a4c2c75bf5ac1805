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
from models.rollout import Document, Variant, served
from models.routing import Experiment
from models.scorer import RemoteScorer
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
    def endpoints(self) -> dict[str, RemoteScorer]:
        """The endpoints that score, by the name of the variant or shadow."""
        scorers = [
            (arm.lineage.variant, arm.scorer) for arm in self.rollout.arms if arm.lineage.fallback_reason is None
        ]
        scorers += [(shadow.name, shadow.scorer) for shadow in self.shadows]
        return {name: scorer for name, scorer in scorers if isinstance(scorer, RemoteScorer)}

    @property
    def degraded_share(self) -> float:
        """The probability that a card belongs to a variant in whose place the control decides."""
        return sum(line.probability for line in self.lineages if line.fallback_reason is not None)


def arm_of(
    model: Model, experiment: Experiment, index: int, policy: Policy | None = None, remote: RemoteScorer | None = None
) -> Arm:
    """A variant of the experiment with the model that serves it, under its own policy unless another is given.

    ``remote`` scores for the model, at an endpoint.
    """
    policy = policy or model.policy
    variant = experiment.variants[index]
    lineage = Lineage(
        policy_version=policy.version,
        review_at=policy.review_at,
        decline_at=policy.decline_at,
        model_name=model.name,
        model_version=model.version,
        model_sha256=model.sha256,
        backend="xgboost" if remote is None else "sagemaker",
        experiment_id=experiment.id,
        epoch=experiment.epoch,
        variant=variant.name,
        salt_id=experiment.salt_id,
        probability=variant.share,
    )
    thresholds = Thresholds(policy.version, policy.review_at, policy.decline_at)
    return Arm(remote or model, thresholds, lineage, _required(model), model.codes)


def serving_of(
    document: Document,
    models: Mapping[Version, Model],
    remotes: Mapping[str, RemoteScorer],
    failures: Mapping[Version | str, str],
    reader_of: Callable[[Sequence[str]], RecordReader],
    own_reader_of: Callable[[Sequence[str]], RecordReader],
) -> Serving:
    """What serves under a rollout, with the ``models`` and the endpoints (``remotes``, by variant) that could be had.

    ``failures`` says of each other model, by its version, and of each other endpoint, by the name of its variant, why
    not. ``reader_of`` gives the reader for the stream, ``own_reader_of`` one for the thread of a shadow.

    Raises FraudstreamError where the control is among the failures: nobody could stand in for it.
    """
    missing = _missing(document, failures)
    reasons = {each.name: each.reason for each in missing}
    if document.control.name in reasons:
        raise FraudstreamError(f"the control cannot serve: {reasons[document.control.name]}")
    control = _arm(document, 0, models, remotes)
    arms = tuple(
        _standing_in(control, document.split, index, reasons[variant.name])
        if variant.name in reasons
        else _arm(document, index, models, remotes)
        for index, variant in enumerate(document.variants)
    )
    rollout = Rollout(document.split, arms)
    shadows = tuple(
        _shadow(shadow.name, models[shadow.model], remotes.get(shadow.name), rollout, own_reader_of)
        for shadow in document.shadows
        if shadow.name not in reasons
    )
    return Serving(rollout, shadows, reader_of(rollout.fields), missing)


def _shadow(
    name: str,
    model: Model,
    remote: RemoteScorer | None,
    rollout: Rollout,
    reader_of: Callable[[Sequence[str]], RecordReader],
) -> Shadow:
    """It shares the columns of the variants where they are all that it needs."""
    shares = set(model.features) <= set(rollout.fields)
    return Shadow(name, remote or model, _required(model), None if shares else reader_of)


def _arm(document: Document, index: int, models: Mapping[Version, Model], remotes: Mapping[str, RemoteScorer]) -> Arm:
    variant, split = document.variants[index], document.split
    arm = arm_of(models[variant.model], split, index, document.policy, remotes.get(variant.name))
    if variant.fallback is None:
        return arm
    return replace(arm, fallback=arm_of(models[variant.fallback], split, index, document.policy))


def _missing(document: Document, failures: Mapping[Version | str, str]) -> tuple[Missing, ...]:
    """What of the document cannot serve, for the first of the things that it takes and that is not there."""
    found = []
    for each in served(document):
        needs: list[Version | str] = [*each.models, each.name]
        reasons = [failures[needed] for needed in needs if needed in failures]
        if reasons:
            role = "variant" if isinstance(each, Variant) else "shadow"
            found.append(Missing(role, each.name, each.version, reasons[0][:LONGEST_REASON]))
    return tuple(found)


def _standing_in(control: Arm, experiment: Experiment, index: int, reason: str) -> Arm:
    """The model and the policy of the control in the place of a variant, and decisions that say so."""
    variant = experiment.variants[index]
    lineage = replace(control.lineage, variant=variant.name, probability=variant.share, fallback_reason=reason)
    return replace(control, lineage=lineage)


def _required(model: Model) -> NDArray[np.bool_]:
    return np.array([feature.missing == "reject" for feature in model.manifest.features])
