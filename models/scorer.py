"""Say what a scorer is, wherever the model runs.

FraudstreamError
└── ScorerUnavailableError       nobody is at fault but what scores: hold the stream, or let another model decide
    ├── EndpointRefusesError     a right is missing: at a start exit code 77
    └── EndpointMissingError     there is no such endpoint, or it is not in service: at a start exit code 78
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from models.breaker import State
from schemas.decision import Invocation
from schemas.errors import ConfigurationError, FraudstreamError, NotPermittedError


class ScorerUnavailableError(FraudstreamError):
    """Catch this to wait, or to let another model decide. ``again_in`` is when it may help to ask again, in s."""

    def __init__(self, reason: str, again_in: float = 0.0) -> None:
        super().__init__(reason)
        self.again_in = again_in


class EndpointRefusesError(ScorerUnavailableError):
    """Catch this at a start: the endpoint does not let us in, and waiting gives nobody a right."""

    exit_code = NotPermittedError.exit_code


class EndpointMissingError(ScorerUnavailableError):
    """Catch this at a start: the settings of the endpoint name what is not there."""

    exit_code = ConfigurationError.exit_code


@dataclass(frozen=True, slots=True)
class Answer:
    """(n,) float64 ``scores``, NaN for rows that the model refused; ``invoked`` (n,) int16 indexes ``invocations``."""

    scores: NDArray[np.float64]
    invoked: NDArray[np.int16]
    invocations: Sequence[Invocation]


class Scorer(Protocol):
    """A model that turns features into probabilities of fraud."""

    @property
    def name(self) -> str:
        """What the model is called in the registry and in every decision."""

    @property
    def version(self) -> str:
        """Which of the models of this name it is."""

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features, in the order of the columns."""

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, k) features, NaN where missing, to (n,) probabilities; NaN for a row that the model refuses.

        Raises ScorerUnavailableError where the model runs elsewhere and cannot be asked now.
        """

    def contributions(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, k) features to (n, k + 1) shares of the log-odds (TreeSHAP), the bias last."""


@runtime_checkable
class RemoteScorer(Scorer, Protocol):
    """A scorer that runs elsewhere, and can say who answered."""

    @property
    def state(self) -> State:
        """That of its circuit breaker."""

    @property
    def openings(self) -> int:
        """How often the circuit breaker has opened."""

    def answer(self, features: NDArray[np.float32]) -> Answer:
        """As ``score``, with what is known of the requests. Raises ScorerUnavailableError."""
