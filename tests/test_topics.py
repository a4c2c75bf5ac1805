"""What is wrong with a topic is said by the name of its setting, and a missing right is told from a missing topic."""

from concurrent.futures import Future
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException

from consumer import topics
from consumer.settings import WorkerSettings
from consumer.topics import BrokerUnavailableError, Cluster, Topics
from schemas.errors import ConfigurationError, NotPermittedError

SETTINGS = WorkerSettings(input_topic="in", decisions_topic="out", dead_letters_topic="dead", samples_topic="samples")
THREE = SETTINGS.model_copy(update={"sample_rate": 0})


def failed(code):
    future = Future()
    future.set_exception(KafkaException(KafkaError(code, "injected")))
    return future


def told(value):
    future = Future()
    future.set_result(value)
    return future


@dataclass
class FakeAdmin:
    """Brokers with these topics (partitions), limits and errors; those not listed are hidden for a reason."""

    partitions: dict
    limits: dict = field(default_factory=dict)
    hidden: int = KafkaError.UNKNOWN_TOPIC_OR_PART
    outage: int | None = None
    complaints: list = field(default_factory=list)

    def list_topics(self, timeout):
        if self.outage is not None:
            raise KafkaException(KafkaError(self.outage, "injected"))
        return SimpleNamespace(
            topics={n: SimpleNamespace(partitions=range(count), error=None) for n, count in self.partitions.items()}
        )

    def describe_topics(self, collection, request_timeout):
        return {"out": failed(self.hidden), "samples": failed(self.hidden)}

    def describe_configs(self, resources, request_timeout):
        return {
            resource: told({"max.message.bytes": SimpleNamespace(value=str(self.limits[resource.name]))})
            if resource.name in self.limits
            else failed(KafkaError.TOPIC_AUTHORIZATION_FAILED)
            for resource in resources
        }

    def poll(self, timeout):
        for code in self.complaints:
            self.on_error(KafkaError(code, "injected"))


@pytest.fixture
def cluster(monkeypatch):
    def make(*arguments, settings=THREE, **more):
        admin = FakeAdmin(*arguments, **more)

        def admin_client(settings, on_error):
            admin.on_error = on_error
            return admin

        monkeypatch.setattr(topics, "admin_client", admin_client)
        return Cluster(settings)

    return make


def test_a_topic_for_samples_is_needed_where_samples_are_taken(cluster):
    topics = {"in": 1, "out": 1, "dead": 1}

    with pytest.raises(ConfigurationError, match="samples_topic: topic samples does not exist"):
        cluster(topics, settings=SETTINGS).topics()
    assert cluster(topics | {"samples": 1}, settings=SETTINGS).topics().input == 1


def test_the_partitions_and_the_smallest_limit_are_told(cluster):
    assert cluster({"in": 4, "out": 3, "dead": 2}, {"out": 5_000, "dead": 4_000}).topics() == Topics(4, 3, 2, 4_000)


def test_where_the_brokers_do_not_tell_their_limit_it_is_that_of_the_client(cluster):
    assert cluster({"in": 1, "out": 1, "dead": 1}).topics().largest == 2_000_000


def test_a_topic_that_does_not_exist_is_named_with_its_setting(cluster):
    with pytest.raises(ConfigurationError, match="decisions_topic: topic out does not exist"):
        cluster({"in": 1, "dead": 1}).topics()


def test_a_topic_that_is_hidden_for_want_of_a_right_is_told_from_one_that_does_not_exist(cluster):
    with pytest.raises(NotPermittedError, match="decisions_topic: not permitted to describe topic out"):
        cluster({"in": 1, "dead": 1}, hidden=KafkaError.TOPIC_AUTHORIZATION_FAILED).topics()


def test_brokers_that_do_not_believe_who_we_are_are_told_from_brokers_that_are_away(cluster):
    away = {"outage": KafkaError._TRANSPORT}

    with pytest.raises(NotPermittedError, match=r"bootstrap_servers: .* refuses us"):
        cluster({}, **away, complaints=[KafkaError._TRANSPORT, KafkaError._AUTHENTICATION]).topics()
    with pytest.raises(NotPermittedError, match=r"bootstrap_servers: .* refuses us"):
        cluster({}, outage=KafkaError.CLUSTER_AUTHORIZATION_FAILED).topics()
    with pytest.raises(BrokerUnavailableError, match="no broker answers"):
        cluster({}, **away, complaints=[KafkaError._TRANSPORT]).topics()
