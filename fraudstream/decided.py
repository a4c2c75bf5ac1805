"""Score the transaction of a decision again, and say whether that is what was decided."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from consumer.settings import WorkerSettings
from consumer.wire import transaction_reader
from fraudstream.kafka import Connection
from fraudstream.origin import find
from fraudstream.records import RecordReader, schemas_of
from models.explain import Explanation, explain
from models.manifest import Policy
from models.model import Model
from schemas.columns import Reason
from schemas.errors import FraudstreamError

SAME_SCORE = 1e-6


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision as its topic holds it, its explanation, and what speaks against its being that of the decision."""

    record: dict[str, Any]
    explanation: Explanation
    doubts: list[str]


def decided(connection: Connection, settings: WorkerSettings, identity: UUID, load: Callable[[str], Model]) -> Decided:
    """The decision ``identity``, explained under the thresholds that were in force.

    It is explained by the model of the settings, or by the one that the decision names where they give none; ``load``
    is called with a directory or ``NAME@VERSION``. Raises as ``origin.find`` and ``load`` do, and FraudstreamError
    where a record cannot be read.
    """
    origin = find(connection, settings, identity)
    record = RecordReader(schemas_of(settings, settings.decisions_topic, {})).read(origin.decision.value())
    if record["source"]["topic"] != settings.input_topic:
        raise FraudstreamError(f"input_topic: decision {identity} is about topic {record['source']['topic']}")
    decider = record["model"]
    model = load(str(settings.model or f"{decider['name']}@{decider['version']}"))
    columns = transaction_reader(settings, model.features).read([origin.transaction.value()])
    if columns.reason[0] != Reason.OK:
        reason = Reason(columns.reason[0]).name.lower().replace("_", " ")
        raise FraudstreamError(f"the transaction of decision {identity} cannot be decoded: {reason}")
    explanation = replace(explain(model, columns.matrix(model.features)[0]), policy=Policy(**record["policy"]))
    return Decided(record, explanation, _doubts(record, explanation))


def _doubts(record: dict[str, Any], explanation: Explanation) -> list[str]:
    decider = record["model"]
    if decider["sha256"] != explanation.sha256:
        decided_by = f"{decider['name']} {decider['version']} (sha256 {decider['sha256'][:12]}…)"
        other = f"the model given (sha256 {explanation.sha256[:12]}…)"
        return [f"it was decided by {decided_by}, not by {other}: this is what the latter makes of the transaction"]
    if abs(record["score"] - explanation.score) > SAME_SCORE:
        return [f"the decision has the score {record['score']!r}, and the same model now gives {explanation.score!r}"]
    return []
