"""Follow the rollout of a store: load what is new beside what serves, and try again what could not be loaded."""

import time
from collections.abc import Callable
from threading import Event, Thread

import structlog

from consumer.loading import Loader, load_serving
from consumer.metrics import WorkerMetrics
from consumer.serving import Serving
from consumer.settings import WorkerSettings
from models.registry import Registry
from models.rollout import Document
from models.rollout_store import RolloutStore
from models.scorer import ScorerUnavailableError
from models.store import NotStoredError, StoreUnavailableError, open_store
from schemas.errors import ConfigurationError, FraudstreamError, NotPermittedError

log = structlog.get_logger()

LONGEST_PAUSE_SECONDS = 60.0
CLOSE_SECONDS = 1.0

_AWAY = (StoreUnavailableError, NotPermittedError, NotStoredError)
"""What says nothing of the rollout: that which was read last is the one that holds."""


class Follower:
    """Polls the rollout on a thread of its own and holds what is to serve, which the loop takes between two batches.

    Whatever fails, what serves goes on: the store may be away for hours, the document wrong, or the control unfit. A
    rollout that could not be loaded, or not all of it, is tried again after a pause that doubles up to a minute.
    """

    def __init__(
        self,
        rollouts: RolloutStore,
        loader: Loader,
        poll_seconds: float,
        metrics: WorkerMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rollouts = rollouts
        self._loader = loader
        self._poll_seconds = poll_seconds
        self._metrics = metrics
        self._clock = clock
        self._etag = ""
        self._document: Document | None = None
        self._serving: Serving | None = None
        self._loaded_etag = ""
        self._due: float | None = None
        self._attempts = 0
        self._read_at = clock()
        self._said: str | None = None
        self.refusal: ScorerUnavailableError | None = None
        """Why nothing will serve until somebody acts: at a start the endpoint of the control had us not."""
        self._prepared = False
        self._stop = Event()
        self._thread = Thread(target=self._run, name="follow the rollout", daemon=True)
        metrics.rollout_age.set_function(lambda: clock() - self._read_at)

    @property
    def serving(self) -> Serving | None:
        """What is to serve from the next batch on; None until something could be loaded."""
        return self._serving

    def start(self) -> None:
        """Poll from now on."""
        self._thread.start()

    def close(self) -> None:
        """Poll no more. An answer of the store that is still to come is not waited for."""
        self._stop.set()
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while not self._stop.is_set():
            self.poll()
            self._stop.wait(self._poll_seconds)

    def poll(self) -> None:
        """Read the rollout if it changed; load it if it did, or if it is time to try again."""
        try:
            self._read()
            self._load_if_due()
            self._prepare_a_rollback()
        except ScorerUnavailableError as error:
            self.refusal = error if self._serving is None else None
            self._hold_back(str(error))
        except _AWAY as error:
            self._complain("rollout_not_read", str(error))
        except FraudstreamError as error:
            self._hold_back(str(error))
        except Exception as error:  # noqa: BLE001 - a thread that died would keep the next rollout out for ever
            self._hold_back(type(error).__name__)
        else:
            self._said = None

    def _read(self) -> None:
        changed = self._rollouts.changed_since(self._etag) if self._etag else self._rollouts.current()
        self._read_at = self._clock()
        if changed is not None:
            self._document, self._etag = changed
            self._due, self._attempts = self._read_at, 0
        elif self._due is None:
            self._metrics.rollout_held_back.set(0)

    def _load_if_due(self) -> None:
        if self._document is None or self._due is None or self._clock() < self._due:
            return
        self._due = self._clock() + min(LONGEST_PAUSE_SECONDS, self._poll_seconds * 2.0 ** min(self._attempts, 20))
        self._attempts += 1
        serving = self._loader.load(self._document)
        self._metrics.rollout_held_back.set(0)
        if not serving.missing:
            self._due = None
        for each in serving.missing:
            self._metrics.load_failures.labels(each.role).inc()
        self._offer(serving)

    def _prepare_a_rollback(self) -> None:
        """After a start hold the control of the rollout before; from then on the loader keeps what it replaces."""
        if self._prepared or self._serving is None:
            return
        self._prepared = True
        if self._serving.epoch > 1:
            try:
                self._loader.hold(self._rollouts.at(self._serving.epoch - 1).control.model)
            except FraudstreamError as error:
                log.info("rollback_not_prepared", reason=str(error))

    def _offer(self, serving: Serving) -> None:
        """Have it serve, unless it is what serves already: another attempt that came to the same."""
        if self._serving is not None and self._loaded_etag == self._etag and self._serving.missing == serving.missing:
            return
        for each in serving.missing:
            log.error("model_missing", role=each.role, name=each.name, version=each.version, reason=each.reason)
        self._serving, self._loaded_etag = serving, self._etag

    def _hold_back(self, reason: str) -> None:
        """What served goes on to serve, whole: a mixture of two rollouts would be none that anybody has decided on."""
        self._metrics.rollout_held_back.set(1)
        self._metrics.load_failures.labels("rollout").inc()
        self._complain("rollout_held_back", reason)

    def _complain(self, event: str, reason: str) -> None:
        """Once, until a poll succeeds or fails otherwise: a worker may be without its store for hours."""
        if reason != self._said:
            self._said = reason
            serves = None if self._serving is None else self._serving.epoch
            log.error(event, reason=reason, epoch_serving=serves)


class Directories:
    """What the directories of the settings say: the same for as long as the process lives."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Raises ConfigurationError if a model cannot be loaded."""
        self.serving = load_serving(settings)
        self.refusal: ScorerUnavailableError | None = None

    def start(self) -> None:
        """There is nothing to follow."""

    def close(self) -> None:
        """Nor to end."""


def source_of(settings: WorkerSettings, metrics: WorkerMetrics) -> Follower | Directories:
    """Where a worker learns what serves: directories if a model is given, else the rollout of the store.

    Raises ConfigurationError if a model cannot be loaded or a setting is wrong.
    """
    if settings.model is not None or settings.store is None:
        return Directories(settings)
    if settings.challenger is not None:
        raise ConfigurationError("challenger: the rollout says what serves; a challenger needs a model beside it")
    store = open_store(settings.store, settings.store_endpoint)
    loader = Loader(Registry(store), settings, metrics.observe_request)
    return Follower(RolloutStore(store), loader, settings.rollout_poll_seconds, metrics)
