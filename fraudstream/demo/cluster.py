"""Give the demo a broker and topics of its own, and leave nothing behind."""

import ctypes
import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from confluent_kafka import cimpl

from consumer.settings import Delivery
from fraudstream.kafka import Connection
from schemas.errors import FraudstreamError

PARTITIONS = 4
_FOR_MOCK_CLUSTER = {"fetch.wait.max.ms": "1"}
"""Kafka answers a waiting fetch when a record comes. The mock cluster lets each wait to its end: with 10 ms the median
from sending to reading was 22 ms, with this it is 11."""


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one run, under a name that nobody else uses."""

    transactions: str
    decisions: str
    dead_letters: str
    samples: str

    @property
    def partitions(self) -> Mapping[str, int]:
        """All of them, with how many partitions each has: samples are read in one order."""
        return dict.fromkeys((self.transactions, self.decisions, self.dead_letters), PARTITIONS) | {self.samples: 1}


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where a run takes place, and what the broker there lets a worker promise."""

    connection: Connection
    topics: Topics
    delivery: Delivery


@contextmanager
def embedded_cluster() -> Iterator[Cluster]:
    """The mock cluster of librdkafka, a broker in this very process. It knows no transactions."""
    topics = _new_topics()
    with _mock_cluster(topics.partitions) as address:
        yield Cluster(Connection(address, _FOR_MOCK_CLUSTER), topics, Delivery.AT_LEAST_ONCE)


@contextmanager
def real_cluster(bootstrap_servers: str, properties: Mapping[str, str]) -> Iterator[Cluster]:
    """Topics on a broker of the user's, deleted at the end.

    Raises ConfigurationError if no broker answers, NotPermittedError if it refuses us.
    """
    connection, topics = Connection(bootstrap_servers, properties), _new_topics()
    with ExitStack() as stack:
        for name, partitions in topics.partitions.items():
            connection.create_topic(name, partitions)
            stack.callback(connection.delete_topic, name)
        yield Cluster(connection, topics, Delivery.EXACTLY_ONCE)


def _new_topics() -> Topics:
    run = f"fraudstream-demo-{uuid.uuid4().hex[:8]}"
    return Topics(f"{run}.transactions", f"{run}.decisions", f"{run}.dead-letters", f"{run}.samples")


@contextmanager
def _mock_cluster(topics: Mapping[str, int]) -> Iterator[str]:
    """The address of a cluster of one broker with these topics.

    By librdkafka's C interface (rdkafka_mock.h), because Python's offers neither topics with a number of partitions
    nor a group that does not wait three seconds for more members.
    """
    library = _librdkafka()
    properties = library.rd_kafka_conf_new()
    library.rd_kafka_conf_set(properties, b"log_level", b"0", None, 0)
    handle = library.rd_kafka_new(0, properties, None, 0)
    cluster = library.rd_kafka_mock_cluster_new(handle, 1) if handle else None
    if not cluster:
        raise FraudstreamError("the broker inside this process did not start: give a real one by --bootstrap-servers")
    try:
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, 0)
        # Without a controller each question about rights and settings waits ten seconds for one.
        library.rd_kafka_mock_set_controller_id(cluster, 1)
        for name, partitions in topics.items():
            library.rd_kafka_mock_topic_create(cluster, name.encode(), partitions, 1)
        yield library.rd_kafka_mock_cluster_bootstraps(cluster).decode()
    finally:
        library.rd_kafka_mock_cluster_destroy(cluster)
        library.rd_kafka_destroy(handle)


def _librdkafka() -> ctypes.CDLL:
    """The library that confluent-kafka has loaded: a symbol is looked for in what a library was linked with, too."""
    library = ctypes.CDLL(cimpl.__file__)
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, result, arguments in (
        ("conf_new", pointer, []),
        ("conf_set", number, [pointer, text, text, text, ctypes.c_size_t]),
        ("new", pointer, [number, pointer, text, ctypes.c_size_t]),
        ("destroy", None, [pointer]),
        ("mock_cluster_new", pointer, [pointer, number]),
        ("mock_cluster_destroy", None, [pointer]),
        ("mock_cluster_bootstraps", text, [pointer]),
        ("mock_group_initial_rebalance_delay_ms", None, [pointer, ctypes.c_int32]),
        ("mock_set_controller_id", number, [pointer, ctypes.c_int32]),
        ("mock_topic_create", number, [pointer, text, number, number]),
    ):
        function = getattr(library, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, arguments
    return library
