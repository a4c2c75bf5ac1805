"""Score at a SageMaker endpoint: whole batches within a budget, each answer checked, or an error that says why not."""

import random
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from functools import partial
from threading import Event
from typing import Any

import boto3
import numpy as np
from botocore.config import Config
from botocore.exceptions import BotoCoreError
from numpy.typing import NDArray

from models.body import pieces
from models.breaker import CircuitBreaker, Ended, State
from models.endpoint import Endpoint, check_servable
from models.endpoint_errors import EXPECTED, TRIED_AGAIN, Fault, fault_of
from models.endpoint_text import CSV, BadAnswerError, largest_answer, parts_of, rows_of, scores_in
from models.lanes import Lanes
from models.model import Model
from models.scorer import (
    Answer,
    EndpointMissingError,
    EndpointRefusesError,
    ScorerUnavailableError,
)
from schemas.decision import Invocation
from schemas.errors import BadModelError, ConfigurationError

ATTEMPTS = 2
PAUSE_SECONDS = 0.1
THROTTLED_PAUSE_SECONDS = 1.0
"""The longest pause before the second attempt. Each is drawn: workers must not come back together (full jitter)."""
MOST_PROBE_ROWS = 100
KNOWN_TOLERANCE = 1e-5
"""Between a golden row's score there and here: the container sums the same float32 numbers from another base score."""

Watch = Callable[[str, float], None]
"""Told how each request ended, ``answered`` or the name of its fault, and the seconds that it took."""


def unwatched(_: str, _seconds: float) -> None:
    """Nobody counts the requests."""


@dataclass(frozen=True, slots=True)
class _Reply:
    """What the attempts at one request came to: the scores of its rows, or a fault."""

    tried: tuple[Fault | None, ...]
    scores: NDArray[np.float64] | None = None
    invocation: Invocation | None = None

    @property
    def fault(self) -> Fault | None:
        return self.tried[-1]


class EndpointScorer:
    """A version of the registry that scores at an endpoint. The ``model`` itself explains, and knows the golden rows.

    The endpoint serves what ``container_model`` makes of it. Nothing of a batch is scored unless all of it is, but for
    rows that the endpoint refuses by themselves: these are NaN.

    One thread uses it at a time.
    """

    def __init__(
        self,
        model: Model,
        endpoint: Endpoint,
        url: str | None = None,
        watch: Watch = unwatched,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``url`` is where SageMaker's runtime is called, AWS's own if None.

        Raises ConfigurationError where the container could not score as the model does, or the client has no region.
        """
        check_servable(model.manifest)
        self.endpoint = endpoint
        self.model = model
        self._client = _client(endpoint, url)
        self._arguments = _arguments(endpoint)
        self._watch = watch
        self._clock = clock
        self._breaker = CircuitBreaker(endpoint.breaker)
        self._lanes = self._new_lanes()
        self._refused: set[bytes] = set()
        golden = np.array([row.features for row in model.manifest.golden_rows[:MOST_PROBE_ROWS]], np.float32)
        self._golden = rows_of(golden)
        self._golden_scores = model.score(golden)
        low, high = int(self._golden_scores.argmin()), int(self._golden_scores.argmax())
        self._sentinels = (low, high) if endpoint.sentinels else ()

    @property
    def name(self) -> str:
        """What the model is called."""
        return self.model.name

    @property
    def version(self) -> str:
        """Which of the models of this name it is."""
        return self.model.version

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the features, in the order of the columns."""
        return self.model.features

    @property
    def state(self) -> State:
        """That of the circuit breaker."""
        return self._breaker.state(self._clock())

    @property
    def openings(self) -> int:
        """How often the circuit breaker has opened."""
        return self._breaker.openings

    def contributions(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """See Model: the container gives no reasons, so they are found here."""
        return self.model.contributions(features)

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """See Scorer."""
        return self.answer(features).scores

    def check(self) -> None:
        """Ask for the golden rows. An endpoint that is only out of reach may come back, and passes.

        Raises EndpointRefusesError or EndpointMissingError, and BadModelError where it is another model that answers.
        """
        try:
            self._let_in(self._clock() + self.endpoint.budget_seconds)
        except (EndpointRefusesError, EndpointMissingError):
            raise
        except ScorerUnavailableError as error:
            if isinstance(error.__cause__, BadAnswerError):
                wrong = f"endpoint {self.endpoint.name} does not serve {self.name}@{self.version}: {error.__cause__}"
                raise BadModelError(wrong) from error

    def answer(self, features: NDArray[np.float32]) -> Answer:
        """See RemoteScorer."""
        deadline = self._clock() + self.endpoint.budget_seconds
        self._let_in(deadline)
        lines = rows_of(features)
        scores, invoked = np.full(len(lines), np.nan), np.full(len(lines), -1, np.int16)
        invocations: list[Invocation] = []
        for rows, reply in self._replies(lines, deadline):
            assert reply.scores is not None
            scores[rows] = reply.scores
            if reply.invocation is not None:
                invoked[rows] = len(invocations)
                invocations.append(reply.invocation)
        self._refused.clear()
        return Answer(scores, invoked, invocations)

    def _let_in(self, deadline: float) -> None:
        """Raise ScorerUnavailableError unless the breaker is closed, or is after the probes that are due."""
        while (state := self.state) is not State.CLOSED:
            if state is State.OPEN:
                raise self._unavailable("is left alone: its circuit breaker is open")
            error = self._ask_golden(deadline)
            self._breaker.probed(right=error is None, now=self._clock())
            if error is not None:
                raise self._failed(fault_of(error)) from error

    def _ask_golden(self, deadline: float) -> Exception | None:
        """What went wrong with one request for the golden rows; None where they have their scores."""
        future = self._lanes.submit(partial(self._attempt, self._golden, self._golden_scores, deadline))
        try:
            future.result(max(0.0, deadline - self._clock()))
        except EXPECTED as error:
            if isinstance(error, TimeoutError):
                self._abandon([future])
            return error
        return None

    def _replies(self, lines: Sequence[bytes], deadline: float) -> list[tuple[NDArray[np.int64], _Reply]]:
        """The replies about all rows but those that are refused; ``lines`` are all of them."""
        given_up = Event()

        def request(rows: NDArray[np.int64]) -> "Future[_Reply]":
            return self._lanes.submit(partial(self._ask, [lines[row] for row in rows.tolist()], deadline, given_up))

        waiting = {request(rows): rows for rows in self._parts(lines)}
        replies, vouched = [], False
        try:
            while waiting:
                done, _ = wait(waiting, max(0.0, deadline - self._clock()), FIRST_COMPLETED)
                if not done:
                    self._note(*(Fault.OVER_BUDGET for future in waiting if future.running()))
                    raise self._failed(Fault.OVER_BUDGET)
                for future in done:
                    rows, reply = waiting.pop(future), future.result()
                    self._note(*reply.tried)
                    if reply.scores is not None:
                        replies.append((rows, reply))
                    elif reply.fault is not Fault.REFUSED:
                        raise self._failed(reply.fault or Fault.FAILED)
                    else:
                        vouched = vouched or self._vouch(deadline)
                        waiting |= {request(half): half for half in self._halves(lines, rows)}
        finally:
            given_up.set()
            if waiting:
                self._abandon(waiting)
        return replies

    def _parts(self, lines: Sequence[bytes]) -> list[NDArray[np.int64]]:
        """The row numbers of each request. What was refused when this batch was tried before is not asked again."""
        rows = np.arange(len(lines))
        if self._refused:
            rows = np.array([row for row, line in enumerate(lines) if line not in self._refused], np.int64)
        sizes = np.array([len(lines[row]) for row in rows.tolist()], np.int64)
        taken = sum(len(self._golden[row]) for row in self._sentinels)
        parts = parts_of(sizes, self.endpoint.request_rows, self.endpoint.request_bytes - taken)
        return [rows[part] for part in parts]

    def _halves(self, lines: Sequence[bytes], rows: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Two requests in the place of one that was refused; none for a row that was alone in it."""
        if len(rows) == 1:
            self._refused.add(lines[int(rows[0])])
            return []
        return np.array_split(rows, 2)

    def _vouch(self, deadline: float) -> bool:
        """True where golden rows have their scores: it is the rows that are refused. Raises ScorerUnavailableError."""
        error = self._ask_golden(deadline)
        if error is not None:
            fault = fault_of(error)
            self._note(Fault.FAILED if fault is Fault.REFUSED else fault)
            raise self._failed(fault) from error
        return True

    def _ask(self, lines: Sequence[bytes], deadline: float, given_up: Event) -> _Reply:
        """The scores of these rows, in at most two attempts, and one if the batch is given up; runs on a lane."""
        head, tail = ([self._golden[row]] for row in self._sentinels) if self._sentinels else ([], [])
        known = np.full(len(head) + len(lines) + len(tail), np.nan)
        if self._sentinels:
            known[[0, -1]] = self._golden_scores[list(self._sentinels)]
        tried: list[Fault | None] = []
        while True:
            try:
                scores, invocation = self._attempt([*head, *lines, *tail], known, deadline)
            except EXPECTED as error:
                tried.append(fault_of(error))
            else:
                return _Reply((*tried, None), scores[len(head) : len(head) + len(lines)], invocation)
            longest = THROTTLED_PAUSE_SECONDS if tried[-1] is Fault.THROTTLED else PAUSE_SECONDS
            pause = random.uniform(0, longest)  # noqa: S311 - it spreads workers out # nosec B311
            late = self._clock() + pause >= deadline
            if late or len(tried) == ATTEMPTS or tried[-1] not in TRIED_AGAIN or given_up.wait(pause):
                return _Reply(tuple(tried))

    def _attempt(
        self, lines: Sequence[bytes], known: NDArray[np.float64], deadline: float
    ) -> tuple[NDArray[np.float64], Invocation]:
        """One request: the (n,) scores, of which those are compared that are ``known`` (n,), NaN elsewhere.

        Raises one of EXPECTED.
        """
        started = self._clock()
        try:
            response = self._client.invoke_endpoint(Body=b"".join(lines), **self._arguments)
            body = _read(response, largest_answer(len(lines)), deadline, self._clock)
            scores = scores_in(body, response.get("ContentType"), len(lines))
            if (np.abs(scores - known) > KNOWN_TOLERANCE).any():
                raise BadAnswerError("golden rows have other scores, or stand in other places")
        except EXPECTED as error:
            self._watch(fault_of(error).name.lower(), self._clock() - started)
            raise
        seconds = self._clock() - started
        self._watch("answered", seconds)
        return scores, Invocation(response.get("InvokedProductionVariant"), seconds)

    def _note(self, *tried: Fault | None) -> None:
        for fault in tried:
            self._breaker.ended(Ended.ANSWERED if fault is None else fault.ended, self._clock())

    def _abandon(self, waiting: Collection["Future[Any]"]) -> None:
        """Wait no more: what is queued is never sent, and threads that hang are left behind."""
        for future in waiting:
            future.cancel()
        self._lanes = self._new_lanes()

    def _new_lanes(self) -> Lanes[Any]:
        return Lanes(self.endpoint.in_flight, f"endpoint {self.endpoint.name}")

    def _failed(self, fault: Fault) -> ScorerUnavailableError:
        kinds = {Fault.NOT_PERMITTED: EndpointRefusesError, Fault.MISSING: EndpointMissingError}
        return self._unavailable(fault.value, kinds.get(fault, ScorerUnavailableError))

    def _unavailable(
        self, what: str, kind: type[ScorerUnavailableError] = ScorerUnavailableError
    ) -> ScorerUnavailableError:
        return kind(f"endpoint {self.endpoint.name} {what}", self._breaker.opens_in(self._clock()))


def _arguments(endpoint: Endpoint) -> dict[str, str]:
    given = {
        "EndpointName": endpoint.name,
        "ContentType": CSV,
        "Accept": endpoint.accept,
        "TargetVariant": endpoint.target_variant,
        "InferenceComponentName": endpoint.inference_component,
        "CustomAttributes": endpoint.custom_attributes,
    }
    return {name: value for name, value in given.items() if value is not None}


def _client(endpoint: Endpoint, url: str | None) -> Any:
    config = Config(
        connect_timeout=endpoint.connect_seconds,
        read_timeout=endpoint.read_seconds,
        retries={"total_max_attempts": 1},  # the attempts are ours: they know the budget
        max_pool_connections=endpoint.in_flight,
        tcp_keepalive=True,
    )
    try:
        session = boto3.session.Session()
        return session.client("sagemaker-runtime", region_name=endpoint.region, endpoint_url=url, config=config)
    except (BotoCoreError, ValueError) as error:
        raise ConfigurationError(f"endpoint {endpoint.name}: SageMaker cannot be called: {error}") from error


def _read(response: Any, most: int, deadline: float, clock: Callable[[], float]) -> bytes:
    """The body, whole. Raises BadAnswerError for one that is cut or too long, TimeoutError when time is up."""
    found = bytearray()
    for piece in pieces(response["Body"]):
        found += piece
        if len(found) > most:
            raise BadAnswerError("the answer is longer than any could be")
        if clock() > deadline:
            raise TimeoutError
    told = response["ResponseMetadata"]["HTTPHeaders"].get("content-length")
    if told is not None and told != str(len(found)):
        raise BadAnswerError("the answer is cut")
    return bytes(found)
