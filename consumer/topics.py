"""Ask the brokers for the topics of a worker: how many partitions, how large a record, or what is wrong with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import ConfigResource, ResourceType  # type: ignore[attr-defined]

from consumer import rights
from consumer.clients import admin_client, largest_message, log_error
from consumer.faults import refused
from consumer.settings import WorkerSettings
from schemas.errors import ConfigurationError, FraudstreamError, NotPermittedError

log = structlog.get_logger()

ANSWER_SECONDS = 10.0


class BrokerUnavailableError(ConfigurationError):
    """Catch this to wait and ask again where the brokers have answered before: none does now."""


@dataclass(frozen=True, slots=True)
class Topics:
    """Partitions of the topics that the worker reads and writes; bytes of the largest record that both outputs take."""

    input: int
    decisions: int
    dead_letters: int
    largest: int


class Cluster:
    """The brokers of the settings, as a worker sees them."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Raises ConfigurationError for a property that librdkafka does not take."""
        self._settings = settings
        self._complaints: list[KafkaError] = []
        self._admin = admin_client(settings, self._complain)

    def check_rights(self) -> None:
        """Raise NotPermittedError naming a right that a worker needs and lacks, as far as the brokers tell.

        Raises as ``topics`` does where none answers.
        """
        self._all_topics()  # without an answer to this, each right would be waited for in vain
        needed = rights.needed(self._settings)
        names = {setting: str(getattr(self._settings, setting)) for setting in needed}
        allowed = rights.on_topics(self._admin, list(names.values()), ANSWER_SECONDS)
        for setting, operations in needed.items():
            for operation in operations:
                self._check(setting, f"topic {names[setting]}", operation, allowed[names[setting]])
        group = self._settings.group
        self._check("group", f"group {group}", "READ", rights.on_group(self._admin, group, ANSWER_SECONDS))

    def _check(self, setting: str, what: str, operation: str, allowed: rights.Operations) -> None:
        if allowed is not None and operation not in allowed:
            raise NotPermittedError(f"{setting}: not permitted to {operation} {what}")

    def topics(self) -> Topics:
        """The topics as they are now.

        Raises ConfigurationError naming what is missing, BrokerUnavailableError where no broker answers and
        NotPermittedError naming the right that is missing.
        """
        sampled = ["samples_topic"] if self._settings.sample_rate else []
        partitions = self.partitions("input_topic", "decisions_topic", "dead_letters_topic", *sampled)
        outputs = [self._settings.decisions_topic, self._settings.dead_letters_topic]
        largest = min([largest_message(self._settings), *self._largest_records(outputs)])
        return Topics(
            partitions["input_topic"], partitions["decisions_topic"], partitions["dead_letters_topic"], largest
        )

    def partitions(self, *settings: str) -> dict[str, int]:
        """How many partitions the topics have that these settings name, by setting. Raises as ``topics`` does."""
        known = self._all_topics()
        found = {}
        for setting in settings:
            name = getattr(self._settings, setting)
            if name not in known or known[name].error is not None:
                raise self._missing(setting, name)
            found[setting] = len(known[name].partitions)
        return found

    def _complain(self, error: KafkaError) -> None:
        self._complaints.append(error)
        log_error(error)

    def _all_topics(self) -> dict[str, Any]:
        # All are asked for: naming one would create it where brokers do that.
        self._complaints.clear()
        try:
            topics: dict[str, Any] = self._admin.list_topics(timeout=ANSWER_SECONDS).topics
        except KafkaException as error:
            self._admin.poll(0)
            raise self._unreachable(error.args[0]) from None
        return topics

    def _unreachable(self, error: KafkaError) -> FraudstreamError:
        servers = self._settings.bootstrap_servers
        for complaint in (*self._complaints, error):
            if refused(complaint):
                return NotPermittedError(f"bootstrap_servers: {servers} refuses us: {complaint.str()}")
        return BrokerUnavailableError(f"bootstrap_servers: no broker answers at {servers} ({error.str()})")

    def _missing(self, setting: str, name: str) -> FraudstreamError:
        """Why a topic is not listed: without the right to describe it, it is hidden."""
        try:
            self._admin.describe_topics(TopicCollection([name]), request_timeout=ANSWER_SECONDS)[name].result()
        except KafkaException as error:
            if refused(error.args[0]):
                return NotPermittedError(f"{setting}: not permitted to describe topic {name} ({error.args[0].str()})")
        return ConfigurationError(f"{setting}: topic {name} does not exist on {self._settings.bootstrap_servers}")

    def _largest_records(self, topics: Sequence[str]) -> list[int]:
        """``max.message.bytes`` of the topics, as far as the brokers tell: it takes a right of its own."""
        asked = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
        answers = self._admin.describe_configs(asked, request_timeout=ANSWER_SECONDS)
        found = []
        for resource in asked:
            try:
                found.append(int(answers[resource].result()["max.message.bytes"].value))
            except (KafkaException, KeyError, ValueError) as error:
                log.info("largest_record_unknown", topic=resource.name, reason=str(error))
        return found
