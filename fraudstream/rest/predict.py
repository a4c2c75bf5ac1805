"""Decide the one transaction of a request with what a worker would decide it with."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from prometheus_client import CollectorRegistry

from consumer.decide import LONGEST_ID, Rejection, Rollout, Source, decide
from consumer.follow import source_of
from consumer.metrics import WorkerMetrics
from consumer.settings import WorkerSettings
from consumer.wire import bounds_of, reasons_of, roles_of
from fraudstream.rest.request import BadRequestError, Request, read
from schemas.columns import BytesColumn, Column, Columns, NumberColumn
from schemas.decision import Outcome, to_records
from schemas.errors import FraudstreamError

TOPIC = "rest"
"""What stands for a topic where none is: decisions of requests have no place in one."""

WAIT_SECONDS = 0.02

_OPENING = {Outcome.APPROVE: "Approved", Outcome.REVIEW: "For review", Outcome.DECLINE: "Declined"}


class NoModelError(FraudstreamError):
    """Catch this to answer that nothing can be decided now."""


class Predictor:
    """What serves by the settings of a worker: the directory of a model, or the rollout of a store, which it follows.

    Raises ConfigurationError if a setting is wrong or a model cannot be loaded.
    """

    def __init__(self, settings: WorkerSettings, clock: Callable[[], float] = time.time) -> None:
        self._source = source_of(settings, WorkerMetrics(CollectorRegistry()))
        self._roles = roles_of(settings)
        self._bounds = replace(bounds_of(settings), unit_required=False)
        self._reasons = reasons_of(settings)
        self._clock = clock
        self._source.start()

    def wait(self, seconds: float) -> bool:
        """Wait so long at most until there is a model; whether there is."""
        deadline = time.monotonic() + seconds
        while self._source.serving is None and time.monotonic() < deadline:
            time.sleep(WAIT_SECONDS)
        return self._source.serving is not None

    def close(self) -> None:
        """Follow the rollout no more."""
        self._source.close()

    def predict(self, body: bytes, request_id: str) -> dict[str, Any]:
        """The decision as the topic of decisions would hold it, with a sentence and a yes or no beside it.

        Raises BadRequestError where the transaction cannot be decided, NoModelError where nothing could be.
        """
        serving = self._source.serving
        if serving is None:
            raise NoModelError("no model could be loaded yet")
        rollout = serving.rollout
        request, values = read(body, rollout.fields)
        now = int(self._clock() * 1000)
        columns = self._columns(request, values, request_id, now)
        source = Source(TOPIC, np.zeros(1, np.int32), np.zeros(1, np.int64))
        verdict = decide(columns, source, self._roles, self._bounds, rollout, self._reasons, now)
        if verdict.rejected:
            raise _refusal(verdict.rejected[0], request, values, rollout)
        record = to_records(verdict.decisions)[0]
        for name in ("decision_id", "source", "shadow", "replay"):
            del record[name]
        if len(rollout.arms) == 1:  # where nothing is drawn, nobody stands in for want of a card
            record["degraded"], record["fallback_reason"] = False, None
        score, outcome = record.pop("score"), Outcome(int(verdict.decisions.outcome[0]))
        message = _message(outcome, score, record)
        return {"prediction": int(outcome is not Outcome.APPROVE), "fraud_score": score, "message": message, **record}

    def _columns(self, request: Request, values: dict[str, float], request_id: str, now: int) -> Columns:
        numbers = {name: np.array([value]) for name, value in values.items()}
        event_time = now if request.event_time is None else request.event_time
        columns: dict[str, Column] = {name: NumberColumn(value, np.isnan(value)) for name, value in numbers.items()}
        if self._roles.amount not in columns:  # a feature of no model: nobody asks for it
            columns[self._roles.amount] = NumberColumn(np.zeros(1), None)
        columns[self._roles.event_time] = NumberColumn(np.array([event_time], np.int64), None)
        columns[self._roles.transaction_id] = _text(request.transaction_id or request_id)
        columns[self._roles.unit] = _text(request.unit or "")
        return Columns(np.zeros(1, np.uint8), columns)


def _text(value: str) -> BytesColumn:
    data = np.frombuffer(value.encode(), np.uint8)
    return BytesColumn(data, np.zeros(1, np.int64), np.array([len(data)]), None)


def _refusal(rejection: Rejection, request: Request, values: dict[str, float], rollout: Rollout) -> BadRequestError:
    field = None
    if rejection is Rejection.MISSING_FEATURE:
        required = (name for arm in rollout.arms for name in np.array(arm.scorer.features)[arm.required].tolist())
        field = next(f"features.{name}" for name in required if np.isnan(values[name]))
    elif rejection is Rejection.NON_FINITE_AMOUNT:
        field = "features.amount"
    elif rejection is Rejection.EVENT_TIME_OUT_OF_RANGE:
        field = "event_time"
    elif rejection is Rejection.OVERLONG_ID:
        field = "unit" if len((request.unit or "").encode()) > LONGEST_ID else "transaction_id"
    return BadRequestError(rejection.value, field)


def _message(outcome: Outcome, score: float, record: dict[str, Any]) -> str:
    policy, codes = record["policy"], [code["feature"] for code in record["reason_codes"]]
    limit = f"below {policy['review_at']:.4g}, where reviews begin"
    if outcome is not Outcome.APPROVE:
        begins = policy["decline_at" if outcome is Outcome.DECLINE else "review_at"]
        limit = f"at or above {begins:.4g}"
    because = f"; most of it comes from {', '.join(codes)}" if codes else ""
    return f"{_OPENING[outcome]}: the score of {score:.4g} is {limit}{because}."
