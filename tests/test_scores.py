"""Scores are read back from decisions in any format, those of one topic and one replay alone."""

from dataclasses import replace

import numpy as np
import pytest

from consumer.scores import score_reader
from consumer.settings import WorkerSettings
from consumer.wire import decision_encoder
from schemas.columns import BytesColumn
from schemas.decision import Decisions, Lineage

LINEAGE = Lineage("p1", 0.2, 0.8, "m", "1", bytes(32), "xgboost", "e", 1, "champion", "e-1", 1.0)
FORMATS = ("confluent", "single_object", "json")


def column(values):
    length = np.array([len(value) for value in values], np.int64)
    return BytesColumn(np.frombuffer(b"".join(values), np.uint8), np.cumsum(length) - length, length, None)


def decided(size=5):
    rows = np.arange(size)
    return Decisions(
        transaction_id=column([b"tx-%d" % row for row in rows]),
        unit=column([b"card"] * size),
        topic="transactions",
        partition=(rows % 2).astype(np.int32),
        offset=rows * 1000,
        event_time=np.full(size, 1_380_000_000_000),
        decided_at=1_700_000_000_123,
        score=np.linspace(0, 1, size),
        outcome=(rows % 3).astype(np.uint8),
        variant=np.zeros(size, np.uint8),
        bucket=rows,
        lineages=(LINEAGE,),
        reasons={},
    )


@pytest.mark.parametrize("output_format", FORMATS)
@pytest.mark.parametrize("name", [None, "night"])
def test_scores_read_back_as_they_were_decided(output_format, name):
    settings = WorkerSettings(output_format=output_format)
    written = replace(decided(), replay=name)

    read = score_reader(settings, name)(decision_encoder(settings)(written))

    assert read.partition.tolist() == written.partition.tolist()
    assert read.offset.tolist() == written.offset.tolist()
    assert read.score.tolist() == written.score.tolist()
    assert read.outcome.tolist() == written.outcome.tolist()
    assert read.transaction == written.transaction_id.to_list()


@pytest.mark.parametrize("output_format", FORMATS)
def test_what_is_another_topics_another_replays_or_no_decision_is_left_out(output_format):
    settings = WorkerSettings(output_format=output_format)
    encode = decision_encoder(settings)
    others = [*encode(replace(decided(), topic="else")), *encode(replace(decided(), replay="night")), None, b"", b"\0"]

    read = score_reader(settings, None)
    first, second = read([*others, *encode(decided())]), read([None, b"x"])

    assert first.offset.tolist() == [0, 1000, 2000, 3000, 4000]
    assert len(second.offset) == 0
