"""Take one score apart: what the mean of all transactions, and each feature of this one, put into it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from models.manifest import Policy
from models.model import Model

MOST = 12
"""Features shown by themselves; the others are taken together."""


@dataclass(frozen=True, slots=True)
class Share:
    """What ``feature`` with ``value`` (None where missing) adds to the log-odds; ``text`` says it for people."""

    feature: str
    code: str
    text: str
    value: float | None
    contribution: float


@dataclass(frozen=True, slots=True)
class Step:
    """A bar of a waterfall, in log-odds: a change from ``begin`` to ``end``, or a total, where both are one."""

    name: str
    begin: float
    end: float
    total: bool

    @property
    def number(self) -> str:
        """The total, or the change with its sign."""
        return f"{self.end:.3f}" if self.total else f"{self.end - self.begin:+.3f}"

    @property
    def style(self) -> str:
        """What it is: a total, or a change toward fraud or away from it."""
        return "total" if self.total else "toward" if self.end > self.begin else "away"


@dataclass(frozen=True, slots=True)
class Explanation:
    """One score: from ``bias``, the log-odds of the mean transaction, over the shares to those of the score.

    ``shares`` come largest first, in either direction; ``sha256`` is the digest of the model, in hex.
    """

    model: str
    version: str
    sha256: str
    policy: Policy
    score: float
    bias: float
    shares: tuple[Share, ...]

    @property
    def log_odds(self) -> float:
        """Bias and shares together."""
        return self.bias + sum(share.contribution for share in self.shares)

    @property
    def outcome(self) -> str:
        """What the policy of the model makes of the score."""
        if self.score >= self.policy.decline_at:
            return "decline"
        return "review" if self.score >= self.policy.review_at else "approve"

    @property
    def thresholds(self) -> tuple[tuple[str, float], ...]:
        """(outcome, from which score on), without one that every score reaches, or none."""
        named = (("review", self.policy.review_at), ("decline", self.policy.decline_at))
        return tuple((name, at) for name, at in named if 0 < at < 1)

    def way(self) -> list[Step]:
        """From the mean transaction over each of the first shares, and all others together, to the score."""
        rest = self.shares[MOST:]
        changes = [(label(share), share.contribution) for share in self.shares[:MOST]]
        if rest:
            changes.append((f"{len(rest)} others", sum(share.contribution for share in rest)))
        steps = [Step("mean transaction", self.bias, self.bias, total=True)]
        for name, change in changes:
            steps.append(Step(name, steps[-1].end, steps[-1].end + change, total=False))
        return [*steps, Step("this transaction", self.log_odds, self.log_odds, total=True)]


def span(explanation: Explanation) -> tuple[float, float]:
    """The least and the largest log-odds that a waterfall has to show, thresholds included."""
    ends = [step.end for step in explanation.way()]
    shown = [*ends, *(float(logit(at)) for _, at in explanation.thresholds)]
    return min(shown), max(*shown, min(shown) + 1e-9)


def heading(explanation: Explanation) -> str:
    """What becomes of the score, and from where on what would have."""
    limits = "".join(f", {name} from {percent(at)}" for name, at in explanation.thresholds)
    return f"{explanation.outcome}: score {percent(explanation.score)}{limits}"


def percent(probability: float) -> str:
    """A probability with the digits that tell it from 0 and from 1."""
    return f"{100 * probability:.3g} %" if probability < 0.995 else f"{100 * probability:.4f} %"


def label(share: Share) -> str:
    """The feature with its value, and what it means if somebody said so."""
    value = "missing" if share.value is None else f"{share.value:.6g}"
    meaning = f" ({share.text})" if share.text else ""
    return f"{share.feature} = {value}{meaning}"


def explain(model: Model, features: NDArray[np.float32]) -> Explanation:
    """The score that ``model`` gives to ``features`` (k,), NaN where missing, taken apart."""
    rows = features.reshape(1, -1)
    *contributions, bias = model.contributions(rows)[0].tolist()
    shares = [
        Share(
            feature=name,
            code=code,
            text=model.reasons[name].text if name in model.reasons else "",
            value=None if np.isnan(value) else float(value),
            contribution=contribution,
        )
        for name, code, value, contribution in zip(model.features, model.codes, features, contributions, strict=True)
    ]
    return Explanation(
        model=model.name,
        version=model.version,
        sha256=model.sha256.hex(),
        policy=model.policy,
        score=float(model.score(rows)[0]),
        bias=bias,
        shares=tuple(sorted(shares, key=lambda share: -abs(share.contribution))),
    )
