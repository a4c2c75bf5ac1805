"""Every error that the brokers may give to a transaction is of the class that docs/delivery.md promises."""

import threading
from itertools import count

import pytest
from confluent_kafka import KafkaError, TopicPartition
from mock_cluster import (
    ADD_OFFSETS,
    ADD_PARTITIONS,
    END_TXN,
    INIT_PRODUCER_ID,
    PRODUCE,
    TXN_OFFSET_COMMIT,
    running_mock_cluster,
)
from structlog.testing import capture_logs

from consumer.clients import make_consumer, producer_maker
from consumer.delivery import ExactlyOnce, Messages, Outbox, Place, PublishError, TooLargeError
from consumer.settings import WorkerSettings
from schemas.errors import ConfigurationError, NotPermittedError

ABSORBED = {
    PRODUCE: (
        "NOT_ENOUGH_REPLICAS NOT_ENOUGH_REPLICAS_AFTER_APPEND _TRANSPORT NOT_LEADER_FOR_PARTITION KAFKA_STORAGE_ERROR "
        "REQUEST_TIMED_OUT"
    ),
    ADD_PARTITIONS: "COORDINATOR_LOAD_IN_PROGRESS NOT_COORDINATOR CONCURRENT_TRANSACTIONS _TRANSPORT",
    ADD_OFFSETS: "COORDINATOR_NOT_AVAILABLE CONCURRENT_TRANSACTIONS _TRANSPORT",
    TXN_OFFSET_COMMIT: "COORDINATOR_LOAD_IN_PROGRESS NOT_COORDINATOR _TRANSPORT",
    END_TXN: "COORDINATOR_LOAD_IN_PROGRESS CONCURRENT_TRANSACTIONS _TRANSPORT",
    INIT_PRODUCER_ID: "COORDINATOR_NOT_AVAILABLE CONCURRENT_TRANSACTIONS _TRANSPORT",
}
ABORT = {
    PRODUCE: "INVALID_RECORD UNKNOWN_PRODUCER_ID INVALID_TXN_STATE RECORD_LIST_TOO_LARGE NETWORK_EXCEPTION UNKNOWN",
    ADD_PARTITIONS: "INVALID_PRODUCER_ID_MAPPING UNKNOWN_PRODUCER_ID OPERATION_NOT_ATTEMPTED",
    ADD_OFFSETS: "INVALID_PRODUCER_ID_MAPPING",
    TXN_OFFSET_COMMIT: "ILLEGAL_GENERATION UNKNOWN_MEMBER_ID FENCED_INSTANCE_ID REBALANCE_IN_PROGRESS",
    END_TXN: "REQUEST_TIMED_OUT UNKNOWN",
}
FATAL = {
    PRODUCE: "OUT_OF_ORDER_SEQUENCE_NUMBER",
    ADD_PARTITIONS: "INVALID_TXN_STATE",
    TXN_OFFSET_COMMIT: "UNSUPPORTED_FOR_MESSAGE_FORMAT",
    END_TXN: "INVALID_TXN_STATE",
}
FENCED = {
    PRODUCE: "INVALID_PRODUCER_EPOCH",
    ADD_PARTITIONS: "PRODUCER_FENCED",
    ADD_OFFSETS: "INVALID_PRODUCER_EPOCH",
    TXN_OFFSET_COMMIT: "INVALID_PRODUCER_EPOCH",
    END_TXN: "PRODUCER_FENCED",
}
EXIT_77 = {
    PRODUCE: "TOPIC_AUTHORIZATION_FAILED CLUSTER_AUTHORIZATION_FAILED",
    ADD_PARTITIONS: "TOPIC_AUTHORIZATION_FAILED TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    ADD_OFFSETS: "GROUP_AUTHORIZATION_FAILED",
    TXN_OFFSET_COMMIT: "GROUP_AUTHORIZATION_FAILED",
    INIT_PRODUCER_ID: "TRANSACTIONAL_ID_AUTHORIZATION_FAILED CLUSTER_AUTHORIZATION_FAILED",
}
EXIT_78 = {INIT_PRODUCER_ID: "INVALID_TRANSACTION_TIMEOUT"}
NAMES = {PRODUCE: "produce", ADD_PARTITIONS: "add partitions", ADD_OFFSETS: "add offsets", END_TXN: "end"} | {
    TXN_OFFSET_COMMIT: "offsets",
    INIT_PRODUCER_ID: "init",
}
RESOURCES = {
    "TOPIC": "topics of decisions and dead letters",
    "GROUP": "READ on the group",
    "CLUSTER": "IDEMPOTENT_WRITE on the cluster",
    "TRANSACTIONAL": r"transactional id slot-\d+\.a",
}
SLOTS = (f"slot-{number}" for number in count())


def cases(table):
    return [pytest.param(api, name, id=f"{NAMES[api]} {name}") for api in table for name in table[api].split()]


@pytest.fixture(scope="module")
def cluster():
    with running_mock_cluster() as cluster:
        for topic in ("in", "out"):
            cluster.create_topic(topic)
        yield cluster


@pytest.fixture(scope="module")
def settings(cluster):
    return WorkerSettings(
        bootstrap_servers=cluster.bootstrap_servers, input_topic="in", group="g", kafka={"log_level": "0"}
    )


@pytest.fixture(scope="module")
def place(settings):
    """Where the input was read to, as a member of a group."""
    consumer = make_consumer(settings)
    consumer.subscribe(
        ["in"], on_assign=lambda c, given: c.incremental_assign([TopicPartition("in", p.partition, 0) for p in given])
    )
    while not consumer.assignment():
        consumer.poll(0.1)
    yield Place([TopicPartition("in", 0, 1)], consumer, consumer.consumer_group_metadata())
    consumer.close()


def publishing(cluster, settings, place):
    """A function that publishes through one delivery, whose next request of a kind shall meet an error."""
    delivery = ExactlyOnce(producer_maker(settings), next(SLOTS))

    def publish(api=None, error=None):
        early = api == INIT_PRODUCER_ID
        if api is not None and early:
            cluster.fail_next(api, getattr(KafkaError, error))
        if api is not None:
            delivery.open()
        if api is not None and not early:
            cluster.fail_next(api, getattr(KafkaError, error))
        delivery.publish(Outbox([Messages("out", 0, [{"value": b"1", "key": None}])]), place)

    publish.delivery = delivery
    return publish


@pytest.fixture
def publish(cluster, settings, place):
    yield publishing(cluster, settings, place)
    cluster.forget_failures()


@pytest.mark.parametrize(("api", "error"), cases(ABSORBED))
def test_what_passes_by_itself_is_waited_for(publish, api, error):
    publish(api, error)

    assert publish.delivery.replacements == 0


@pytest.mark.parametrize(
    ("api", "error", "fault"),
    [
        pytest.param(*case.values, fault, id=f"{fault} {case.id}")
        for fault, table in (("ABORT", ABORT), ("FATAL", FATAL), ("FENCED", FENCED))
        for case in cases(table)
    ],
)
def test_what_breaks_a_transaction_replaces_its_producer_and_the_next_ones_succeed(publish, api, error, fault):
    with capture_logs() as logs, pytest.raises(PublishError):
        publish(api, error)
    publish()
    publish()

    assert [line["fault"] for line in logs if line["event"] == "producer_replaced"] == [fault]
    assert publish.delivery.replacements == 1


@pytest.mark.parametrize(("api", "error"), cases(EXIT_77))
def test_a_missing_right_is_named_with_its_resource(publish, api, error):
    with pytest.raises(NotPermittedError, match=RESOURCES[error.partition("_")[0]]):
        publish(api, error)


@pytest.mark.parametrize(("api", "error"), cases(EXIT_78))
def test_what_only_a_setting_mends_ends_the_worker(publish, api, error):
    with pytest.raises(ConfigurationError, match=r"transaction\.timeout\.ms is more"):
        publish(api, error)


def test_a_record_that_the_brokers_find_too_large_is_told_apart(publish):
    with pytest.raises(TooLargeError):
        publish(PRODUCE, "MSG_SIZE_TOO_LARGE")


def test_brokers_that_are_away_for_a_moment_are_waited_for(publish, cluster):
    publish.delivery.open()
    cluster.set_down()
    threading.Timer(1.0, cluster.set_up).start()
    publish()

    assert publish.delivery.replacements == 0


def test_brokers_that_are_away_for_longer_than_a_message_waits_cost_a_producer(cluster, settings, place):
    impatient = settings.model_copy(update={"producer_kafka": {"message.timeout.ms": "500"}})
    publish = publishing(cluster, impatient, place)
    publish.delivery.open()
    cluster.set_down()
    threading.Timer(1.5, cluster.set_up).start()
    with pytest.raises(PublishError):
        publish()
    publish()
    publish()

    assert publish.delivery.replacements == 1
