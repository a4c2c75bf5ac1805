"""What is fuzzed: the worker's own function from records to an outbox, for each way in which records are framed."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from confluent_kafka import Message
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from benchmarks.fuzz.mutate import batch
from consumer.in_force import InForce
from consumer.loading import rollout_of
from consumer.metrics import WorkerMetrics
from consumer.outcomes import avro_reader
from consumer.records import RecordBatch
from consumer.serving import Serving
from consumer.settings import Format, WorkerSettings
from consumer.topics import Topics
from consumer.wire import decision_encoder, sample_encoder, transaction_reader
from consumer.worker import Scoring
from models.model import Model
from producer import sample_path
from producer.encode import encode_avro, encode_json
from producer.transactions import from_frame
from schemas.columns import NumberColumn
from schemas.dataset import read_dataset
from schemas.framing import confluent_prefix, single_object_prefix
from schemas.load import load

TOPIC = "transactions"
SEEDS = 200
LARGEST = 1_000_000
"""Bytes of the largest record that the outputs take."""
_NESTED = {"name": "more", "type": {"type": "array", "items": ["null", "string", {"type": "map", "values": "int"}]}}
_MORE = b"\x06\x00\x02\x06abc\x04\x02\x02k\x0e\x00\x00"
"""Three items of that type: null, a text, a map of one entry."""


class WrongOutcomeError(Exception):
    """Catch this where a batch was decided, but not every record has one outcome that makes sense."""


@dataclass(frozen=True, slots=True)
class Subject:
    """One framing: good ``records``, of which the first ``frame`` bytes name the schema, and what decides a batch."""

    name: str
    records: Sequence[bytes]
    frame: int
    process: Scoring

    def mutants(self, seed: int, number: int, size: int) -> list[bytes | None]:
        """The records of batch ``number``: the same for the same seed, whatever was made before."""
        return batch(Random(f"{seed} {number}"), self.records, self.frame, size)

    def decide(self, values: Sequence[bytes | None]) -> Counter[str]:
        """How many records were decided, and how many not, by the reason. Raises whatever there is to be found.

        WrongOutcomeError where a record has no outcome or two, or a score that is none.
        """
        now = int(time.time() * 1000)
        messages = [
            Message(topic=TOPIC, partition=0, offset=offset, key=b"card", value=value, timestamp=(1, now))
            for offset, value in enumerate(values)
        ]
        outbox = self.process(RecordBatch.of(TOPIC, messages))
        decisions = [message["value"] for sent in outbox.messages[:-1] for message in sent.messages]
        offsets, scores = _read(decisions)
        if not ((scores >= 0) & (scores <= 1)).all():
            raise WrongOutcomeError("a score is not between 0 and 1")
        headers = [dict(letter.headers) for letter in outbox.letters]
        dead = [int(each["__connect.errors.offset"] or -1) for each in headers]
        if sorted([*offsets.tolist(), *dead]) != list(range(len(values))):
            raise WrongOutcomeError("some record has no outcome, or two")
        reasons = [each["__connect.errors.class.name"] for each in headers]
        return Counter({"decided": len(scores)}) + Counter(_text(reason) for reason in reasons)


def subjects(model: Model, home: Path) -> list[Subject]:
    """One for each framing of flat records, and one with nested fields; a schema file is written to ``home``."""
    source = from_frame(read_dataset(sample_path()).frame.head(SEEDS)).stretch(0, SEEDS)
    schema = load("transaction")
    nested = home / "nested.avsc"
    nested.write_text(json.dumps({**schema, "fields": [_NESTED, *schema["fields"]]}))
    confluent, single = confluent_prefix(1), single_object_prefix(schema)
    flat = encode_avro(source, b"")
    return [
        _subject("confluent", model, [confluent + value for value in flat], len(confluent)),
        _subject("json", model, encode_json(source), 0, input_format=Format.JSON),
        _subject("nested", model, [confluent + _MORE + value for value in flat], len(confluent), input_schema=nested),
        _subject("single object", model, [single + value for value in flat], 10, input_format=Format.SINGLE_OBJECT),
    ]


def _subject(name: str, model: Model, records: Sequence[bytes], frame: int, **given: Any) -> Subject:
    settings = WorkerSettings.model_validate({"bad_records_limit": 0, **given})
    rollout = rollout_of([model], settings)
    serving = Serving(rollout, (), transaction_reader(settings, rollout.fields))
    scoring = Scoring(
        InForce(lambda: serving, 0.0, WorkerMetrics(CollectorRegistry())),
        decision_encoder(settings),
        settings,
        lambda: Topics(1, 1, 1, LARGEST),
        lambda *_: None,
        encode_sample=sample_encoder(settings),
    )
    return Subject(name, records, frame, scoring)


def _read(decisions: Sequence[bytes]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The source offsets and the scores of decisions as the worker writes them."""
    if not decisions:
        return np.empty(0, np.int64), np.empty(0)
    columns = avro_reader(WorkerSettings.model_validate({}), ("source_offset", "score")).read(decisions)
    if columns.reason.any():
        raise WrongOutcomeError("a decision cannot be read")
    offset, score = columns.columns["source_offset"], columns.columns["score"]
    assert isinstance(offset, NumberColumn)
    assert isinstance(score, NumberColumn)
    return offset.values, score.values


def _text(value: str | bytes | None) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
