"""Move batches from a topic through a function to an outbox, and never lose the place.

Knows Kafka, and nothing of fraud: what the batch means is the business of ``process``.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from consumer.delivery import Delivery, Outbox, Place, PublishError, TooLargeError
from consumer.faults import is_fatal, is_fenced_member, refused
from consumer.memory import FreeMemory
from consumer.places import Places
from consumer.records import RecordBatch
from consumer.settings import Start
from consumer.until import Until
from schemas.errors import ConfigurationError, FraudstreamError, NotPermittedError

log = structlog.get_logger()

REWIND_PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A processed batch that waits for its turn to be published, and the offsets to commit with it."""

    records: RecordBatch
    offsets: list[TopicPartition]
    outbox: Outbox
    seconds: dict[str, float]


class Loop:
    """Consume, process, publish, commit: when busy, one batch is published while the next is processed.

    Polling, and with it every rebalance callback, happens only while nothing is being published. A batch that was
    processed but not yet published when partitions go away is dropped: their next owner, or this worker after a
    rewind, reads it again. ``moved`` is told of the partitions that come or go. With ``until`` nothing from beyond its
    stops is processed, and each stop is committed as soon as all before it are.
    """

    def __init__(
        self,
        make_consumer: Callable[[], Consumer],
        delivery: Delivery,
        process: Callable[[RecordBatch], Outbox],
        *,
        topic: str,
        batch_size: int,
        poll_seconds: float,
        start: Start,
        until: Until | None = None,
        moved: Callable[[Collection[int]], None] = lambda _partitions: None,
        observe: Callable[[Mapping[str, float], int], None] = lambda _seconds, _records: None,
    ) -> None:
        self._make_consumer = make_consumer
        self._consumer = make_consumer()
        self._delivery = delivery
        self._process = process
        self._topic = topic
        self._batch_size = batch_size
        self._poll_seconds = poll_seconds
        self._places = Places(self._consumer, topic, start)
        self._until = until
        self._moved = moved
        self._observe = observe
        self._free_memory = FreeMemory()
        self._publisher = ThreadPoolExecutor(1, thread_name_prefix="publish")
        self._prepared: _Prepared | None = None
        self._rewind_due = False
        self._assigned: set[int] = set()
        self._due: set[int] = set()
        self._stopped: set[int] = set()
        self.rebalances = 0
        self.rewinds = 0

    @property
    def assigned(self) -> frozenset[int]:
        """Partitions this worker owns."""
        return frozenset(self._assigned)

    @property
    def stopped(self) -> frozenset[int]:
        """Partitions among them that stand still: the offset to go on from is not in the topic."""
        return frozenset(self._stopped)

    @property
    def _readable(self) -> set[int]:
        return self._assigned - self._due - self._stopped

    def open(self) -> None:
        """Initialise the producers, which settles what a predecessor left open, then join the group."""
        self._delivery.open()
        self._places.open()
        self._join()

    def _join(self) -> None:
        self._consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke
        )

    def run_once(self) -> int:
        """Take a batch and process it while the batch before is published; the number of records published.

        Where little is waiting the batch is published at once: overlapped, it would wait for the next one to be taken.
        """
        self._free_memory.give_back()
        if self._due:
            self._settle()
        started = time.perf_counter()
        records = self._take(0 if self._prepared else self._poll_seconds)
        consumed = time.perf_counter()
        if self._rewind_due:
            self.rewind()
            return 0
        publishing = self._publish()
        try:
            following = self._prepare(records, consumed - started) if records is not None else None
        finally:
            published = self._wait_for(publishing)
        if publishing is None or published:
            self._prepared = following
        if self._prepared is not None and len(self._prepared.records) < self._batch_size / 2:
            published += self._wait_for(self._publish())
        return published

    def tell(self, outbox: Outbox) -> None:
        """Publish what no record led to, but the passing of time; it bears its own offsets."""
        if self._prepared is not None and not self._wait_for(self._publish()):
            return  # what time has brought about rests on a batch that was not published
        self._prepared = _Prepared(RecordBatch.of(self._topic, []), list(outbox.offsets or ()), outbox, {})
        self._wait_for(self._publish())

    def close(self) -> None:
        """Publish what is prepared, then leave; a static member's partitions wait for it to come back."""
        try:
            self._wait_for(self._publish())
        finally:
            self._publisher.shutdown()
            self._consumer.close()
            self._delivery.close()

    def rewind(self) -> None:
        """Go back to what the broker says is committed: it is right after any failed or doubtful commit."""
        self._drop()
        time.sleep(REWIND_PAUSE_SECONDS)
        self._settle()

    def hold(self, seconds: float) -> None:
        """Read nothing for so long, then go on from what is committed. Polling goes on, and with it the membership."""
        self._drop()
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._pause(self._due)
            message = self._consumer.poll(left)
            if message is not None and (error := message.error()) is not None:
                self._complain(error, message)
            # A partition that was just assigned is read already, unless its place is not known yet.
            self._due |= self._assigned - self._stopped
        self._rewind_due = False
        self._settle()

    def _drop(self) -> None:
        """Forget what was read since the last commit: all partitions are due to be put back there."""
        self.rewinds += 1
        self._prepared, self._rewind_due = None, False
        self._due |= self._assigned - self._stopped
        if self._until is not None:
            self._until.forget(self._assigned)

    def _settle(self) -> None:
        """Put every partition that is due where it goes on; those whose place cannot be had now stay due, unread."""
        for number, offset in self._places.of(self._due).items():
            try:
                self._consumer.seek(TopicPartition(self._topic, number, offset))
            except KafkaException as error:  # assigned a moment ago, it may not be seekable yet
                log.warning("rewind_postponed", partition=number, reason=error.args[0].str())
            else:
                self._due.discard(number)
                self._consumer.resume([TopicPartition(self._topic, number)])
        self._pause(self._due)

    def _pause(self, partitions: Collection[int]) -> None:
        if partitions:
            self._consumer.pause([TopicPartition(self._topic, number) for number in sorted(partitions)])

    def _prepare(self, records: RecordBatch, waited: float) -> _Prepared:
        outbox = self._process(records) if len(records) else Outbox()
        offsets = self._next_offsets(outbox.offsets or records.next_offsets())
        return _Prepared(records, offsets, outbox, {"consume": waited, **outbox.seconds})

    def _next_offsets(self, following: Sequence[TopicPartition]) -> list[TopicPartition]:
        """The offsets to go on at, or the stop of a partition that is through."""
        if self._until is not None:
            stops = {each: TopicPartition(self._topic, each, stop) for each, stop in self._until.due().items()}
            following = [*(each for each in following if each.partition not in stops), *stops.values()]
        return list(following)

    def _publish(self) -> "Future[_Prepared] | None":
        if self._prepared is None:
            return None
        prepared, self._prepared = self._prepared, None
        # The generation of the group as of now: between this and the commit nobody polls.
        group = self._consumer.consumer_group_metadata()
        return self._publisher.submit(self._publish_now, prepared, group)

    def _publish_now(self, prepared: _Prepared, group: object) -> _Prepared:
        started = time.perf_counter()
        place = Place(prepared.offsets, self._consumer, group)
        try:
            commit = self._delivery.publish(prepared.outbox, place)
        except TooLargeError:
            prepared.outbox.on_too_large(prepared.outbox.letters)
            raise
        prepared.seconds.update(produce=time.perf_counter() - started - commit, commit=commit)
        return prepared

    def _wait_for(self, publishing: "Future[_Prepared] | None") -> int:
        """The number of records published; 0 after a failure, which has been rewound."""
        if publishing is None:
            return 0
        try:
            prepared = publishing.result()
        except PublishError as error:
            log.warning("batch_abandoned", reason=str(error))
            self.rewind()
            return 0
        prepared.outbox.on_published()
        self._observe(prepared.seconds, len(prepared.records))
        return len(prepared.records)

    def _take(self, wait_seconds: float) -> RecordBatch | None:
        # Wait for one, then take what is there: small batches when quiet, large ones when busy.
        first = self._consumer.poll(wait_seconds)
        if first is None:
            return None
        rest = self._consumer.consume(self._batch_size - 1, 0) if self._batch_size > 1 else []
        messages = [first, *rest]
        if self._until is not None:
            messages = self._within(messages, self._readable, self._until)
        records = RecordBatch.of(self._topic, self._without_errors(messages))
        readable = self._readable  # asked now: an error may just have stopped a partition
        if not readable.issuperset(records.partitions.tolist()):
            records = records.only(readable)
        return records if len(records) or (self._until is not None and self._until.is_due) else None

    def _within(self, messages: list[Message], readable: set[int], until: Until) -> list[Message]:
        """The messages before the stops; a partition that is through is read no further."""
        # Of a partition that was just lost, the end says nothing: what came before it was lost too.
        inside, through = until.within([each for each in messages if each.partition() in {None, *readable}])
        self._pause(through)
        return inside

    def _without_errors(self, messages: list[Message]) -> list[Message]:
        if not any(map(Message.error, messages)):
            return messages
        for message in messages:
            if (error := message.error()) is not None:
                self._complain(error, message)
        return [message for message in messages if message.error() is None]

    def _complain(self, error: KafkaError, message: Message) -> None:
        code = error.code()
        if refused(error):
            raise NotPermittedError(f"not permitted to read {self._topic} ({error.name()}: {error.str()})")
        if is_fenced_member(error):
            self._join_anew()
            return
        partition = message.partition()
        if code == KafkaError._AUTO_OFFSET_RESET and partition is not None:  # noqa: SLF001 - librdkafka's local code has no public name
            self._stop(partition)
            return
        if code == KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise ConfigurationError(f"topic {self._topic} does not exist any more")
        if is_fatal(error):
            raise FraudstreamError(f"the consumer of {self._topic} is done for ({error.name()}: {error.str()})")
        log.warning("consumer_error", code=error.name(), reason=error.str())

    def _join_anew(self) -> None:
        """Be the member again that we were, with another consumer. Raises ConfigurationError when that has a rival."""
        self._delivery.fences.count("member")
        log.warning("member_fenced", partitions=sorted(self._assigned))
        self._consumer.close()
        self._lose(self._assigned.copy())  # if that was not done yet: what was read from them is not ours any more
        self._consumer = self._places.consumer = self._make_consumer()
        self._join()

    def _stop(self, partition: int) -> None:
        """Leave a partition where it is: what was deleted, or never was, cannot be decided and is not skipped."""
        self._stopped.add(partition)
        self._pause([partition])
        gap = self._places.gap(partition)
        log.error(
            "partition_stopped",
            topic=self._topic,
            partition=partition,
            next_offset=gap.get("next_offset"),
            first_offset=gap.get("first_offset"),
            end_offset=gap.get("end_offset"),
        )

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.rebalances += 1
        numbers = [p.partition for p in partitions]
        found = self._places.of(numbers)
        consumer.incremental_assign([TopicPartition(self._topic, n, found.get(n, OFFSET_BEGINNING)) for n in numbers])
        # Paused is paused for librdkafka, through any assignment: these may have been when they were lost.
        consumer.resume([TopicPartition(self._topic, number) for number in numbers])
        self._assigned.update(numbers)
        self._moved(numbers)
        self._due.update(set(numbers) - found.keys())
        self._pause(self._due)
        log.info("assigned", partitions=sorted(self._assigned))

    def _on_revoke(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.rebalances += 1
        consumer.incremental_unassign(partitions)
        self._lose({p.partition for p in partitions})

    def _lose(self, numbers: Collection[int]) -> None:
        self._assigned.difference_update(numbers)
        self._moved(numbers)
        self._due &= self._assigned
        self._stopped &= self._assigned
        if self._until is not None:
            self._until.forget(numbers)
        if self._prepared is not None:
            self._prepared, self._rewind_due = None, True
        log.info("revoked", partitions=sorted(numbers))
