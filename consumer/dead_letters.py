"""Say why a record could not be scored, in headers beside its bytes, or in their place."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import cast

from consumer.decide import Rejection
from consumer.delivery import Letter
from consumer.headers import Headers, headers_of
from consumer.records import RecordBatch
from consumer.settings import Payload
from schemas.columns import Reason

ATTEMPT = "fraudstream.attempt"
PAYLOAD = "fraudstream.payload"
"""Header of a letter without the original bytes: ``redacted`` or ``pointer``."""
PAYLOAD_SHA256 = "fraudstream.payload.sha256"
PAYLOAD_LENGTH = "fraudstream.payload.length"
TOO_LARGE = "fraudstream.payload.too_large"
"""Header of a pointer that nobody asked for: how many bytes the whole letter would have had."""


@dataclass(frozen=True, slots=True)
class Complaint:
    """Why a row was not decided: the stage that refused it, the reason by name, and in words that hold no value."""

    stage: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class DeadLetterTopic:
    """Where letters go, how much of a record goes along, and the bytes of the largest letter that is taken.

    Where the topic has the partition of the source, the letter goes there, else its key decides.
    """

    name: str
    partitions: int
    payload: Payload
    largest: int


def letters(
    records: RecordBatch, undecodable: Mapping[int, Reason], rejected: Mapping[int, Rejection], to: DeadLetterTopic
) -> list[Letter]:
    """One letter for each row that was not decided, in order; the message names the reason, never a value.

    A letter larger than the topic takes becomes a pointer to the record.
    """
    complaints = complaints_of(undecodable, rejected)
    return [_letter(records, row, to, complaint) for row, complaint in complaints.items()]


def complaints_of(undecodable: Mapping[int, Reason], rejected: Mapping[int, Rejection]) -> dict[int, Complaint]:
    """What speaks against each row that was not decided, by its number, in order."""
    complaints = {row: Complaint("decode", reason.name, _sentence(reason)) for row, reason in undecodable.items()}
    complaints |= {row: Complaint("validate", each.name, each.value) for row, each in rejected.items()}
    return dict(sorted(complaints.items()))


def size_of(letter: Letter) -> int:
    """Bytes of the letter on the wire, at most: KIP-98's record with its longest lengths, in a batch of its own."""
    headers = sum(len(name) + len(value or b"") + 10 for name, value in letter.headers)
    return len(letter.value or b"") + len(letter.key or b"") + headers + 128


def _letter(source: RecordBatch, row: int, to: DeadLetterTopic, complaint: Complaint) -> Letter:
    partition = int(source.partitions[row])
    received = headers_of(source.messages[row])
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
    where = partition if partition < to.partitions else -1
    bare = Letter(to.name, where, source.keys[row], None, _headers(ours))
    theirs = [(name, value) for name, value in received if name not in ours]
    whole = replace(bare, value=source.values[row], headers=theirs + bare.headers)
    if to.payload is Payload.REDACTED:
        return _fitting(bare, _fingerprint(source.values[row]), to)
    if to.payload is Payload.POINTER:
        return _fitting(bare, {PAYLOAD: "pointer"}, to)
    if size_of(whole) > to.largest:
        return _fitting(bare, {PAYLOAD: "pointer", TOO_LARGE: str(size_of(whole))}, to)
    return whole


def _fitting(bare: Letter, more: Mapping[str, str], to: DeadLetterTopic) -> Letter:
    """The letter without a value, and without its key if that alone is too large."""
    letter = replace(bare, headers=bare.headers + _headers(more))
    return letter if size_of(letter) <= to.largest else replace(letter, key=None)


def _fingerprint(value: bytes | None) -> dict[str, str]:
    known = {} if value is None else {PAYLOAD_SHA256: sha256(value).hexdigest(), PAYLOAD_LENGTH: str(len(value))}
    return {PAYLOAD: "redacted"} | known


def _headers(texts: Mapping[str, str]) -> Headers:
    return [(name, text.encode()) for name, text in texts.items()]


def source_of(headers: Headers) -> tuple[str, int, int] | None:
    """Topic, partition and offset of the record that a dead letter is about; None where its headers are not ours."""
    found = dict(headers)
    topic, *place = (found.get(f"__connect.errors.{name}") for name in ("topic", "partition", "offset"))
    if not isinstance(topic, bytes) or not all(isinstance(each, bytes) and each.isdigit() for each in place):
        return None
    partition, offset = (int(cast("bytes", each)[:19]) for each in place)
    return topic.decode(errors="replace"), partition, offset


def _attempts(received: Headers) -> int:
    """How often this record was a dead letter before; 0 where the header is absent or not ours."""
    before = dict(received).get(ATTEMPT)
    return int(before) if before is not None and len(before) < 10 and before.isdigit() else 0


def _sentence(reason: Reason) -> str:
    return f"the value could not be decoded: {reason.name.lower().replace('_', ' ')}"
