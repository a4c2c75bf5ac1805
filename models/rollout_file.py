"""Decide which rollout a file asks for that a person wrote: shares for people, ranges where every bucket is named."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from models.endpoint import Endpoint
from models.manifest import Policy
from models.rollout import MAX_BYTES, Backend, Changed, Document, Shadow, Variant
from models.rollout_changes import By, buckets_of, follow, percent, share_out
from models.routing import BUCKETS, SAMPLING_SALT_ID
from models.store import ConflictError
from models.strict_json import read_strictly
from schemas.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class WantedVariant:
    """A variant by its share of the cards, or by its very buckets."""

    name: str
    version: str
    share: float | None = None
    ranges: tuple[tuple[int, int], ...] | None = None
    backend: Backend = "xgboost"
    endpoint: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class WantedShadow:
    """A shadow."""

    name: str
    version: str
    backend: Backend = "xgboost"
    endpoint: Endpoint | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """All that is to serve. What decides how cards are drawn stays as it is where it is not given.

    With ``epoch`` it was made out of that rollout, and is refused when another one is in force by now. ``changed`` is
    there because ``rollout show --json`` prints it; it is written anew.
    """

    variants: tuple[WantedVariant, ...]
    shadows: tuple[WantedShadow, ...] = ()
    policy: Policy | None = None
    experiment_id: str | None = None
    salt_id: str | None = None
    sampling_salt_id: str | None = None
    unit: str | None = None
    epoch: int | None = None
    changed: Changed | None = None


def read_wanted(data: bytes, source: str) -> Wanted:
    """What a file asks for; ``source`` names it in errors. Raises ConfigurationError naming the field."""
    wanted = read_strictly(data, Wanted, source, MAX_BYTES)
    if not wanted.variants:
        raise ConfigurationError(f"{source}: variants: there must be one at least")
    return wanted


def apply(wanted: Wanted, current: Document | None, by: By, unit: str) -> Document:
    """The rollout after ``current`` that says what is wanted; ``current`` itself where it says so already.

    ``unit`` is the routing unit where neither says one. The fewest cards move.

    Raises ConflictError where the file was made out of another rollout, ConfigurationError for shares that are none.
    """
    if wanted.epoch is not None and current is not None and wanted.epoch != current.epoch:
        raise ConflictError(f"the file was made out of rollout {wanted.epoch}, and {current.epoch} is in force by now")
    base = current or _nothing(by, unit)
    drawn = ("experiment_id", "salt_id", "sampling_salt_id", "unit")
    given: dict[str, Any] = {name: getattr(wanted, name) for name in drawn if getattr(wanted, name) is not None}
    if given.get("experiment_id", base.experiment_id) != base.experiment_id:
        given.setdefault("salt_id", f"{wanted.experiment_id}-{base.epoch + 1}")
    content = replace(
        base,
        variants=_variants(wanted.variants, base),
        shadows=tuple(Shadow(each.name, each.version, each.backend, each.endpoint) for each in wanted.shadows),
        policy=wanted.policy,
        **given,
    )
    return follow(base, content, by, "set")


def _nothing(by: By, unit: str) -> Document:
    """What comes before the first rollout."""
    return Document(0, "default", "default-1", SAMPLING_SALT_ID, unit, (), (), None, Changed(by.who, by.when, "", ""))


def _variants(wanted: Sequence[WantedVariant], base: Document) -> tuple[Variant, ...]:
    variants = [Variant(each.name, each.version, each.backend, each.ranges or (), each.endpoint) for each in wanted]
    if all(each.ranges is not None and each.share is None for each in wanted):
        return tuple(variants)
    control, *challengers = wanted
    if any(each.ranges is not None for each in wanted) or any(each.share is None for each in challengers):
        raise ConfigurationError(
            "variants: give each of them a share (the first one may do without), or each its ranges"
        )
    sizes = {each.name: buckets_of(each.share) for each in challengers if each.share is not None}
    left = BUCKETS - sum(sizes.values())
    # Shares such as a third are rounded, each by half a bucket at most: the control has what that leaves.
    if control.share is not None and abs(buckets_of(control.share) - left) > len(wanted):
        total = control.share + sum(each.share or 0 for each in challengers)
        raise ConfigurationError(f"variants: the shares sum to {percent(total)}")
    return share_out(base, variants, sizes)
