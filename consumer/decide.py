"""Decide a batch of transactions: columns in, decisions and rejections out, no client, no clock."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from hashlib import sha256

import msgspec
import numpy as np
from numpy.typing import NDArray

from models.routing import CONTROL, MISSING_UNIT, Assignment, Experiment, assign
from models.scorer import Answer, RemoteScorer, Scorer, ScorerUnavailableError
from schemas.columns import BytesColumn, Columns, NumberColumn, Reason
from schemas.decision import Decisions, Invocation, Lineage, Outcome, ReasonCode
from schemas.errors import ConfigurationError

LONGEST_ID = 512
"""Bytes; an id beyond it is an attack or a mistake, and would make decisions of any size."""

LONGEST_KEY = 4096
"""Bytes; a decision bears the key of its record, and shall not be too large for its topic because of it."""


class Rejection(Enum):
    """Why a record that could be decoded is not scored."""

    MISSING_ID = "the transaction id is missing"
    MISSING_UNIT = MISSING_UNIT
    OVERLONG_ID = f"the transaction id or the routing unit is longer than {LONGEST_ID} bytes"
    OVERLONG_KEY = f"the key of the record is longer than {LONGEST_KEY} bytes"
    MISSING_EVENT_TIME = "the event time is missing"
    EVENT_TIME_OUT_OF_RANGE = "the event time is out of range"
    NON_FINITE_AMOUNT = "the amount is missing or not a finite number"
    NON_FINITE_FEATURE = "a feature is not a finite number"
    MISSING_FEATURE = "a feature that the model requires is missing"
    REFUSED_BY_ENDPOINT = "the endpoint refuses this record and takes others"


@dataclass(frozen=True, slots=True)
class Roles:
    """Which input field plays which part."""

    transaction_id: str
    unit: str
    event_time: str
    amount: str


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is accepted of a record.

    Event times (ms since 1970) from ``earliest`` to ``lead`` ms ahead of the clock; and, unless ``unit_required``, that
    it has no unit: then the control decides.
    """

    earliest: int
    lead: int
    unit_required: bool = True


@dataclass(frozen=True, slots=True)
class Thresholds:
    """The policy of a variant: scores from ``review_at`` on are reviewed, from ``decline_at`` on declined."""

    version: str
    review_at: float
    decline_at: float


@dataclass(frozen=True, slots=True)
class Reasons:
    """How many features a decision of these outcomes names as its reasons."""

    count: int
    outcomes: tuple[Outcome, ...]

    def wanted(self, outcomes: NDArray[np.uint8]) -> NDArray[np.int64]:
        """The positions of those among ``outcomes`` that are explained."""
        if not self.count or not len(self.outcomes):
            return np.empty(0, np.int64)
        chosen = np.zeros(len(Outcome), np.bool_)
        chosen[list(self.outcomes)] = True
        return np.flatnonzero(chosen[outcomes])


@dataclass(frozen=True, slots=True)
class Arm:
    """A variant with what serves it.

    By position of the feature, ``required`` marks those that may not be missing and ``codes`` says what they are called
    as a reason. ``fallback`` decides where the scorer is out of reach; without one the batch waits.
    """

    scorer: Scorer
    thresholds: Thresholds
    lineage: Lineage
    required: NDArray[np.bool_]
    codes: tuple[str, ...]
    fallback: "Arm | None" = None

    def because(self, reason: str) -> "Arm":
        """The same, with decisions that say why it decides in the place of another."""
        return replace(self, lineage=replace(self.lineage, fallback_reason=reason))


@dataclass(frozen=True, slots=True)
class Rollout:
    """The experiment and one arm for each of its variants, in order."""

    experiment: Experiment
    arms: tuple[Arm, ...]

    @property
    def fields(self) -> tuple[str, ...]:
        """Every feature that some arm needs."""
        deciders = [each for arm in self.arms for each in (arm, arm.fallback) if each is not None]
        return tuple(dict.fromkeys(name for arm in deciders for name in arm.scorer.features))


@dataclass(frozen=True, slots=True)
class Decider:
    """All that a decision depends on but the record and the clock."""

    rollout: Rollout
    roles: Roles
    bounds: Bounds
    reasons: Reasons

    @property
    def models(self) -> str:
        """The models by name and version, for people."""
        lineages = [arm.lineage for arm in self.rollout.arms]
        return " and ".join(f"{each.model_name}@{each.model_version}" for each in lineages)

    @property
    def digest(self) -> str:
        """Changes whenever a record could be decided otherwise."""
        parts = [
            self.rollout.experiment,
            [(arm.lineage, arm.thresholds, arm.required.tolist(), arm.codes) for arm in self.rollout.arms],
            (self.roles, self.bounds, self.reasons),
        ]
        return sha256(msgspec.json.encode(parts)).hexdigest()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of n records.

    ``decided`` (m,) int64: row numbers of the decisions, in order. ``undecodable`` maps a row to the reason of the
    decoder, ``rejected`` to that of the validation. Every row stands in exactly one of the three. ``arms`` are those of
    the rollout, or the fallback in the place of one that could not score.
    """

    decisions: Decisions
    decided: NDArray[np.int64]
    undecodable: Mapping[int, Reason]
    rejected: Mapping[int, Rejection]
    arms: tuple[Arm, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Where the n rows came from: ``partitions`` (n,) int32 and ``offsets`` (n,) int64 of ``topic``.

    ``replay`` is the name under which they are decided again, None when live. ``keys`` are those of the rows, where the
    decisions bear them.
    """

    topic: str
    partitions: NDArray[np.int32]
    offsets: NDArray[np.int64]
    replay: str | None = None
    keys: Sequence[bytes | None] = ()


def decide(
    columns: Columns,
    source: Source,
    roles: Roles,
    bounds: Bounds,
    rollout: Rollout,
    reasons: Reasons,
    now: int,
) -> Verdict:
    """Validate, route, score, apply the policy and explain. ``now`` is ms since 1970.

    Raises ConfigurationError if a role or a feature of a model has the wrong type in the input, and
    ScorerUnavailableError where an arm without a fallback cannot score.
    """
    usable = columns.reason == Reason.OK
    if not usable.any():  # where no schema is known yet there are not even columns
        return _nothing_decided(columns, source, rollout, now)
    rejected = validate(columns, roles, bounds, now)
    if is_overlong(max(filter(None, source.keys), key=len, default=None)):
        for row in np.flatnonzero(usable).tolist():
            if is_overlong(source.keys[row]):
                rejected.setdefault(row, Rejection.OVERLONG_KEY)
    rows = _kept(usable, rejected)
    drawn = assign(_take(_bytes(columns, roles.unit), rows), rollout.experiment)
    scored = _score(columns, rows, drawn.variants, rollout, reasons)
    variants, lineages = _lineages(drawn, scored.arms)
    buckets, invoked = drawn.buckets, scored.invoked if scored.invocations else None
    for row, rejection in scored.rejected.items():
        rejected[row] = rejection
    if scored.rejected:
        keep = ~np.isin(rows, list(scored.rejected))
        position = np.cumsum(keep) - 1
        given = {int(position[row]): codes for row, codes in scored.reasons.items() if keep[row]}
        rows, buckets, variants = rows[keep], buckets[keep], variants[keep]
        scores, outcomes = scored.scores[keep], scored.outcomes[keep]
        invoked = None if invoked is None else invoked[keep]
    else:
        scores, outcomes, given = scored.scores, scored.outcomes, scored.reasons
    decisions = Decisions(
        transaction_id=_take(_bytes(columns, roles.transaction_id), rows),
        unit=_take(_bytes(columns, roles.unit), rows),
        topic=source.topic,
        partition=source.partitions[rows],
        offset=source.offsets[rows],
        event_time=_numbers(columns, roles.event_time).values[rows],
        decided_at=now,
        score=scores,
        outcome=outcomes,
        variant=variants,
        bucket=buckets,
        lineages=lineages,
        reasons=given,
        replay=source.replay,
        invoked=invoked,
        invocations=scored.invocations,
    )
    return Verdict(decisions, rows, _undecodable(columns), rejected, tuple(scored.arms))


def check_roles(columns: Columns, roles: Roles) -> None:
    """Raises ConfigurationError if a role is played by a field of the wrong type. Any number of rows will do."""
    for name in (roles.transaction_id, roles.unit):
        _bytes(columns, name)
    for name in (roles.event_time, roles.amount):
        _numbers(columns, name)


def _undecodable(columns: Columns) -> dict[int, Reason]:
    return {int(row): Reason(columns.reason[row]) for row in np.flatnonzero(columns.reason != Reason.OK)}


def _nothing_decided(columns: Columns, source: Source, rollout: Rollout, now: int) -> Verdict:
    rows = np.empty(0, np.int64)
    no_bytes = BytesColumn(np.empty(0, np.uint8), rows, rows, None)
    decisions = Decisions(
        transaction_id=no_bytes,
        unit=no_bytes,
        topic=source.topic,
        partition=source.partitions[rows],
        offset=source.offsets[rows],
        event_time=rows,
        decided_at=now,
        score=np.empty(0),
        outcome=np.empty(0, np.uint8),
        variant=np.empty(0, np.uint8),
        bucket=rows,
        lineages=tuple(arm.lineage for arm in rollout.arms),
        reasons={},
    )
    return Verdict(decisions, rows, _undecodable(columns), {}, rollout.arms)


def validate(columns: Columns, roles: Roles, bounds: Bounds, now: int) -> dict[int, Rejection]:
    """The first reason that speaks against each row that could be decoded, whatever the model, by row number.

    ``now`` is ms since 1970. Raises ConfigurationError if a role has the wrong type in the input.
    """
    usable = columns.reason == Reason.OK
    transaction, unit = _bytes(columns, roles.transaction_id), _bytes(columns, roles.unit)
    time, amount = _numbers(columns, roles.event_time), _numbers(columns, roles.amount)
    complaints = (
        (Rejection.MISSING_ID, _missing(transaction)),
        (Rejection.MISSING_UNIT, _missing(unit) if bounds.unit_required else None),
        (Rejection.OVERLONG_ID, (transaction.length > LONGEST_ID) | (unit.length > LONGEST_ID)),
        (Rejection.MISSING_EVENT_TIME, time.null),
        (
            Rejection.EVENT_TIME_OUT_OF_RANGE,
            ~((time.values >= bounds.earliest) & (time.values <= now + bounds.lead)),
        ),
        (Rejection.NON_FINITE_AMOUNT, ~np.isfinite(amount.values)),
        (Rejection.NON_FINITE_AMOUNT, amount.null),
    )
    rejected: dict[int, Rejection] = {}
    for rejection, complaint in complaints:
        if complaint is not None and complaint.any():
            for row in np.flatnonzero(complaint & usable).tolist():
                rejected.setdefault(row, rejection)
    return rejected


def is_overlong(key: bytes | None) -> bool:
    """Whether no decision may bear the key."""
    return key is not None and len(key) > LONGEST_KEY


def _kept(usable: NDArray[np.bool_], rejected: Mapping[int, Rejection]) -> NDArray[np.int64]:
    keep = usable.copy()
    keep[list(rejected)] = False
    return np.flatnonzero(keep)


def _lineages(drawn: Assignment, arms: Sequence[Arm]) -> tuple[NDArray[np.uint8], tuple[Lineage, ...]]:
    """What the decisions of each variant have in common, and last of those that had no unit to draw a variant by."""
    lineages = tuple(arm.lineage for arm in arms)
    if not drawn.missing.any():
        return drawn.variants, lineages
    variants = np.where(drawn.missing, np.uint8(len(lineages)), drawn.variants)
    return variants, (*lineages, replace(lineages[CONTROL], probability=1.0, fallback_reason=MISSING_UNIT))


@dataclass(frozen=True, slots=True)
class _Scored:
    """Scores and outcomes of all rows asked for; ``reasons`` by position, ``rejected`` by row number.

    ``arms`` are those that scored; ``invoked`` indexes ``invocations`` by position, -1 for what was scored in process.
    """

    scores: NDArray[np.float64]
    outcomes: NDArray[np.uint8]
    invoked: NDArray[np.int16]
    reasons: dict[int, Sequence[ReasonCode]]
    rejected: dict[int, Rejection]
    arms: list[Arm]
    invocations: list[Invocation]


def _score(
    columns: Columns,
    rows: NDArray[np.int64],
    variants: NDArray[np.uint8],
    rollout: Rollout,
    reasons: Reasons,
) -> _Scored:
    count = len(rows)
    scored = _Scored(np.empty(count), np.empty(count, np.uint8), np.full(count, -1, np.int16), {}, {}, [], [])
    for index, arm in enumerate(rollout.arms):
        positions = np.flatnonzero(variants == index) if len(rollout.arms) > 1 else np.arange(len(rows))
        scored.arms.append(_score_or_fall_back(columns, rows, positions, arm, reasons, scored))
    return scored


def _score_or_fall_back(
    columns: Columns,
    rows: NDArray[np.int64],
    positions: NDArray[np.int64],
    arm: Arm,
    reasons: Reasons,
    into: _Scored,
) -> Arm:
    """The arm that scored: all rows of a variant in a batch are scored by one model."""
    if len(positions):
        try:
            _score_arm(columns, rows, positions, arm, reasons, into)
        except ScorerUnavailableError as error:
            if arm.fallback is None:
                raise
            arm = arm.fallback.because(str(error))
            _score_arm(columns, rows, positions, arm, reasons, into)
    return arm


def _score_arm(
    columns: Columns,
    rows: NDArray[np.int64],
    positions: NDArray[np.int64],
    arm: Arm,
    reasons: Reasons,
    into: _Scored,
) -> None:
    names = arm.scorer.features
    features = columns.matrix(names)
    if len(positions) < len(features):
        features = features[rows[positions]]
    refused = unfit(columns, features, rows[positions], names, arm.required)
    if refused:  # no model is shown an infinity: XGBoost scores it in one call and refuses it in another
        features = np.where(np.isin(rows[positions], list(refused))[:, None], np.float32(np.nan), features)
    answer = _ask(arm.scorer, features)
    scores = answer.scores
    into.rejected.update(dict.fromkeys(rows[positions[np.isnan(scores)]].tolist(), Rejection.REFUSED_BY_ENDPOINT))
    into.rejected.update(refused)
    if answer.invocations:
        into.invoked[positions] = np.where(answer.invoked >= 0, answer.invoked + len(into.invocations), -1)
        into.invocations.extend(answer.invocations)
    outcomes = (scores >= arm.thresholds.review_at).astype(np.uint8)
    outcomes[scores >= arm.thresholds.decline_at] = Outcome.DECLINE
    into.scores[positions], into.outcomes[positions] = scores, outcomes
    explained = reasons.wanted(outcomes)
    if len(explained):
        contributions = arm.scorer.contributions(features[explained])
        for at, codes in zip(explained, _top(contributions, arm.codes, reasons.count), strict=True):
            into.reasons[int(positions[at])] = codes


def _ask(scorer: Scorer, features: NDArray[np.float32]) -> Answer:
    """What it answers; NaN for a row that it refuses."""
    if isinstance(scorer, RemoteScorer):
        return scorer.answer(features)
    return Answer(scorer.score(features), np.empty(0, np.int16), ())


def unfit(
    columns: Columns,
    features: NDArray[np.float32],
    rows: NDArray[np.int64],
    names: Sequence[str],
    required: NDArray[np.bool_],
) -> dict[int, Rejection]:
    """Rows whose features no model should see: a NaN or an infinity that was sent, or a required one not sent.

    ``features`` (m, k) are those of the row numbers ``rows`` (m,), ``required`` (k,) marks what may not be missing.
    """
    # A sum is finite if all its terms are; the few rows where it is not are looked at one feature at a time.
    with np.errstate(over="ignore", invalid="ignore"):
        suspects = np.flatnonzero(~np.isfinite(features.sum(axis=1)))
    rejected: dict[int, Rejection] = {}
    for position, name in enumerate(names if len(suspects) else ()):
        null = _numbers(columns, name).null
        absent = null[rows[suspects]] if null is not None else np.zeros(len(suspects), np.bool_)
        broken = ~np.isfinite(features[suspects, position]) & ~absent
        for row in rows[suspects[broken]].tolist():
            rejected.setdefault(row, Rejection.NON_FINITE_FEATURE)
        if required[position]:
            for row in rows[suspects[absent]].tolist():
                rejected.setdefault(row, Rejection.MISSING_FEATURE)
    return rejected


def _top(contributions: NDArray[np.float64], codes: Sequence[str], k: int) -> list[list[ReasonCode]]:
    """The k features of each row that push most toward fraud, largest first; the last column is the bias."""
    without_bias = contributions[:, :-1]
    order = np.argsort(-without_bias, axis=1, kind="stable")[:, :k]
    largest = np.take_along_axis(without_bias, order, axis=1)
    return [
        [ReasonCode(codes[i], value) for i, value in zip(indices, values, strict=True) if value > 0]
        for indices, values in zip(order.tolist(), largest.tolist(), strict=True)
    ]


def _missing(column: BytesColumn) -> NDArray[np.bool_]:
    empty: NDArray[np.bool_] = column.length == 0
    return empty if column.null is None else empty | column.null


def _take(column: BytesColumn, rows: NDArray[np.int64]) -> BytesColumn:
    return column if len(rows) == len(column.start) else column.take(rows)


def _bytes(columns: Columns, name: str) -> BytesColumn:
    column = columns.columns.get(name)
    if not isinstance(column, BytesColumn) or not column.text:
        raise ConfigurationError(f"The field {name} of the input is no string, so it cannot be an id or a card.")
    return column


def _numbers(columns: Columns, name: str) -> NumberColumn:
    column = columns.columns.get(name)
    if not isinstance(column, NumberColumn):
        raise ConfigurationError(f"The field {name} of the input is no number, so it cannot be a time or an amount.")
    return column
