"""The labelled window: transactions joined with what became known of them later, the same however they were read."""

import uuid
from itertools import count

import numpy as np
import pytest
from confluent_kafka import Producer

from consumer.ranges import parse_duration
from consumer.settings import WorkerSettings
from fraudstream.kafka import Connection
from fraudstream.labelled import CARD, LabelledTraffic, Period
from producer.encode import encode_avro
from producer.labels import avro_label_encoder, encode_label_json
from producer.transactions import Transactions, card_ids, transaction_ids
from schemas.errors import ConfigurationError
from schemas.framing import confluent_prefix
from schemas.load import load

START = 1_380_000_000_000
HOUR = 3_600_000
FEATURES = ("V1", "V2", "amount")
LABEL = avro_label_encoder(load("label"), confluent_prefix(3))


def transactions(size, hours=10):
    """One every few minutes; the V1 of number i is i."""
    number = np.arange(size, dtype=np.int64)
    features = np.full((size, 28), 0.5)
    features[:, 0] = number
    features[::7, 1] = np.nan
    times = START + number * hours * HOUR // size
    return Transactions(
        transaction_ids(number), card_ids(number), times, np.full(size, 9.5), features, np.zeros(size, bool)
    )


def label(number, *, fraud=True, known=1):
    """That of transaction ``number``, known so many hours after the start."""
    identity = transaction_ids(np.array([number]))[0].decode()
    times = {"event_time": START, "label_time": START + known * HOUR}
    return times | {"transaction_id": identity, "unit": "card", "is_fraud": fraud, "source": "review"}


@pytest.fixture
def world(kafka):
    """A function that writes transactions and labels to topics and gives what reads them; rows as they were written."""

    def make(values, labels, partition=lambda number: number % 2, **settings):
        run = uuid.uuid4().hex[:8]
        producer = Producer({"bootstrap.servers": kafka.bootstrap_servers, "log_level": 0})
        for topic, records in ((f"in-{run}", values), (f"labels-{run}", labels)):
            kafka.create_topic(topic, 2)
            for number, value in zip(count(), records, strict=False):
                producer.produce(topic, value, partition=partition(number))
        assert producer.flush(30) == 0
        told = WorkerSettings(bootstrap_servers=kafka.bootstrap_servers, input_topic=f"in-{run}", **settings)
        connection = Connection(kafka.bootstrap_servers, {})
        traffic = LabelledTraffic(connection, told, f"labels-{run}", FEATURES)
        return lambda *period: traffic.of(Period(*period), lambda *_: None)

    return make


def encoded(rows):
    return encode_avro(rows, confluent_prefix(1))


def test_only_what_has_a_label_is_taken_and_the_share_of_the_legitimate_is_told(world):
    labels = [label(3), label(5), *(label(number, fraud=False) for number in (10, 20, 30, 40, 999))]
    found = world(encoded(transactions(100)), map(LABEL, labels))(START, None, None)

    frame = found.dataset.frame
    assert frame["V1"].tolist() == [3, 5, 10, 20, 30, 40]
    assert frame["is_fraud"].tolist() == [True, True, False, False, False, False]
    assert found.dataset.legitimate_kept == pytest.approx(4 / 98)
    assert found.transactions == 100
    assert found.dataset.features == FEATURES
    assert frame["time"].tolist() == [(START + number * HOUR // 10) / 1000 for number in (3, 5, 10, 20, 30, 40)]
    assert frame[CARD].nunique() > 1


def test_what_is_old_enough_and_has_no_label_counts_as_legitimate_and_what_is_younger_is_left_out(world):
    labels = [label(3, known=8), label(60, known=9)]
    found = world(encoded(transactions(100)), map(LABEL, labels))(START, None, 4 * HOUR)

    assert found.dataset.frame["V1"].tolist() == list(range(50))
    assert found.dataset.frame["is_fraud"].sum() == 1
    assert found.dataset.legitimate_kept == 1.0


def test_the_word_that_came_last_counts_whatever_the_order_of_the_topic(world):
    labels = [
        *(label(1, fraud=True, known=9), label(1, fraud=False, known=2)),
        *(label(2, fraud=True, known=2), label(2, fraud=False, known=9)),
    ]
    found = world(encoded(transactions(10)), map(LABEL, labels))(START, None, None)

    assert found.dataset.frame["is_fraud"].tolist() == [True, False]


def test_how_partitions_are_filled_and_what_comes_twice_change_nothing(world):
    values = encoded(transactions(200))
    labels = [encode_label_json(label(number, fraud=number % 9 == 0)) for number in range(0, 200, 3)]

    one = world(values, labels)(START, None, None)
    other = world([*values[::-1], *values[::5]], labels[::-1], partition=lambda number: number % 3 % 2)(
        START, None, None
    )

    assert one.dataset.frame.equals(other.dataset.frame)


def test_what_a_worker_could_not_score_and_what_is_no_label_is_left_out(world):
    rows = transactions(10)
    rows.amount[4] = np.nan
    rows.features[5, 0] = np.inf
    values = [*encoded(rows), b"\0\0\0\0\1short", None, b"\0\0\0\0\x63unknown"]
    labels = [*(LABEL(label(number)) for number in range(10)), b"nonsense", b"[]", b'{"transaction_id": 4}', None]
    found = world(values, labels)(START, START + 8 * HOUR, None)

    assert found.dataset.frame["V1"].tolist() == [0, 1, 2, 3, 6, 7]
    assert np.isnan(found.dataset.frame["V2"][0])


def test_a_window_in_which_nothing_is_known_is_refused_by_name(world):
    read = world(encoded(transactions(10)), [LABEL(label(77))])

    with pytest.raises(ConfigurationError, match=r"holds no transaction from 2013-09-24 05:20 of which it is known"):
        read(START, None, None)


@pytest.mark.parametrize(("feature", "amount"), [("time", "amount"), ("is_fraud", "amount"), ("amount", "V3")])
def test_a_feature_with_a_name_that_a_data_set_needs_for_something_else_is_refused(kafka, feature, amount):
    settings = WorkerSettings(bootstrap_servers=kafka.bootstrap_servers, amount_field=amount)

    with pytest.raises(ConfigurationError, match=feature):
        LabelledTraffic(Connection(kafka.bootstrap_servers, {}), settings, "labels", ("V1", feature))


@pytest.mark.parametrize(("text", "expected"), [("90m", 90 * 60_000), ("12h", 12 * HOUR), ("30d", 720 * HOUR)])
def test_a_length_of_time_is_a_number_and_its_unit(text, expected):
    assert parse_duration(text) == expected
    for nonsense in ("", "30", "-30d", "d", "1w"):
        with pytest.raises(ValueError, match="no length of time"):
            parse_duration(nonsense)
