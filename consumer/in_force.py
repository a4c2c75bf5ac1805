"""Swap what decides between two batches, and let go of what decided before."""

from collections.abc import Callable

import structlog

from consumer.metrics import WorkerMetrics
from consumer.serving import Serving
from consumer.shadows import ShadowRunner

log = structlog.get_logger()


class InForce:
    """What decides the batch at hand. It changes when ``swap`` is called, and at no other moment.

    ``latest`` tells what is to serve: asked once for each batch, it must not wait for anything.
    """

    def __init__(
        self, latest: Callable[[], Serving | None], shadow_budget_seconds: float, metrics: WorkerMetrics
    ) -> None:
        self._latest = latest
        self._budget = shadow_budget_seconds
        self._metrics = metrics
        self.serving: Serving | None = None
        self.shadows = ShadowRunner((), 0.0, metrics.observe_shadow)

    def swap(self) -> Serving | None:
        """Take over what is to serve now; what served before is held by nobody when its shadows have ended."""
        latest = self._latest()
        if latest is not self.serving and latest is not None:
            self.shadows = ShadowRunner(latest.shadows, self._budget, self._metrics.observe_shadow)
            self.serving = latest
            self._metrics.observe_serving(latest)
            log.info(
                "serving",
                epoch=latest.epoch,
                models={x.variant: f"{x.model_name}@{x.model_version}" for x in latest.lineages},
                shadows=[shadow.name for shadow in latest.shadows],
                missing=[each.name for each in latest.missing],
            )
        return self.serving
