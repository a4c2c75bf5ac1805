"""Ask the brokers about themselves, the topics and our rights, and try a transaction that leaves nothing behind."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]

from consumer import rights
from consumer.clients import kafka_properties, make_client, producer_maker
from consumer.faults import refused
from consumer.patience import patiently
from consumer.settings import Delivery, WorkerSettings
from fraudstream.doctor.finding import Finding, Topic, Verdict, clock, co_partitioning, right, topic_findings
from fraudstream.kafka import ANSWER_SECONDS

NEW_TOPIC_SECONDS = 1.0
"""So long brokers may deny that a topic exists after it was created."""
PROBE_AGE_MS = 300_000
"""The probe bears an old time, so that the marker of the brokers after it is the latest there is."""
_QUIET: dict[str, Any] = {"log_level": 0, "error_cb": lambda _error: None}


class Cluster:
    """The brokers of the settings."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Raises ConfigurationError for a property that librdkafka does not take."""
        self._settings = settings
        self._complaints: list[KafkaError] = []
        ours = {"bootstrap.servers": settings.bootstrap_servers, "log_level": 0, "error_cb": self._complaints.append}
        self._admin = make_client(AdminClient, kafka_properties(settings) | ours)
        self._prefix = f"{settings.application}.{settings.environment}.{settings.group}."

    def findings(self) -> Iterator[Finding]:
        """All that can be said of the brokers; where none answers, only that."""
        yield self._versions()
        brokers = self._brokers()
        yield brokers
        if brokers.verdict is Verdict.WRONG:
            return
        needed = rights.needed(self._settings)
        topics = {setting: self._topic(getattr(self._settings, setting)) for setting in needed}
        for setting, topic in topics.items():
            if isinstance(topic, Topic):
                yield from topic_findings(setting, topic, needed[setting])
            else:
                yield self._missing(setting, topic, needed[setting])
        yield self._group()
        there = {setting: topic for setting, topic in topics.items() if isinstance(topic, Topic)}
        if len(there) == len(topics):
            yield co_partitioning(there)
            yield from self._transaction()

    def _versions(self) -> Finding:
        library = confluent_kafka.libversion()[0]
        return Finding("client", Verdict.GOOD, f"confluent-kafka {confluent_kafka.version()}, librdkafka {library}")

    def _brokers(self) -> Finding:
        servers = self._settings.bootstrap_servers
        try:
            cluster = self._admin.describe_cluster(request_timeout=ANSWER_SECONDS).result()
        except KafkaException as error:
            self._admin.poll(0)
            reason = next(iter(self._complaints), error.args[0])
            advice = "check bootstrap_servers, the network between, and in [kafka] security.protocol and credentials"
            return Finding("brokers", Verdict.WRONG, f"none answers at {servers}: {reason.str()}", advice)
        return Finding("brokers", Verdict.GOOD, f"{len(cluster.nodes)} at {servers}, cluster {cluster.cluster_id}")

    def _topic(self, name: str) -> Topic | KafkaError:
        def ask() -> Any:
            answers = self._admin.describe_topics(TopicCollection([name]), request_timeout=ANSWER_SECONDS)
            return answers[name].result()

        try:
            found = patiently(ask, NEW_TOPIC_SECONDS)
        except KafkaException as error:
            refusal: KafkaError = error.args[0]
            return refusal
        partitions = found.partitions
        return Topic(
            name=name,
            partitions=len(partitions),
            leaderless=sum(each.leader is None for each in partitions),
            lagging=sum(len(each.isr) < len(each.replicas) for each in partitions),
            replicas=min(len(each.replicas) for each in partitions),
            operations=rights.on_topics(self._admin, [name], ANSWER_SECONDS)[name],
        )

    def _missing(self, setting: str, error: KafkaError, operations: Sequence[str]) -> Finding:
        name = getattr(self._settings, setting)
        if refused(error):  # whoever may read or write a topic may also see it
            return right("topic", name, operations[0], frozenset())
        advice = "create it, or start the worker with --create-topics if it is an output"
        return Finding(setting, Verdict.WRONG, f"topic {name} does not exist", advice)

    def _group(self) -> Finding:
        group = self._settings.group
        return right("group", group, "READ", rights.on_group(self._admin, group, ANSWER_SECONDS))

    def _transaction(self) -> Iterator[Finding]:
        """Whether we may and can write in a transaction, and what the clock of the brokers says."""
        if self._settings.delivery is not Delivery.EXACTLY_ONCE:
            yield Finding("transaction", Verdict.SKIPPED, "delivery is at_least_once and needs none")
            return
        topic = self._settings.dead_letters_topic
        try:
            offset, before, after = self._abort_a_probe(topic)
            moment = self._time_of_marker(topic, offset)
        except KafkaException as error:
            yield self._failed(error.args[0])
            return
        told = f"begun, written to {topic} and aborted as {self._prefix}doctor: no reader of committed records sees it"
        yield Finding("transaction", Verdict.GOOD, told)
        if moment is None:
            told = f"{topic} holds a record from the future or of this moment: the clocks cannot be compared"
            yield Finding("clock", Verdict.SKIPPED, told)
        else:
            yield clock(moment - (before + after) / 2, (after - before) / 2)

    def _abort_a_probe(self, topic: str) -> tuple[int, float, float]:
        """The offset of a record that was never there for anybody, and when its transaction was ended (ms)."""
        offsets: list[int] = []

        def note(error: KafkaError | None, message: Message) -> None:
            if error is None:
                offsets.append(message.offset() or 0)

        producer = self._producer(note)
        producer.init_transactions(ANSWER_SECONDS)
        producer.begin_transaction()
        producer.produce(topic, b"", partition=0, timestamp=int(time.time() * 1000) - PROBE_AGE_MS)
        producer.flush(ANSWER_SECONDS)
        before = time.time() * 1000
        producer.abort_transaction(ANSWER_SECONDS)
        after = time.time() * 1000
        if not offsets:
            raise KafkaException(KafkaError(KafkaError._MSG_TIMED_OUT))  # noqa: SLF001 - it has no other name
        return offsets[0], before, after

    def _producer(self, note: Callable[[KafkaError | None, Message], None]) -> Producer:
        own = {"transactional.id": f"{self._prefix}doctor", "on_delivery": note, "delivery.report.only.error": False}
        return producer_maker(self._settings)(_QUIET | own)

    def _time_of_marker(self, topic: str, probe: int) -> int | None:
        """The time (ms) that the brokers gave the marker behind the probe, if nothing on its partition bears a later.

        Who asks for the latest time of a partition is told of markers too (KIP-734), which no consumer ever sees.
        """
        asked = TopicPartition(topic, 0)
        deadline = time.monotonic() + ANSWER_SECONDS
        # The marker is written a moment after the abort has returned.
        while self._offset(asked, OffsetSpec.latest()).offset < probe + 2:  # type: ignore[no-untyped-call]
            if time.monotonic() > deadline:
                return None
            time.sleep(0.05)
        latest = self._offset(asked, OffsetSpec.max_timestamp())  # type: ignore[no-untyped-call]
        return int(latest.timestamp) if latest.offset == probe + 1 else None

    def _offset(self, asked: TopicPartition, spec: OffsetSpec) -> Any:
        return self._admin.list_offsets({asked: spec}, request_timeout=ANSWER_SECONDS)[asked].result()

    def _failed(self, error: KafkaError) -> Finding:
        if refused(error):
            told = f"we may not write in transactions: {error.str()}"
            advice = (
                "kafka-acls.sh --add --allow-principal User:… --operation Write --transactional-id "
                f"{self._prefix} --resource-pattern-type prefixed"
            )
            return Finding("transaction", Verdict.WRONG, told, advice)
        advice = "see the brokers' logs; on a cluster without transactions set delivery = at_least_once"
        return Finding("transaction", Verdict.WRONG, f"it failed: {error.str()}", advice)
