"""Say why a record could not be scored, in headers beside its unchanged bytes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from consumer.decide import Rejection
from consumer.delivery import Letter
from consumer.records import RecordBatch
from schemas.columns import Reason

ATTEMPT = "fraudstream.attempt"

Headers = list[tuple[str, str | bytes | None]]


@dataclass(frozen=True, slots=True)
class Complaint:
    """Why a row was not decided: the stage that refused it, the reason by name, and in words that hold no value."""

    stage: str
    reason: str
    message: str


def letters(
    records: RecordBatch,
    undecodable: Mapping[int, Reason],
    rejected: Mapping[int, Rejection],
    topic: str,
    partitions: int,
) -> list[Letter]:
    """One letter for each row that was not decided, in order; the message names the reason, never a value.

    ``partitions`` is the number of partitions of the dead-letter topic: where it has the partition of the source,
    the letter goes there, else its key decides.
    """
    complaints = complaints_of(undecodable, rejected)
    return [_letter(records, row, topic, partitions, complaint) for row, complaint in complaints.items()]


def complaints_of(undecodable: Mapping[int, Reason], rejected: Mapping[int, Rejection]) -> dict[int, Complaint]:
    """What speaks against each row that was not decided, by its number, in order."""
    complaints = {row: Complaint("decode", reason.name, _sentence(reason)) for row, reason in undecodable.items()}
    complaints |= {row: Complaint("validate", each.name, each.value) for row, each in rejected.items()}
    return dict(sorted(complaints.items()))


def _letter(source: RecordBatch, row: int, topic: str, partitions: int, complaint: Complaint) -> Letter:
    partition = int(source.partitions[row])
    received = cast("Headers", source.messages[row].headers() or [])
    # The names that Kafka Connect gives its error headers (KIP-298), so that its tools read ours.
    ours = {
        "__connect.errors.topic": source.topic,
        "__connect.errors.partition": str(partition),
        "__connect.errors.offset": str(source.offsets[row]),
        "__connect.errors.stage": complaint.stage,
        "__connect.errors.class.name": complaint.reason,
        "__connect.errors.exception.message": complaint.message,
        ATTEMPT: str(_attempts(received) + 1),
    }
    headers = [(name, value) for name, value in received if name not in ours]
    headers += [(name, value.encode()) for name, value in ours.items()]
    return Letter(topic, partition if partition < partitions else -1, source.keys[row], source.values[row], headers)


def _attempts(received: Headers) -> int:
    """How often this record was a dead letter before; 0 where the header is absent or not ours."""
    before = dict(received).get(ATTEMPT)
    return int(before) if before is not None and len(before) < 10 and before.isdigit() else 0


def _sentence(reason: Reason) -> str:
    return f"the value could not be decoded: {reason.name.lower().replace('_', ' ')}"
