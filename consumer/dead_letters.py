"""Say why a record could not be scored, in headers beside its unchanged bytes."""

from collections.abc import Mapping
from typing import cast

from consumer.decide import Rejection
from consumer.delivery import Letter
from consumer.records import RecordBatch
from schemas.columns import Reason

ATTEMPT = "fraudstream.attempt"

Headers = list[tuple[str, str | bytes | None]]


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
    reasons = {row: ("decode", reason.name, _sentence(reason)) for row, reason in undecodable.items()}
    reasons |= {row: ("validate", rejection.name, rejection.value) for row, rejection in rejected.items()}
    return [_letter(records, row, topic, partitions, *reasons[row]) for row in sorted(reasons)]


def _letter(
    source: RecordBatch, row: int, topic: str, partitions: int, stage: str, reason: str, sentence: str
) -> Letter:
    partition = int(source.partitions[row])
    received = cast("Headers", source.messages[row].headers() or [])
    # The names that Kafka Connect gives its error headers (KIP-298), so that its tools read ours.
    ours = {
        "__connect.errors.topic": source.topic,
        "__connect.errors.partition": str(partition),
        "__connect.errors.offset": str(source.offsets[row]),
        "__connect.errors.stage": stage,
        "__connect.errors.class.name": reason,
        "__connect.errors.exception.message": sentence,
        ATTEMPT: str(_attempts(received) + 1),
    }
    headers = [(name, value) for name, value in received if name not in ours]
    headers += [(name, value.encode()) for name, value in ours.items()]
    return Letter(topic, partition if partition < partitions else -1, source.keys[row], source.values[row], headers)


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
