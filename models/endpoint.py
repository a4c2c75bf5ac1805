"""Say how the endpoint of a variant is called, how long it may take, and what happens when it is out of reach."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from models.manifest import Manifest
from schemas.errors import ConfigurationError

LARGEST_REQUEST = 6_291_456
"""Bytes: the most that SageMaker's InvokeEndpoint takes, and the most that the XGBoost container reads."""

MOST_BUDGET_SECONDS = 30.0
"""Of all endpoints of a rollout together: a worker polls nothing while it waits, and its group is less patient."""

Accept = Literal["text/csv", "application/json", "application/jsonlines"]
Outage = Literal["hold", "fallback"]

_NAME = re.compile(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}")


@dataclass(frozen=True, slots=True)
class Breaker:
    """When to leave an endpoint alone, and when to ask it again.

    It opens when of the last ``window`` requests (``least`` at least) the share ``errors`` failed, or ``timeouts`` were
    not answered in time. After ``probe_seconds`` it is asked for the golden rows of the model; ``probes`` right answers
    in a row close it.
    """

    window: int = 20
    least: int = 5
    errors: float = 0.5
    timeouts: float = 0.3
    probe_seconds: float = 5.0
    probes: int = 2


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A SageMaker endpoint that serves the version of a variant.

    ``target_variant`` names one of its production variants, ``inference_component`` one of its components; without
    either SageMaker's weights choose. Of one batch ``in_flight`` requests of at most ``request_rows`` rows and
    ``request_bytes`` are under way at once, and all of it may take ``budget_seconds``. ``on_outage`` says whether the
    stream is held, or decided by ``fallback``, a version of the registry in process (that of the variant if None).

    With ``sentinels`` each request begins and ends with a golden row of the model, whose score must come back in its
    place: an answer in another order, or of another model, is no answer.
    """

    name: str
    target_variant: str | None = None
    inference_component: str | None = None
    custom_attributes: str | None = None
    region: str | None = None
    accept: Accept = "text/csv"
    on_outage: Outage = "hold"
    fallback: str | None = None
    budget_seconds: float = 5.0
    connect_seconds: float = 1.0
    read_seconds: float = 2.0
    in_flight: int = 4
    request_rows: int = 1000
    request_bytes: int = LARGEST_REQUEST
    sentinels: bool = True
    breaker: Breaker = Breaker()


def problems(endpoint: Endpoint) -> Iterator[str]:
    """What is wrong with the settings of an endpoint, each naming its field."""
    for field in ("name", "target_variant", "inference_component"):
        value = getattr(endpoint, field)
        if value is not None and not _NAME.fullmatch(value):
            yield f"{field} must be letters, digits and single dashes between them, 63 at most"
    attributes = endpoint.custom_attributes
    if attributes is not None and not (attributes.isascii() and attributes.isprintable() and len(attributes) <= 1024):
        yield "custom_attributes must be at most 1024 visible ASCII characters"
    if endpoint.region is not None and not re.fullmatch(r"[a-z0-9-]{1,32}", endpoint.region):
        yield "region must be one such as eu-central-1"
    if endpoint.fallback is not None and endpoint.on_outage != "fallback":
        yield 'fallback needs "on_outage": "fallback"'
    yield from _range_problems(endpoint)


def _range_problems(endpoint: Endpoint) -> Iterator[str]:
    breaker = endpoint.breaker
    for name, value, least, most in (
        ("budget_seconds", endpoint.budget_seconds, 0.1, MOST_BUDGET_SECONDS),
        ("connect_seconds", endpoint.connect_seconds, 0.05, endpoint.budget_seconds),
        ("read_seconds", endpoint.read_seconds, 0.05, endpoint.budget_seconds),
        ("in_flight", endpoint.in_flight, 1, 64),
        ("request_rows", endpoint.request_rows, 1, 100_000),
        ("request_bytes", endpoint.request_bytes, 1000, LARGEST_REQUEST),
        ("breaker.window", breaker.window, 1, 1000),
        ("breaker.least", breaker.least, 1, breaker.window),
        ("breaker.errors", breaker.errors, 0.01, 1),
        ("breaker.timeouts", breaker.timeouts, 0.01, 1),
        ("breaker.probe_seconds", breaker.probe_seconds, 0.1, 300),
        ("breaker.probes", breaker.probes, 1, 10),
    ):
        if not (math.isfinite(value) and least <= value <= most):
            yield f"{name} must lie between {least:,} and {most:,}"


def check_servable(described: Manifest) -> None:
    """Raise ConfigurationError unless one container can score as the model does."""
    if len(described.members) > 1:
        raise ConfigurationError(
            f"{described.name}@{described.version} has {len(described.members)} members, and the XGBoost container "
            "averages without their weights: an endpoint cannot serve it"
        )
