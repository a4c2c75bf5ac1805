"""Decide which rollout comes next when somebody promotes a version, ramps, shadows or rolls back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import chain, count
from typing import Any

from models.registry import Version
from models.rollout import Changed, Document, Shadow, Variant, served
from models.routing import BUCKETS, resplit
from schemas.errors import ConfigurationError

CHALLENGER = "challenger"
"""What a version is called that comes beside the champion, if nobody has the name."""


@dataclass(frozen=True, slots=True)
class By:
    """Who changes the rollout, when and why."""

    who: str
    when: datetime
    why: str


def promote(document: Document, version: Version, by: By) -> Document:
    """``version`` becomes the control's. The challenger that had it gives its cards to the control; others keep theirs.

    Where nobody is left to split with, the experiment is over: the next one draws its cards by another salt, so that
    it is not the same cards that meet every challenger. It runs where it ran before.

    Raises ConfigurationError for a new version in the place of one that an endpoint serves: the endpoint serves that.
    """
    before = [variant for variant in document.variants if variant.model == version]
    if not before and document.control.endpoint is not None:
        raise ConfigurationError(
            f"{version} is served by no endpoint, and {document.control.name} is: say in a file where it runs "
            "(`fraudstream rollout set`)"
        )
    server = before[0] if before else document.control
    control = replace(document.control, version=str(version), backend=server.backend, endpoint=server.endpoint)
    others = [variant for variant in document.variants[1:] if variant.model != version]
    over = len(document.variants) > 1 and not others
    return _next(
        document,
        by,
        f"promote {version}",
        salt_id=f"{document.experiment_id}-{document.epoch + 1}" if over else document.salt_id,
        variants=share_out(document, [control, *others], {each.name: each.size for each in others}),
        shadows=tuple(each for each in document.shadows if each.model != version),
    )


def ramp(document: Document, challenger: str, share: float, by: By) -> Document:
    """``challenger`` gets this share of the cards, from the control or back to it; at 0 it leaves the rollout.

    It is the name of a variant or of a shadow, or any ``NAME@VERSION``; a shadow stops to be one. On the way up it
    keeps every card that it has.

    Raises ConfigurationError for a challenger that is none, and for a share that the control does not have.
    """
    entered, variant = _entered(document, challenger)
    ramped = set_shares(entered, {variant.name: share}, by)
    what = f"ramp {variant.name} ({variant.version}) to {percent(share)}"
    return _next(document, by, what, variants=ramped.variants, shadows=ramped.shadows)


def set_shares(document: Document, shares: Mapping[str, float], by: By) -> Document:
    """These challengers get these shares, the others keep theirs, and the control gets what is left.

    The fewest cards move. A challenger with a share of 0 leaves the rollout. Raises ConfigurationError for a name that
    is no challenger's, and for shares that are none.
    """
    sizes = {variant.name: variant.size for variant in document.variants[1:]}
    for name, share in shares.items():
        if name not in sizes:
            raise ConfigurationError(f"there is no challenger {name!r}")
        sizes[name] = buckets_of(share)
    left = {name: size for name, size in sizes.items() if size}
    variants = [document.control, *(each for each in document.variants[1:] if each.name in left)]
    what = "set " + ", ".join(f"{name} to {percent(share)}" for name, share in shares.items())
    return _next(document, by, what, variants=share_out(document, variants, left))


def shadow(document: Document, version: Version, by: By) -> Document:
    """``version`` scores every card beside the variants and decides none.

    Raises ConfigurationError where it decides already.
    """
    if any(each.model == version for each in document.shadows):
        return document
    for each in document.variants:
        if each.model == version:
            raise ConfigurationError(f"{version} decides already, as {each.name}: it has nothing to shadow")
    added = Shadow(_free_name(document), str(version), "xgboost")
    return _next(document, by, f"shadow {version}", shadows=(*document.shadows, added))


def unshadow(document: Document, version: Version, by: By) -> Document:
    """``version`` is a shadow no more. Raises ConfigurationError where it was none."""
    left = tuple(each for each in document.shadows if each.model != version)
    if len(left) == len(document.shadows):
        raise ConfigurationError(f"{version} is no shadow")
    return _next(document, by, f"stop to shadow {version}", shadows=left)


def rollback(document: Document, to: Document, by: By) -> Document:
    """What ``to`` said is said again, by a rollout of its own: the history only ever grows."""
    return follow(document, to, by, f"roll back to {to.epoch}")


def before(history: Sequence[Document]) -> Document:
    """The rollout to go back to: the one before what is in force now came into force *for the first time*.

    So a second rollback goes back one step more, and not forth again. Raises ConfigurationError where there is none.
    """
    since = next(index for index, each in enumerate(history) if same(each, history[-1]))
    if not since:
        raise ConfigurationError(
            f"there is nothing to go back to: what is in force is what rollout {history[0].epoch} said"
        )
    return history[since - 1]


def follow(document: Document, content: Document, by: By, what: str) -> Document:
    """``content`` as the rollout after ``document``, or ``document`` itself where that says the same."""
    if same(document, content):
        return document
    return replace(content, epoch=document.epoch + 1, changed=Changed(by.who, by.when, by.why, what))


def same(one: Document, other: Document) -> bool:
    """Whether two rollouts say the same, whoever said it when."""
    return replace(one, epoch=other.epoch, changed=other.changed) == other


def share_out(document: Document, variants: Sequence[Variant], sizes: Mapping[str, int]) -> tuple[Variant, ...]:
    """These variants, the control first, with so many buckets each and the control with the rest; few cards move."""
    split = resplit([each.routed for each in document.variants], variants[0].name, sizes)
    ranges = {each.name: each.ranges for each in split}
    return tuple(replace(each, ranges=ranges[each.name]) for each in variants)


def buckets_of(share: float) -> int:
    """How many buckets that is. Raises ConfigurationError unless it lies between 0 and 1."""
    if not 0 <= share <= 1:
        raise ConfigurationError(f"a share must lie between 0 and 1, not {share}")
    return round(share * BUCKETS)


def version_of(document: Document, text: str) -> Version:
    """The version that ``NAME@VERSION`` or the name of a variant or shadow means. Raises ConfigurationError."""
    for each in served(document):
        if each.name == text:
            return each.model
    if "@" not in text:
        names = ", ".join(each.name for each in served(document))
        raise ConfigurationError(f"nothing is called {text!r} in this rollout, only {names}: or give NAME@VERSION")
    return Version.parse(text)


def percent(share: float) -> str:
    """A share as people write it; a bucket is a ten thousandth of a percent."""
    return f"{share * 100:.4f}".rstrip("0").rstrip(".") + "%"


def _next(document: Document, by: By, what: str, **content: Any) -> Document:
    return follow(document, replace(document, **content), by, what)


def _entered(document: Document, challenger: str) -> tuple[Document, Variant]:
    """The rollout in which it is a challenger, without cards if it is new there."""
    for each in document.variants[1:]:
        if challenger in (each.name, each.version):
            return document, each
    if challenger in (document.control.name, document.control.version):
        raise ConfigurationError(f"{challenger} is the control: ramp a challenger, and the control has the rest")
    version = version_of(document, challenger)
    added = Variant(_free_name(document), str(version), "xgboost", ())
    for shadowing in document.shadows:
        if shadowing.model == version:
            added = Variant(shadowing.name, shadowing.version, shadowing.backend, (), shadowing.endpoint)
    shadows = tuple(each for each in document.shadows if each.model != version)
    return replace(document, variants=(*document.variants, added), shadows=shadows), added


def _free_name(document: Document) -> str:
    taken = {each.name for each in served(document)}
    names = chain([CHALLENGER], (f"{CHALLENGER}-{number}" for number in count(2)))
    return next(name for name in names if name not in taken)
