"""A cluster inside this process that fails when it is told to: librdkafka's own mock, by its C interface."""

import ctypes
from contextlib import contextmanager
from dataclasses import dataclass

from confluent_kafka import cimpl

PRODUCE, FIND_COORDINATOR, OFFSET_FETCH = 0, 10, 9
INIT_PRODUCER_ID, ADD_PARTITIONS, ADD_OFFSETS, END_TXN, TXN_OFFSET_COMMIT = 22, 24, 25, 26, 28


@dataclass(frozen=True)
class MockCluster:
    bootstrap_servers: str
    library: ctypes.CDLL
    handle: ctypes.c_void_p
    host: ctypes.c_void_p

    def create_topic(self, name, partitions=1):
        self.library.rd_kafka_mock_topic_create(self.handle, name.encode(), partitions, 1)

    def publish(self, topic, value, header):
        """A record with a header whose name are these bytes: the client for Python takes text alone."""
        end, to, what, with_header = 0, 1, 4, 9
        self.library.rd_kafka_brokers_add(self.host, self.bootstrap_servers.encode())
        self.library.rd_kafka_producev(
            self.host,
            *(ctypes.c_int(to), topic.encode()),
            *(ctypes.c_int(what), value, ctypes.c_size_t(len(value))),
            *(ctypes.c_int(with_header), header, b"x", ctypes.c_ssize_t(1)),
            ctypes.c_int(end),
        )
        self.library.rd_kafka_flush(self.host, 10_000)

    def fail_next(self, api, *errors):
        """The next requests of this kind are answered with these errors, one each; _TRANSPORT cuts the connection."""
        array = (ctypes.c_int * len(errors))(*errors)
        self.library.rd_kafka_mock_push_request_errors_array(
            self.handle, ctypes.c_int16(api), ctypes.c_size_t(len(errors)), array
        )

    def forget_failures(self):
        for api in (PRODUCE, FIND_COORDINATOR, OFFSET_FETCH, INIT_PRODUCER_ID, *range(ADD_PARTITIONS, 29)):
            self.library.rd_kafka_mock_clear_request_errors(self.handle, ctypes.c_int16(api))

    def set_down(self, broker=1):
        self.library.rd_kafka_mock_broker_set_down(self.handle, ctypes.c_int32(broker))

    def set_up(self, broker=1):
        self.library.rd_kafka_mock_broker_set_up(self.handle, ctypes.c_int32(broker))


@contextmanager
def running_mock_cluster():
    library = ctypes.CDLL(cimpl.__file__)
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    for name, result, arguments in (
        ("conf_new", pointer, []),
        ("conf_set", ctypes.c_int, [pointer, text, text, text, ctypes.c_size_t]),
        ("new", pointer, [ctypes.c_int, pointer, text, ctypes.c_size_t]),
        ("destroy", None, [pointer]),
        ("brokers_add", ctypes.c_int, [pointer, text]),
        ("producev", ctypes.c_int, [pointer]),
        ("flush", ctypes.c_int, [pointer, ctypes.c_int]),
        ("mock_cluster_new", pointer, [pointer, ctypes.c_int]),
        ("mock_cluster_destroy", None, [pointer]),
        ("mock_cluster_bootstraps", text, [pointer]),
        ("mock_group_initial_rebalance_delay_ms", None, [pointer, ctypes.c_int32]),
        ("mock_topic_create", ctypes.c_int, [pointer, text, ctypes.c_int, ctypes.c_int]),
        ("mock_push_request_errors_array", None, [pointer, ctypes.c_int16, ctypes.c_size_t, pointer]),
        ("mock_clear_request_errors", None, [pointer, ctypes.c_int16]),
        ("mock_broker_set_down", ctypes.c_int, [pointer, ctypes.c_int32]),
        ("mock_broker_set_up", ctypes.c_int, [pointer, ctypes.c_int32]),
    ):
        function = getattr(library, f"rd_kafka_{name}")
        function.restype, function.argtypes = result, arguments
    properties = library.rd_kafka_conf_new()
    library.rd_kafka_conf_set(properties, b"log_level", b"0", None, 0)
    host = library.rd_kafka_new(0, properties, None, 0)
    handle = library.rd_kafka_mock_cluster_new(host, 1)
    library.rd_kafka_mock_group_initial_rebalance_delay_ms(handle, 0)
    try:
        yield MockCluster(library.rd_kafka_mock_cluster_bootstraps(handle).decode(), library, handle, host)
    finally:
        library.rd_kafka_mock_cluster_destroy(handle)
        library.rd_kafka_destroy(host)
