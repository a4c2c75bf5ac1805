"""Decide where each partition of a group goes on: at its committed offset, else where the group begins."""

import time
from collections.abc import Callable, Collection

import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from consumer.faults import refused
from consumer.settings import Start
from schemas.errors import FraudstreamError, NotPermittedError

log = structlog.get_logger()

ANSWER_SECONDS = 5.0
PAUSE_SECONDS = 0.2
UNSETTLED_SECONDS = 60.0
"""Above ``transaction.timeout.ms`` and the brokers' sweep after it, which end what a dead worker left open."""


class Places:
    """The brokers' word on where the partitions of ``topic`` go on. What they cannot tell now is asked for again."""

    def __init__(
        self, consumer: Consumer, topic: str, start: Start, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.consumer = consumer
        """The member of the group that asks."""
        self._topic = topic
        self._start = start
        self._clock = clock
        self._new_partitions = 0
        self._unsettled_since: float | None = None

    def open(self) -> None:
        """Ask, before the group is joined, whether it is new to the topic: only then may it begin at the end.

        A partition without an offset in a group that has others was added later, and all of it is to be read.
        """
        if self._start is not Start.LATEST:
            return
        deadline = self._clock() + UNSETTLED_SECONDS
        while not self._look_for_offsets():
            if self._clock() > deadline:
                raise FraudstreamError(f"the brokers do not tell the offsets of the group for {self._topic}")
            time.sleep(PAUSE_SECONDS)

    def of(self, partitions: Collection[int]) -> dict[int, int]:
        """The next offset by partition, as far as the brokers tell it now.

        Raises NotPermittedError, and FraudstreamError when a transaction of a dead worker hides it for too long.
        """
        found: dict[int, int] = {}
        missing: list[int] = []
        unsettled = False
        for answer in self._committed(partitions):
            if answer.error is not None:
                self._note(answer.error, answer.partition)
                unsettled |= answer.error.code() == KafkaError.UNSTABLE_OFFSET_COMMIT
            elif answer.offset >= 0:
                found[answer.partition] = answer.offset
            else:
                missing.append(answer.partition)
        self._watch(unsettled)
        return found | self._begin(missing) if missing else found

    def gap(self, partition: int) -> dict[str, int]:
        """The offset that a partition should go on from, and those that the topic holds, as far as they can be had."""
        told = {}
        for answer in self._committed([partition]):
            told["next_offset"] = answer.offset
        asked = TopicPartition(self._topic, partition)
        try:
            low, high = self.consumer.get_watermark_offsets(asked, timeout=ANSWER_SECONDS)
        except KafkaException:
            return told
        return told | {"first_offset": low, "end_offset": high}

    def _committed(self, partitions: Collection[int]) -> list[TopicPartition]:
        if not partitions:
            return []
        wanted = [TopicPartition(self._topic, number) for number in sorted(partitions)]
        try:
            return list(self.consumer.committed(wanted, timeout=ANSWER_SECONDS))
        except KafkaException as error:
            self._note(error.args[0])
            return []

    def _watch(self, unsettled: bool) -> None:
        if not unsettled:
            self._unsettled_since = None
        elif self._unsettled_since is None:
            self._unsettled_since = self._clock()
        elif self._clock() - self._unsettled_since > UNSETTLED_SECONDS:
            raise FraudstreamError(
                f"a transaction that holds offsets of {self._topic} has been open for over {UNSETTLED_SECONDS:.0f} s: "
                "its worker is gone and the brokers have not ended it"
            )

    def _begin(self, partitions: list[int]) -> dict[int, int]:
        """Where to begin, committed at once: a start before the first batch would else begin anew, and skip."""
        try:
            begin = {number: self._beginning(number) for number in partitions}
            offsets = [TopicPartition(self._topic, number, offset) for number, offset in begin.items()]
            answers = self.consumer.commit(offsets=offsets, asynchronous=False)
        except KafkaException as error:
            self._note(error.args[0])
            return {}
        for answer in answers:
            if answer.error is not None:
                self._note(answer.error, answer.partition)
                del begin[answer.partition]
        return begin

    def _beginning(self, number: int) -> int:
        partition = TopicPartition(self._topic, number)
        low, high = self.consumer.get_watermark_offsets(partition, timeout=ANSWER_SECONDS)
        return high if number < self._new_partitions else low

    def _look_for_offsets(self) -> bool:
        try:
            known = self.consumer.list_topics(self._topic, timeout=ANSWER_SECONDS).topics[self._topic].partitions
        except KafkaException as error:
            self._note(error.args[0])
            return False
        answers = self._committed(known)
        if any(answer.error is not None or answer.offset >= 0 for answer in answers):
            return True
        self._new_partitions = len(known)
        return bool(answers)

    def _note(self, error: KafkaError, partition: int | None = None) -> None:
        if refused(error):
            raise NotPermittedError(
                f"not permitted to use the offsets of the group for {self._topic}, which takes READ on the group and "
                f"on the topic ({error.name()}: {error.str()})"
            )
        log.warning("waiting_for_offsets", partition=partition, code=error.name(), reason=error.str())
