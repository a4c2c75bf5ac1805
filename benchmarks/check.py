"""Read back what a contender wrote, as any read_committed reader would, and say whether its figure may count."""

import io
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from operator import itemgetter
from typing import Any, cast

import fastavro
import numpy as np
from confluent_kafka import Consumer, Message, TopicPartition
from numpy.typing import NDArray

from benchmarks.bed import PARTITIONS, PREFIX, QUIET, Bed
from models.routing import Experiment, buckets_of, single
from producer.encode import encode_avro
from producer.transactions import card_ids
from schemas.columns import BytesColumn, NumberColumn, Reason
from schemas.errors import FraudstreamError
from schemas.flatten import flatten
from schemas.framing import RecordReader, confluent
from schemas.load import load
from schemas.sources import PinnedSchemas

READ = 10_000
DEADLINE_SECONDS = 60.0
TOLERANCE = 1e-6
DECISIONS_ID = 2
EXPERIMENT = Experiment("default", 1, "default-1", tuple(single("champion")))
SYMBOLS = {"approve": 0, "review": 1, "decline": 2}
NUMBERS = ("score", "decision", "experiment_bucket", "source_partition")


class WrongOutputError(FraudstreamError):
    """Catch this nowhere: it ends the run, because a contender whose output is wrong has no figure."""


@dataclass(frozen=True, slots=True)
class Written:
    """What was read back, a row a record: ``appended`` is the broker's time in ms since 1970, ``number`` the id's."""

    appended: NDArray[np.int64]
    number: NDArray[np.int64]


Check = Callable[[Bed, str, list[Message]], NDArray[np.int64]]
"""Looks at a batch of outputs (bed, input topic, records): the numbers of its transactions, or WrongOutputError."""


def require(condition: object, complaint: str) -> None:
    """Raises WrongOutputError with the complaint."""
    if not condition:
        raise WrongOutputError(complaint)


def check_output(bed: Bed, check: Check, source: str, topic: str, count: int) -> Written:
    """Every transaction of ``source`` exactly once in ``topic``, each as ``check`` wants it. Or WrongOutputError."""
    appended, numbers = [], []
    for batch in read_committed(bed, topic, count):
        appended.append(np.fromiter(map(itemgetter(1), map(Message.timestamp, batch)), np.int64, len(batch)))
        numbers.append(check(bed, source, batch))
    written = Written(np.concatenate(appended), np.concatenate(numbers))
    require(len(written.number) == count, f"{topic}: {len(written.number):,} records for {count:,} transactions")
    times = np.bincount(written.number, minlength=count)
    require(len(times) == count and times.max() == 1, f"{topic}: some transactions are missing and others doubled")
    return written


def read_committed(bed: Bed, topic: str, wanted: int) -> Iterator[list[Message]]:
    """All records of a topic, in batches. Raises WrongOutputError where so many do not come."""
    consumer = Consumer(
        {
            "bootstrap.servers": bed.bootstrap_servers,
            "group.id": f"reader-{uuid.uuid4().hex}",
            "isolation.level": "read_committed",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "queued.max.messages.kbytes": 65_536,
        }
        | QUIET
    )
    consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
    ended: set[int] = set()
    seen, deadline = 0, time.monotonic() + DEADLINE_SECONDS
    while seen < wanted or len(ended) < PARTITIONS:
        require(time.monotonic() < deadline, f"{topic}: {seen:,} of {wanted:,} records came, and then no more")
        batch = consumer.consume(READ, 0.2)
        if batch:
            deadline = time.monotonic() + DEADLINE_SECONDS
        records = [message for message in batch if message.error() is None]
        ended.update(message.partition() or 0 for message in batch if message.error() is not None)
        seen += len(records)
        if records:
            yield records
    consumer.close()


def check_copies(bed: Bed, _source: str, batch: list[Message]) -> NDArray[np.int64]:
    """The output of the pass-through is its input, byte for byte."""
    values = values_of(batch)
    column = _reader("transaction", 1).read(values).columns["transaction_id"]
    assert isinstance(column, BytesColumn)
    numbers = _numbers_of(column.to_list())
    for number, value in zip(numbers[::1000].tolist(), values[::1000], strict=True):
        require([value] == encode_avro(bed.source.stretch(number, 1), PREFIX), "a copy is not like its original")
    return numbers


def check_decisions(bed: Bed, source: str, batch: list[Message], *, explained: bool | None = None) -> NDArray[np.int64]:
    """Each decision is its transaction's, has XGBoost's score, and the outcome, bucket and place that follow.

    ``explained`` says whether every flagged decision must have reasons, or none may; None: that is left open.
    """
    texts, found = _decode(values_of(batch))
    numbers = _numbers_of(texts["transaction_id"])
    cards = card_ids(numbers).tolist()
    require(list(map(Message.key, batch)) == cards and texts["unit"] == cards, "a key or a unit is not the card's")
    require(set(texts["source_topic"]) == {source.encode()}, "a decision names another source")
    partitions = np.fromiter(map(Message.partition, batch), np.int64, len(batch))
    require((found["source_partition"] == partitions).all(), "a decision is not in the partition of its source")
    error = np.abs(found["score"] - bed.scores[numbers % len(bed.source)]).max()
    require(error <= TOLERANCE, f"a score differs from XGBoost's by {error:.2g}")
    policy = bed.model.policy
    outcomes = (found["score"] >= policy.review_at).astype(int) + (found["score"] >= policy.decline_at)
    require((found["decision"] == outcomes).all(), "a decision does not follow from its score")
    if explained is not None:
        wanted = (outcomes > 0) & explained
        require((found["explained"] == wanted).all(), "a decision has no reasons where it should, or has some")
    require((found["experiment_bucket"] == buckets_of(cards, EXPERIMENT.seed)).all(), "a card is in another bucket")
    return numbers


def values_of(batch: list[Message]) -> list[bytes]:
    """The payloads, none of which is a tombstone."""
    return [value for value in map(Message.value, batch) if value is not None]


def numbers_of_decisions(values: list[bytes]) -> NDArray[np.int64]:
    """The numbers of the transactions that these decisions are for."""
    return _numbers_of(_decode(values)[0]["transaction_id"])


def _decode(values: list[bytes]) -> tuple[dict[str, list[bytes | None]], dict[str, NDArray[Any]]]:
    """The texts and the numbers of decisions, a row each."""
    decoded = _reader("decision", DECISIONS_ID).read(values)
    columns = decoded.columns.items()
    numbers = {name: column.values.copy() for name, column in columns if isinstance(column, NumberColumn)}
    texts = {name: column.to_list() for name, column in columns if isinstance(column, BytesColumn)}
    numbers["explained"] = decoded.reason != Reason.OK
    # The columns have no place for the reason codes of those few that have any; these are decoded the slow way.
    for row in np.flatnonzero(decoded.reason != Reason.OK).tolist():
        record = _decode_slowly(values[row])
        require(record["reason_codes"] and record["decision"] != "approve", "reasons are given for an approval")
        flat = flattened(record)
        for name in NUMBERS:
            numbers[name][row] = SYMBOLS[flat[name]] if name == "decision" else flat[name]
        for name, column in texts.items():
            column[row] = flat[name].encode()
    return texts, numbers


def _decode_slowly(value: bytes) -> dict[str, Any]:
    stream = io.BytesIO(value[len(PREFIX) :])
    try:
        record: Any = fastavro.schemaless_reader(stream, _parsed_decision(), None)
    except (EOFError, IndexError, ValueError):
        record = None
    require(record is not None and not stream.read(1), "a decision cannot be decoded")
    return cast("dict[str, Any]", record)


@cache
def _parsed_decision() -> Any:
    return fastavro.parse_schema(load("decision"))


def flattened(record: dict[str, Any]) -> dict[str, Any]:
    """``{"source": {"topic": t}}`` as ``{"source_topic": t}``."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        flat |= {f"{name}_{inner}": each for inner, each in value.items()} if isinstance(value, dict) else {name: value}
    return flat


def flattened_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema with its records opened and its arrays as their length alone: for empty arrays the same bytes."""
    flat = flatten(schema)
    fields = [{"name": each["name"], "type": _length_of_array(each["type"])} for each in flat["fields"]]
    return flat | {"fields": fields}


def _length_of_array(kind: Any) -> Any:
    return "long" if isinstance(kind, dict) and kind["type"] == "array" else kind


@cache
def _reader(name: str, schema_id: int) -> RecordReader:
    if name == "transaction":
        return confluent(PinnedSchemas({schema_id: load(name)}), ("transaction_id",))
    fields = (*NUMBERS, "transaction_id", "unit", "source_topic")
    reader = confluent(PinnedSchemas({schema_id: flattened_schema(load(name))}), fields)
    assert reader.columnar
    return reader


def _numbers_of(identities: list[bytes | None]) -> NDArray[np.int64]:
    """42 for ``tx-000000000042``."""
    try:
        return np.array([int(identity[3:]) for identity in identities], np.int64)  # type: ignore[index]
    except (TypeError, ValueError):
        raise WrongOutputError("a transaction id is none of ours") from None
