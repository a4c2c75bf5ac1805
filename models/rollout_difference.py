"""Say what one rollout changes about another: which share of the cards moves from whom to whom, and what else."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from models.manifest import Policy
from models.rollout import Document
from models.rollout_changes import percent
from models.routing import BUCKETS


@dataclass(frozen=True, slots=True)
class Server:
    """A variant, and the version and the backend by which it scores."""

    variant: str
    version: str
    backend: str

    def __str__(self) -> str:
        return f"{self.variant} ({self.version})"


@dataclass(frozen=True, slots=True)
class Move:
    """The share of all cards that goes from one server to another one."""

    source: Server
    target: Server
    share: float


@dataclass(frozen=True, slots=True)
class Difference:
    """What changes. ``notes`` are sentences about what is no move of cards.

    ``moved`` is the share of the cards that go to another variant, ``rescored`` of those that get another model.
    """

    moved: float
    rescored: float
    moves: tuple[Move, ...]
    notes: tuple[str, ...]


def difference(before: Document, after: Document) -> Difference:
    """What is another thing under ``after`` than it was under ``before``. Who changed it when is not."""
    flows = _independent(before, after) if _redrawn(before, after) else _overlapping(before, after)
    moves = tuple(Move(*pair, share) for pair, share in flows.items() if pair[0] != pair[1])
    return Difference(
        moved=_rounded(sum(each.share for each in moves if each.source.variant != each.target.variant)),
        rescored=_rounded(sum(each.share for each in moves if each.source.version != each.target.version)),
        moves=moves,
        notes=tuple(_notes(before, after)),
    )


def sentences(difference: Difference) -> list[str]:
    """The difference in words, a line each. None where there is none."""
    lines = [f"{percent(each.share)} of the cards: {each.source} → {each.target}" for each in difference.moves]
    if len(lines) > 1:
        lines.append(
            f"in all {percent(difference.moved)} of the cards change their variant, "
            f"{percent(difference.rescored)} their model"
        )
    return [*lines, *difference.notes]


def introduction(document: Document) -> list[str]:
    """What a rollout says for which there is none to compare it with, a line each."""
    lines = [f"{percent(each.share)} of the cards: {each.name} ({each.version})" for each in document.variants]
    lines += [f"shadow {each.name} ({each.version})" for each in document.shadows]
    return [*lines, *([f"policy: {policy_in_words(document.policy)}"] if document.policy else [])]


def _redrawn(before: Document, after: Document) -> bool:
    return (before.salt_id, before.unit) != (after.salt_id, after.unit)


def _servers(document: Document) -> list[Server]:
    return [Server(each.name, each.version, each.backend) for each in document.variants]


def _overlapping(before: Document, after: Document) -> dict[tuple[Server, Server], float]:
    """By old and new server the share of the buckets that both have."""
    edges = {0, BUCKETS}
    for variant in (*before.variants, *after.variants):
        edges.update(edge for ends in variant.ranges for edge in ends)
    cuts = sorted(edges)
    starts = np.array(cuts[:-1])
    owners = zip(before.split.variant_of(starts).tolist(), after.split.variant_of(starts).tolist(), strict=True)
    sizes: dict[tuple[Server, Server], int] = defaultdict(int)
    old, new = _servers(before), _servers(after)
    for (source, target), (start, end) in zip(owners, pairwise(cuts), strict=True):
        sizes[old[source], new[target]] += end - start
    return {pair: size / BUCKETS for pair, size in sizes.items()}


def _independent(before: Document, after: Document) -> dict[tuple[Server, Server], float]:
    """The same where cards are drawn anew: their old bucket says nothing about their new one."""
    return {
        (source, target): _rounded(one.share * other.share)
        for source, one in zip(_servers(before), before.variants, strict=True)
        for target, other in zip(_servers(after), after.variants, strict=True)
        if one.share and other.share
    }


def _notes(before: Document, after: Document) -> Iterator[str]:
    for name in ("experiment_id", "salt_id", "sampling_salt_id", "unit"):
        old, new = getattr(before, name), getattr(after, name)
        if old != new:
            yield f"{name}: {old} → {new}" + (", so cards are drawn anew" if name in ("salt_id", "unit") else "")
    if before.control.name != after.control.name:
        yield f"the control: {before.control.name} → {after.control.name}"
    elif not before.control.size and before.control.version != after.control.version:
        yield f"the control, which has no cards: {before.control.version} → {after.control.version}"
    yield from _endpoint_notes(before, after)
    for shadow in before.shadows:
        if shadow not in after.shadows:
            yield f"shadow {shadow.name} ({shadow.version}) ends"
    for shadow in after.shadows:
        if shadow not in before.shadows:
            yield f"shadow {shadow.name} ({shadow.version}) begins"
    if before.policy != after.policy:
        yield f"policy: {policy_in_words(before.policy)} → {policy_in_words(after.policy)}"


def _endpoint_notes(before: Document, after: Document) -> Iterator[str]:
    endpoints = {each.name: each.endpoint for each in before.variants}
    for variant in after.variants:
        old, new = endpoints.get(variant.name), variant.endpoint
        if old is not None and new is not None and old != new:
            yield f"{variant.name}: endpoint {old.name} → " + (new.name if new.name != old.name else "other settings")


def policy_in_words(policy: Policy | None) -> str:
    """Whose thresholds hold, and which they are."""
    if policy is None:
        return "each model's own"
    return f"{policy.version} for all (review from {policy.review_at:g}, decline from {policy.decline_at:g})"


def _rounded(share: float) -> float:
    """Free of the noise of adding floats: a millionth of a millionth is a millionth of a bucket."""
    return round(share, 12)
