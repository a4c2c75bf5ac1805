"""A client that cannot be made says which of its properties is wrong."""

import time

import pytest
from mock_cluster import running_mock_cluster

from consumer.clients import admin_client, consumer_properties, make_consumer, producer_maker
from consumer.settings import WorkerSettings
from fraudstream.kafka import Connection
from producer.publish import Publisher
from schemas.errors import ConfigurationError

QUIET = {"log_level": "0"}
MAKERS = {
    "consumer": lambda given: make_consumer(WorkerSettings(kafka=QUIET, consumer_kafka=given)),
    "producer": lambda given: producer_maker(WorkerSettings(kafka=QUIET, producer_kafka=given))({}),
    "admin client": lambda given: admin_client(WorkerSettings(kafka=QUIET | given)),
    "connection": lambda given: Connection("127.0.0.1:1", given),
    "consumer of a command": lambda given: Connection("127.0.0.1:1", {}).reader("g", given=given),
    "publisher": lambda given: Publisher(QUIET | given, "topic"),
}


@pytest.fixture
def cluster():
    with running_mock_cluster() as cluster:
        yield cluster


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"no.such.thing": "1"}, 'kafka: No such configuration property: "no.such.thing"'),
        ({"socket.timeout.ms": "soon"}, 'kafka: Invalid value for configuration property "socket.timeout.ms"'),
        ({"socket.timeout.ms": "-1"}, 'kafka: Configuration property "socket.timeout.ms" value -1 is outside'),
        ({"security.protocol": "ssl", "ssl.ca.location": "/none"}, "kafka: .*ssl.ca.location failed"),
    ],
    ids=["unknown", "no number", "out of range", "no file"],
)
def test_a_property_that_librdkafka_does_not_take_is_named(make, given, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        make(given)


@pytest.mark.parametrize("given", ["kafka", "consumer_kafka"])
def test_the_settings_have_the_last_word_on_what_is_fetched_ahead(given):
    told = WorkerSettings(**{given: {"queued.max.messages.kbytes": "100"}})

    assert consumer_properties(told, 4_096)["queued.max.messages.kbytes"] == "100"
    assert consumer_properties(WorkerSettings(), 4_096)["queued.max.messages.kbytes"] == 4_096


def test_statistics_that_are_not_understood_do_not_surface_from_a_poll(cluster):
    seen = []

    def fail(text):
        seen.append(text)
        raise KeyError("ls_offset")

    given = QUIET | {"statistics.interval.ms": "10"}
    consumer = make_consumer(WorkerSettings(bootstrap_servers=cluster.bootstrap_servers, kafka=given), fail)
    deadline = time.monotonic() + 30
    while len(seen) < 3 and time.monotonic() < deadline:
        assert consumer.poll(0.1) is None
    consumer.close()

    assert len(seen) >= 3
