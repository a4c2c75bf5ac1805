"""Say which model versions serve which cards, in one document that contradicts itself nowhere."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import Annotated, Literal

import msgspec

from models import endpoint, routing
from models.endpoint import MOST_BUDGET_SECONDS, Endpoint
from models.manifest import Policy
from models.registry import Version
from models.routing import BUCKETS, SAMPLING_SALT_ID, Experiment
from models.strict_json import read_strictly
from schemas.errors import ConfigurationError

MAX_BYTES = 2**20
MAX_TEXT = 500
MAX_VARIANTS = 32
MAX_SHADOWS = 16
LAST_EPOCH = 2**31 - 1
"""Decisions bear the epoch as an Avro int."""

CHAMPION = "champion"
"""The control of a rollout that nobody named otherwise."""

Backend = Literal["xgboost", "sagemaker"]
"""Where a model runs: ``xgboost`` is in process, ``sagemaker`` at an endpoint."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Variant:
    """A model version (``NAME@VERSION`` of the registry) and the half-open ranges of buckets whose cards it scores.

    ``endpoint`` is given with the backend ``sagemaker``, and with no other.
    """

    name: str
    version: str
    backend: Backend
    ranges: tuple[tuple[int, int], ...]
    endpoint: Endpoint | None = None

    @property
    def model(self) -> Version:
        """The version, as the registry takes it."""
        return Version.parse(self.version)

    @property
    def fallback(self) -> Version | None:
        """The version that decides in process while the endpoint is out of reach; None where the stream is held."""
        if self.endpoint is None or self.endpoint.on_outage != "fallback":
            return None
        return Version.parse(self.endpoint.fallback or self.version)

    @property
    def models(self) -> tuple[Version, ...]:
        """Every version that it takes to serve this variant."""
        return (self.model,) if self.fallback is None else (self.model, self.fallback)

    @property
    def routed(self) -> routing.Variant:
        """The variant as the routing sees it."""
        return routing.Variant(self.name, self.ranges)

    @property
    def share(self) -> float:
        """The probability that a card is assigned to this variant."""
        return self.routed.share

    @property
    def size(self) -> int:
        """How many buckets it has."""
        return self.routed.size


@dataclass(frozen=True, slots=True)
class Shadow:
    """A model version that scores every card beside the variants and decides none."""

    name: str
    version: str
    backend: Backend
    endpoint: Endpoint | None = None

    @property
    def model(self) -> Version:
        """The version, as the registry takes it."""
        return Version.parse(self.version)

    @property
    def models(self) -> tuple[Version, ...]:
        """Every version that it takes to serve this shadow."""
        return (self.model,)


@dataclass(frozen=True, slots=True)
class Changed:
    """Who made a rollout out of the one before, when, why, and by which change."""

    who: str
    when: Annotated[datetime, msgspec.Meta(tz=True)]
    why: str
    what: str


@dataclass(frozen=True, slots=True)
class Document:
    """A rollout: everything that says what serves. ``epoch`` counts them.

    ``unit`` is the input field that is routed as one, drawn by ``salt_id``; samples are drawn by another salt. The
    first variant is the control: it has what no other has, and scores where another cannot. ``policy`` holds for all
    variants where it is given, the models' own otherwise.
    """

    epoch: int
    experiment_id: str
    salt_id: str
    sampling_salt_id: str
    unit: str
    variants: tuple[Variant, ...]
    shadows: tuple[Shadow, ...]
    policy: Policy | None
    changed: Changed

    @property
    def control(self) -> Variant:
        """The first variant."""
        return self.variants[0]

    @property
    def split(self) -> Experiment:
        """What the routing needs to know."""
        return Experiment(
            self.experiment_id, self.epoch, self.salt_id, tuple(variant.routed for variant in self.variants)
        )

    @property
    def models(self) -> tuple[Version, ...]:
        """Every version that a worker must load, each once, those of the variants first."""
        return tuple(dict.fromkeys(version for each in served(self) for version in each.models))

    @property
    def budget_seconds(self) -> float:
        """The longest that the endpoints of the variants may keep a batch waiting: they are asked in turn."""
        return sum(each.endpoint.budget_seconds for each in self.variants if each.endpoint is not None)


def first(version: Version, changed: Changed, unit: str = "card_id", experiment_id: str = "default") -> Document:
    """The rollout before which there was none: one version scores every card."""
    return Document(
        epoch=1,
        experiment_id=experiment_id,
        salt_id=f"{experiment_id}-1",
        sampling_salt_id=SAMPLING_SALT_ID,
        unit=unit,
        variants=(Variant(CHAMPION, str(version), "xgboost", ((0, BUCKETS),)),),
        shadows=(),
        policy=None,
        changed=changed,
    )


def served(document: Document) -> tuple[Variant | Shadow, ...]:
    """The variants and then the shadows."""
    return (*document.variants, *document.shadows)


def to_json(document: Document) -> bytes:
    """The document as JSON that a person can read; the same document always gives the same bytes."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def from_json(data: bytes, source: str) -> Document:
    """The document that ``to_json`` wrote; ``source`` names it in the error.

    Raises ConfigurationError, naming the field, where something is unknown, missing, of another type or insane.
    """
    document = read_strictly(data, Document, source, MAX_BYTES)
    try:
        return check(document)
    except ConfigurationError as error:
        raise ConfigurationError(f"{source}: {error}") from error


def check(document: Document, load: Callable[[Version], object] | None = None) -> Document:
    """The document, if it can serve. ``load`` is called with every version, and raises where one is not to be had.

    Raises ConfigurationError, naming the field, and what ``load`` raises.
    """
    problem = _problem(document)
    if problem:
        raise ConfigurationError(problem)
    if load:
        for version in document.models:
            load(version)
    return document


def _problem(document: Document) -> str | None:
    kinds = (_value_problems, _drawing_problems, _name_problems, _endpoint_problems, _variant_problems)
    return next(chain.from_iterable(problems(document) for problems in kinds), None)


def _drawing_problems(document: Document) -> Iterator[str]:
    for field, most in (("experiment_id", 48), ("salt_id", 64)):
        if not _NAME.fullmatch(getattr(document, field)) or len(getattr(document, field)) > most:
            yield f"{field} must be a word of letters, digits and . _ -, {most} at most"
    if not document.unit:
        yield "unit must name the input field that is routed as one"
    if document.sampling_salt_id != SAMPLING_SALT_ID:
        yield f"sampling_salt_id must be {SAMPLING_SALT_ID!r}, by which workers draw their samples"
    # Cards drawn by the salt of the samples would all, or none of them, be in the samples.
    if document.salt_id == document.sampling_salt_id:
        yield "salt_id must differ from sampling_salt_id"


def _value_problems(document: Document) -> Iterator[str]:
    if not 1 <= document.epoch <= LAST_EPOCH:
        yield f"epoch must lie between 1 and {LAST_EPOCH:,}"
    for field in ("who", "why", "what"):
        # They are shown in terminals: an escape sequence in a reason would be obeyed there.
        if not getattr(document.changed, field).isprintable() or len(getattr(document.changed, field)) > MAX_TEXT:
            yield f"changed.{field} must be one line of at most {MAX_TEXT} printable characters"
    policy = document.policy
    if policy and not 0 <= policy.review_at <= policy.decline_at <= 1:
        yield "policy: review_at and decline_at must be probabilities, and review_at the lower one"
    if policy and not _NAME.fullmatch(policy.version):
        yield "policy.version must be a word of letters, digits and . _ -, 64 at most"


def _variant_problems(document: Document) -> Iterator[str]:
    if not 1 <= len(document.variants) <= MAX_VARIANTS:
        yield f"variants: there must be 1 to {MAX_VARIANTS}"
    if len(document.shadows) > MAX_SHADOWS:
        yield f"shadows: there may be at most {MAX_SHADOWS}"
    for variant in document.variants[1:]:
        if not variant.ranges:
            yield f"variants: {variant.name} has no buckets: only the control may do without"
    for variant in document.variants:
        if any(start >= end for start, end in variant.ranges):
            yield f"variants: {variant.name} has a range of no bucket"
    try:
        document.split  # noqa: B018 - the routing refuses ranges that leave out a bucket or serve it twice
    except ConfigurationError as error:
        yield f"variants: {error}"


def _endpoint_problems(document: Document) -> Iterator[str]:
    for each in served(document):
        field = "variants" if isinstance(each, Variant) else "shadows"
        if (each.endpoint is None) != (each.backend == "xgboost"):
            yield f'{field}: {each.name}: endpoint must be given with the backend "sagemaker", and with no other'
        if each.endpoint is not None:
            for problem in endpoint.problems(each.endpoint):
                yield f"{field}: {each.name}: endpoint: {problem}"
            try:
                each.models  # noqa: B018 - the registry knows what NAME@VERSION may be
            except ConfigurationError as error:
                yield f"{field}: {each.name}: endpoint: fallback: {error}"
    for shadow in document.shadows:
        if shadow.endpoint is not None and shadow.endpoint.on_outage == "fallback":
            yield f"shadows: {shadow.name}: endpoint: a shadow that cannot score gives no score: it has no fallback"
    if document.budget_seconds > MOST_BUDGET_SECONDS:
        yield f"variants: the budget_seconds of their endpoints may sum to {MOST_BUDGET_SECONDS:g} at most"


def _name_problems(document: Document) -> Iterator[str]:
    seen: set[str] = set()
    for each in served(document):
        field = "variants" if isinstance(each, Variant) else "shadows"
        if not _NAME.fullmatch(each.name):
            yield f"{field}: a name must be a word of letters, digits and . _ -, 64 at most"
        if each.name in seen:
            yield f"{field}: {each.name} is the name of another one too"
        seen.add(each.name)
        try:
            each.model  # noqa: B018 - the registry knows what NAME@VERSION may be
        except ConfigurationError as error:
            yield f"{field}: {each.name}: version: {error}"
