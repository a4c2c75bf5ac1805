"""Say what a scorer is, wherever the model runs."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


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
        """(n, k) features, NaN where missing, to (n,) probabilities."""

    def contributions(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, k) features to (n, k + 1) shares of the log-odds (TreeSHAP), the bias last."""
