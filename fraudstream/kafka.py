"""Connect a command to Kafka: what is wrong is said in one sentence, and soon."""

import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from consumer import rights
from consumer.clients import NO_REBOOTSTRAP, make_client
from consumer.faults import refused
from schemas.errors import ConfigurationError, FraudstreamError, NotPermittedError

ANSWER_SECONDS = 10.0
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


class Connection:
    """One cluster, asked before anything is sent to it or read from it."""

    def __init__(self, bootstrap_servers: str, properties: Mapping[str, Any]) -> None:
        """Raises ConfigurationError for a property that librdkafka does not know."""
        self.bootstrap_servers = bootstrap_servers
        self.given = dict(properties)
        self._complaints: list[KafkaError] = []
        # log_level 0: what librdkafka would log comes back as an error, and that becomes the one sentence.
        self.properties: dict[str, Any] = {"log_level": 0} | NO_REBOOTSTRAP | dict(properties)
        self.properties["bootstrap.servers"] = bootstrap_servers
        self._admin = make_client(AdminClient, self.properties | {"error_cb": self._complaints.append})

    def reader(
        self,
        group: str,
        *,
        given: Mapping[str, str] = NO_SETTINGS,
        isolation: str = "read_committed",
        reset: str = "error",
    ) -> Consumer:
        """A consumer that joins no group, commits nothing by itself and is told where partitions end.

        librdkafka asks for the coordinator of ``group`` in any case, which takes DESCRIBE on it; what the group has
        committed may be asked for. ``given`` is what only consumers were given.
        Raises ConfigurationError for a property that librdkafka does not know.
        """
        ours = {
            "group.id": group,
            "enable.auto.commit": False,
            "isolation.level": isolation,
            "enable.partition.eof": True,
            "auto.offset.reset": reset,
        }
        return make_client(Consumer, dict(given) | self.properties | ours)

    def partitions(self, topic: str) -> list[int]:
        """The topic's partitions.

        Raises ConfigurationError when there is no such topic or no broker answers within 10 s, NotPermittedError
        when the brokers refuse us.
        """
        # All topics are asked for: naming one would create it where brokers do that.
        metadata = self._all_topics().get(topic)
        if metadata is None:
            raise ConfigurationError(f"topic {topic} does not exist on {self.bootstrap_servers}")
        if metadata.error is not None:
            raise sentence(metadata.error, f"topic {topic}")
        return sorted(metadata.partitions)

    def check_group(self, group: str) -> None:
        """Raise NotPermittedError unless we may READ the group; asked for its offsets, clients only time out."""
        operations = rights.on_group(self._admin, group, ANSWER_SECONDS)
        if operations is not None and "READ" not in operations:
            raise NotPermittedError(f"not permitted to READ group {group}")

    def has_topic(self, topic: str) -> bool:
        """Whether there is such a topic, as far as we may know. Raises as ``partitions``."""
        return topic in self._all_topics()

    def create_topic(self, topic: str, partitions: int, settings: Mapping[str, str] = NO_SETTINGS) -> None:
        """Create the topic with the cluster's own replication factor, unless it is there. Raises as ``partitions``.

        ``settings`` are those of the topic that differ from the cluster's.
        """
        if topic in self._all_topics():
            return
        try:
            self._admin.create_topics([NewTopic(topic, partitions, -1, config=dict(settings))])[topic].result(
                ANSWER_SECONDS
            )
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise sentence(error.args[0], f"topic {topic}") from None
        self._wait_until_known(topic)

    def delete_topic(self, topic: str) -> None:
        """Delete the topic and all that is in it. Raises as ``partitions``."""
        try:
            self._admin.delete_topics([topic])[topic].result(ANSWER_SECONDS)
        except KafkaException as error:
            raise sentence(error.args[0], f"topic {topic}") from None

    def _wait_until_known(self, topic: str) -> None:
        """A broker may deny for a moment that a new topic exists."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while topic not in self._all_topics() and time.monotonic() < deadline:
            time.sleep(0.05)

    def _all_topics(self) -> Mapping[str, Any]:
        try:
            topics: Mapping[str, Any] = self._admin.list_topics(timeout=ANSWER_SECONDS).topics
        except KafkaException as error:
            self._admin.poll(0)
            raise self._unreachable(error.args[0]) from None
        return topics

    def _unreachable(self, error: KafkaError) -> FraudstreamError:
        for complaint in self._complaints:
            if refused(complaint):
                return sentence(complaint, self.bootstrap_servers)
        reason = self._complaints[0] if self._complaints else error
        return ConfigurationError(f"no Kafka broker answers at {self.bootstrap_servers}: {reason.str()}")


def sentence(error: KafkaError, what: str) -> FraudstreamError:
    """What the brokers say of ``what``: NotPermittedError where they refuse us, else ConfigurationError."""
    if refused(error):
        return NotPermittedError(f"{what}: the brokers refuse us: {error.str()}")
    return ConfigurationError(f"{what}: {error.str()}")
