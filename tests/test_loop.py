"""The loop publishes every batch once, in order, and after any doubt goes back to what the broker says."""

import threading
from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException, Message, TopicPartition
from structlog.testing import capture_logs

from consumer.delivery import Messages, Outbox, PublishError, TooLargeError
from consumer.fences import Fences
from consumer.loop import Loop
from consumer.settings import Start
from consumer.until import Until
from schemas.errors import ConfigurationError, FraudstreamError, NotPermittedError


class Log:
    """A topic in memory with committed offsets, and a consumer of it that behaves as the client does."""

    def __init__(self, *sizes):
        self.records = [[b"%d-%d" % (p, offset) for offset in range(size)] for p, size in enumerate(sizes)]
        self.committed_offsets = {}
        self.positions = {}
        self.before_poll = []
        self.errors = []
        self.publishing = False
        self.closed = False
        self.paused = set()
        self.tells_ends = False
        self.answers = []
        self.seek_errors = []

    def subscribe(self, topics, on_assign, on_revoke, on_lost):
        self.on_assign, self.on_revoke = on_assign, on_revoke

    def assign(self, *partitions):
        self.on_assign(self, [TopicPartition("in", p) for p in partitions])

    def revoke(self, *partitions):
        self.on_revoke(self, [TopicPartition("in", p) for p in partitions])

    def incremental_assign(self, partitions):
        self.positions |= {p.partition: max(0, p.offset) for p in partitions}

    def incremental_unassign(self, partitions):
        # What is paused stays so, as in librdkafka.
        for p in partitions:
            del self.positions[p.partition]

    def assignment(self):
        return [TopicPartition("in", p) for p in self.positions]

    def committed(self, partitions, timeout):
        if self.answers and (answer := self.answers.pop(0)) is not None:
            if isinstance(answer, KafkaException):
                raise answer
            return [refusing(TopicPartition("in", p.partition), answer) for p in partitions]
        return [TopicPartition("in", p.partition, self.committed_offsets.get(p.partition, -1001)) for p in partitions]

    def commit(self, offsets, asynchronous):
        assert not asynchronous
        self.committed_offsets |= {p.partition: p.offset for p in offsets}
        return offsets

    def list_topics(self, topic, timeout):
        partitions = dict.fromkeys(range(len(self.records)))
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions=partitions)})

    def pause(self, partitions):
        self.paused |= {p.partition for p in partitions}

    def resume(self, partitions):
        self.paused -= {p.partition for p in partitions}

    def get_watermark_offsets(self, partition, timeout):
        return 0, len(self.records[partition.partition])

    def seek(self, partition):
        if self.seek_errors:
            raise KafkaException(self.seek_errors.pop(0))
        self.positions[partition.partition] = partition.offset

    def consumer_group_metadata(self):
        return "generation"

    def poll(self, timeout):
        assert not self.publishing, "polled while a transaction was open"
        if self.before_poll:
            self.before_poll.pop(0)()
        if self.errors:
            return Message(topic="in", partition=0, offset=0, error=self.errors.pop(0))
        return next(iter(self.consume(1, timeout)), None)

    def consume(self, most, timeout):
        taken = []
        for p, position in self.positions.items():
            if p in self.paused:
                continue
            here = range(position, min(len(self.records[p]), position + most - len(taken)))
            taken += [
                Message(topic="in", partition=p, offset=o, value=self.records[p][o]) for o in here if self.records[p][o]
            ]
            self.positions[p] += len(here)
            if self.tells_ends and len(taken) < most and self.positions[p] == len(self.records[p]):
                end = KafkaError(KafkaError._PARTITION_EOF)
                taken.append(Message(topic="in", partition=p, offset=self.positions[p], error=end))
        return taken

    def close(self):
        self.closed = True


def refusing(partition, code):
    """The partition as an answer that bears an error, which no constructor of the client makes."""
    return SimpleNamespace(partition=partition.partition, offset=-1001, error=KafkaError(code, "injected"))


class Publisher:
    """A delivery whose failures are scheduled: before the commit, or after it."""

    def __init__(self, log):
        self.log = log
        self.published = []
        self.transactions = 0
        self.failures = []
        self.gate = threading.Event()
        self.gate.set()
        self.replacements = 0
        self.fences = Fences("app.env.group.0")

    def open(self):
        pass

    def publish(self, outbox, place):
        self.log.publishing = True
        self.transactions += 1
        self.gate.wait(10)
        failure = self.failures.pop(0) if self.failures else None
        if failure not in ("before", "too large"):
            self.published += [message["value"] for batch in outbox.messages for message in batch.messages]
            self.log.committed_offsets |= {o.partition: o.offset for o in place.offsets}
        self.log.publishing = False
        if failure:
            raise (TooLargeError if failure == "too large" else PublishError)(failure)
        return 0.25

    def close(self):
        pass


def echo(records):
    return Outbox([Messages("out", -1, [{"value": value, "key": None} for value in records.values])])


def run(log, publisher, rounds, process=echo, **options):
    loop = Loop(
        lambda: log,
        publisher,
        process,
        **{"topic": "in", "batch_size": 3, "poll_seconds": 0.1, "start": Start.EARLIEST} | options,
    )
    loop.open()
    log.assign(*range(len(log.records)))
    for _ in range(rounds):
        loop.run_once()
    return loop


@pytest.fixture(autouse=True)
def no_pause(monkeypatch):
    monkeypatch.setattr("consumer.loop.REWIND_PAUSE_SECONDS", 0)
    monkeypatch.setattr("consumer.places.PAUSE_SECONDS", 0)


def test_every_record_is_published_once_in_order():
    log = Log(10)
    publisher = Publisher(log)

    run(log, publisher, rounds=8)

    assert publisher.published == log.records[0]
    assert log.committed_offsets == {0: 10}


def test_the_next_batch_is_processed_while_one_is_published():
    log, seen = Log(6), []
    publisher = Publisher(log)
    publisher.gate.clear()

    def process(records):
        seen.append((len(records), log.publishing))
        if len(seen) == 2:
            publisher.gate.set()
        return echo(records)

    run(log, publisher, rounds=2, process=process)

    assert [size for size, _ in seen] == [3, 3]
    assert len(publisher.published) == 3


@pytest.mark.parametrize("doubt", ["before", "after"])
def test_a_failed_or_doubtful_commit_rewinds_to_what_the_broker_says(doubt):
    log = Log(10)
    publisher = Publisher(log)
    publisher.failures = [None, doubt]

    loop = run(log, publisher, rounds=12)

    assert publisher.published == log.records[0]
    assert loop.rewinds == 1


def test_a_batch_prepared_for_a_revoked_partition_is_dropped_and_the_rest_read_again():
    log = Log(4, 4)
    publisher = Publisher(log)
    log.before_poll = [lambda: None, lambda: log.revoke(0)]

    loop = run(log, publisher, rounds=8)

    assert publisher.published == log.records[1]
    assert loop.assigned == {1}


def test_closing_publishes_what_is_prepared():
    log = Log(3)
    publisher = Publisher(log)
    loop = run(log, publisher, rounds=1)
    assert publisher.published == []

    loop.close()

    assert publisher.published == log.records[0]
    assert log.closed


def test_where_little_is_waiting_a_batch_is_published_at_once():
    log = Log(3)
    publisher = Publisher(log)

    run(log, publisher, rounds=1, batch_size=10)

    assert publisher.published == log.records[0]


def test_a_failure_of_the_process_leaves_the_batch_before_published():
    log = Log(6)
    publisher = Publisher(log)

    def process(records):
        if records.offsets[0] >= 3:
            raise ConfigurationError("no")
        return echo(records)

    with pytest.raises(ConfigurationError):
        run(log, publisher, rounds=2, process=process)

    assert publisher.published == log.records[0][:3]
    assert log.committed_offsets == {0: 3}


def test_a_group_without_offsets_may_begin_at_the_end_and_stays_there_after_a_rewind():
    log = Log(5)
    publisher = Publisher(log)
    loop = run(log, publisher, rounds=1, start=Start.LATEST)

    log.records[0].append(b"new")
    loop.rewind()
    for _ in range(3):
        loop.run_once()

    assert publisher.published == [b"new"]


def test_while_it_holds_it_polls_reads_nothing_and_goes_on_from_what_is_committed():
    log = Log(10)
    publisher = Publisher(log)
    loop = run(log, publisher, rounds=2)
    paused = []
    log.before_poll = [lambda: paused.append(set(log.paused))] * 5

    loop.hold(0.05)
    assert paused[:5] == [{0}] * 5
    for _ in range(8):
        loop.run_once()

    assert publisher.published == log.records[0]


def test_what_is_assigned_while_it_holds_is_not_lost():
    log = Log(4, 4)
    publisher = Publisher(log)
    loop = Loop(lambda: log, publisher, echo, topic="in", batch_size=8, poll_seconds=0.1, start=Start.EARLIEST)
    loop.open()
    log.assign(0)
    log.before_poll = [lambda: log.assign(1)]

    loop.hold(0.05)
    for _ in range(4):
        loop.run_once()

    assert sorted(publisher.published) == log.records[0] + log.records[1]


def test_what_is_taken_away_while_it_holds_is_neither_put_back_nor_published():
    log = Log(4, 4)
    publisher = Publisher(log)
    loop = Loop(lambda: log, publisher, echo, topic="in", batch_size=8, poll_seconds=0.1, start=Start.EARLIEST)
    loop.open()
    log.assign(0, 1)
    log.before_poll = [lambda: log.revoke(0)]

    loop.hold(0.05)
    for _ in range(4):
        loop.run_once()

    assert publisher.published == log.records[1]


AWAY = KafkaException(KafkaError(KafkaError._TRANSPORT, "injected"))


@pytest.mark.parametrize("answer", [AWAY, KafkaError.UNSTABLE_OFFSET_COMMIT, KafkaError.COORDINATOR_LOAD_IN_PROGRESS])
@pytest.mark.parametrize("at", ["assignment", "rewind"])
def test_where_the_brokers_cannot_say_where_to_go_on_nothing_is_read_until_they_can(answer, at):
    log = Log(10)
    publisher = Publisher(log)
    log.committed_offsets = {0: 2}
    if at == "assignment":
        log.answers = [answer] * 3
    else:
        publisher.failures = [None, "before"]
        log.answers = [None, *[answer] * 3]

    run(log, publisher, rounds=14)

    assert publisher.published == log.records[0][2:]


def test_what_was_fetched_before_a_partition_was_paused_is_not_read_either():
    log = Log(10)
    publisher = Publisher(log)
    log.committed_offsets = {0: 2}
    log.answers = [AWAY] * 3
    log.pause = lambda partitions: None

    run(log, publisher, rounds=14)

    assert publisher.published == log.records[0][2:]


def test_a_partition_that_cannot_be_moved_yet_is_moved_the_next_time():
    log = Log(10)
    publisher = Publisher(log)
    publisher.failures = [None, "after"]
    log.seek_errors = [KafkaError(KafkaError._STATE, "injected")]

    run(log, publisher, rounds=12)

    assert publisher.published == log.records[0]


def test_a_published_batch_reports_itself_once():
    log, reports = Log(5), []
    publisher = Publisher(log)
    publisher.failures = ["before"]

    def process(records):
        return Outbox(echo(records).messages, [], lambda: reports.append(len(records)))

    run(log, publisher, rounds=6, process=process)

    assert sum(reports) == 5


def test_a_batch_with_a_record_that_is_too_large_is_told_so_before_it_is_read_again():
    log, told = Log(3), []
    publisher = Publisher(log)
    publisher.failures = ["too large"]

    def process(records):
        return Outbox(echo(records).messages, on_too_large=lambda _letters: told.append(len(records)))

    run(log, publisher, rounds=4, process=process)

    assert told == [3]
    assert publisher.published == log.records[0]


def test_the_time_of_a_batch_is_told_by_stage():
    log, told = Log(3), []
    publisher = Publisher(log)

    def process(records):
        return Outbox(echo(records).messages, seconds={"decode": 1.0})

    run(log, publisher, rounds=3, process=process, observe=lambda seconds, records: told.append((seconds, records)))

    ((seconds, records),) = told
    assert records == 3
    assert list(seconds) == ["consume", "decode", "produce", "commit"]
    assert seconds["commit"] == 0.25


@pytest.mark.parametrize(
    ("code", "exception", "sentence"),
    [
        (KafkaError.TOPIC_AUTHORIZATION_FAILED, NotPermittedError, "not permitted to read in"),
        (KafkaError.GROUP_AUTHORIZATION_FAILED, NotPermittedError, "GROUP_AUTHORIZATION_FAILED"),
        (KafkaError.UNKNOWN_TOPIC_OR_PART, ConfigurationError, "does not exist any more"),
    ],
)
def test_an_error_that_no_waiting_mends_ends_the_worker(code, exception, sentence):
    log = Log(1)
    log.errors = [KafkaError(code, "injected")]

    with pytest.raises(exception, match=sentence):
        run(log, Publisher(log), rounds=1)


def test_a_partition_whose_next_offset_is_gone_stands_still_and_the_others_go_on():
    log = Log(9, 9)
    publisher = Publisher(log)
    publisher.failures = [None, None, "before"]
    log.errors = [KafkaError(KafkaError._AUTO_OFFSET_RESET, "injected")]

    with capture_logs() as lines:
        loop = run(log, publisher, rounds=14)

    assert publisher.published == log.records[1]
    assert (loop.stopped, loop.assigned, log.paused) == ({0}, {0, 1}, {0})
    assert log.committed_offsets == {0: 0, 1: 9}
    (line,) = (line for line in lines if line["event"] == "partition_stopped")
    assert (line["partition"], line["first_offset"], line["end_offset"]) == (0, 0, 9)
    log.revoke(0)
    assert loop.stopped == frozenset()


def test_a_member_that_was_fenced_is_replaced_and_reads_on_and_at_the_third_time_in_a_minute_names_the_slot():
    log = Log(9)
    publisher = Publisher(log)
    loop = run(log, publisher, rounds=1)
    for _ in range(2):
        # As librdkafka hands it out: not marked as fatal but by its code.
        log.errors = [KafkaError(KafkaError._FATAL, "Static consumer fenced by other with same group.instance.id")]
        loop.run_once()
        assert (log.closed, loop.assigned) == (True, set())
        log.assign(0)
        for _ in range(4):
            loop.run_once()

    log.errors = [KafkaError(KafkaError.FENCED_INSTANCE_ID, "injected")]
    with pytest.raises(ConfigurationError, match=r"slot app\.env\.group\.0 is used by another live process"):
        loop.run_once()

    assert publisher.published == log.records[0]


def test_a_consumer_that_is_done_for_ends_the_run_with_a_sentence():
    log = Log(2)
    loop = run(log, Publisher(log), rounds=1)
    log.errors = [KafkaError(KafkaError._FATAL, "injected")]

    with pytest.raises(FraudstreamError, match=r"the consumer of \w+ is done for \(_FATAL: injected\)"):
        loop.run_once()


def test_a_passing_error_is_noted_and_the_stream_goes_on():
    log = Log(2)
    publisher = Publisher(log)
    log.errors = [KafkaError(KafkaError._TRANSPORT, "injected")]

    run(log, publisher, rounds=3)

    assert publisher.published == log.records[0]


def test_a_bounded_run_publishes_what_is_before_its_stops_and_commits_the_stops():
    log = Log(10, 4)
    publisher = Publisher(log)

    run(log, publisher, rounds=12, until=Until({0: 7, 1: 2}))

    assert publisher.published == log.records[0][:7] + log.records[1][:2]
    assert log.committed_offsets == {0: 7, 1: 2}


def test_a_stop_where_the_log_holds_no_record_is_committed_all_the_same():
    log = Log(10)
    log.tells_ends = True
    log.records[0][4:] = [None] * 6
    publisher = Publisher(log)

    run(log, publisher, rounds=8, until=Until({0: 10}))

    assert publisher.published == log.records[0][:4]
    assert log.committed_offsets == {0: 10}
    assert publisher.transactions == 3


def test_a_partition_without_a_stop_is_not_read():
    log = Log(3, 3)
    publisher = Publisher(log)

    run(log, publisher, rounds=6, until=Until({1: 3}))

    assert publisher.published == log.records[1]
    assert log.committed_offsets == {0: 0, 1: 3}


@pytest.mark.parametrize("doubt", ["before", "after"])
@pytest.mark.parametrize("failing", range(4))
def test_a_bounded_run_comes_to_its_stops_whatever_commit_fails(failing, doubt):
    log = Log(8, 5)
    log.tells_ends = True
    publisher = Publisher(log)
    publisher.failures = [None] * failing + [doubt]

    run(log, publisher, rounds=30, until=Until({0: 7, 1: 5}))

    assert sorted(publisher.published) == sorted(log.records[0][:7] + log.records[1])
    assert log.committed_offsets == {0: 7, 1: 5}


def test_the_end_of_a_partition_that_was_just_lost_is_not_committed():
    log = Log(4, 2)
    log.tells_ends = True
    publisher = Publisher(log)
    taken = log.consume(6, 0)
    log.positions = {}
    loop = run(log, publisher, rounds=0, until=Until({0: 4, 1: 2}))

    def poll_late(_seconds):
        log.poll = lambda _timeout: None
        log.revoke(1)
        return Message(topic="in", partition=1, offset=2, error=KafkaError(KafkaError._PARTITION_EOF))

    log.poll = poll_late
    log.consume = lambda _most, _timeout: taken
    for _ in range(4):
        loop.run_once()

    assert log.committed_offsets[1] == 0


def test_a_stop_that_was_reached_by_a_member_that_is_fenced_is_not_committed_before_its_records():
    log = Log(3)
    log.tells_ends = True
    publisher = Publisher(log)
    loop = run(log, publisher, rounds=0, until=Until({0: 3}), batch_size=8)
    taken = [*log.consume(8, 0), Message(error=KafkaError(KafkaError.FENCED_INSTANCE_ID, "injected"))]
    log.poll = lambda _timeout: taken.pop(0)
    log.consume = lambda _most, _timeout: taken

    loop.run_once()

    assert (loop.assigned, publisher.published, log.committed_offsets) == (set(), [], {0: 0})


def test_a_partition_that_comes_back_is_read_to_its_stop():
    log = Log(3)
    log.tells_ends = True
    publisher = Publisher(log)
    loop = run(log, publisher, rounds=4, until=Until({0: 3}))
    log.committed_offsets = {0: 1}

    log.revoke(0)
    log.assign(0)
    for _ in range(4):
        loop.run_once()

    assert publisher.published == [*log.records[0], *log.records[0][1:]]
    assert log.committed_offsets == {0: 3}


def test_a_stop_that_was_reached_on_a_lost_partition_is_due_no_more():
    until = Until({0: 4, 1: 2})
    until.within([Message(topic="in", partition=p, offset=9) for p in (0, 1)])

    until.forget([1])

    assert until.due() == {0: 4}
    assert not until.is_due


def test_a_stop_that_was_reached_in_a_dropped_batch_is_not_committed_before_its_records():
    log = Log(4, 4)
    log.tells_ends = True
    log.before_poll = [lambda: None, lambda: log.revoke(1)]
    publisher = Publisher(log)
    loop = run(log, publisher, rounds=2, until=Until({0: 4, 1: 4}), batch_size=3)
    assert (loop.rewinds, publisher.published) == (1, [])

    loop.run_once()
    loop.close()

    assert publisher.published == log.records[0][:3]
    assert log.committed_offsets[0] == 3


def test_an_outbox_may_say_where_its_successor_reads_again():
    log = Log(3)

    def process(records):
        return Outbox(echo(records).messages, offsets=[TopicPartition("in", 0, 1)])

    run(log, Publisher(log), rounds=1, batch_size=10, process=process)

    assert log.committed_offsets == {0: 1}


def told(*values, offset=0):
    return Outbox(
        [Messages("out", -1, [{"value": value, "key": None} for value in values])],
        offsets=[TopicPartition("in", 0, offset)],
    )


def test_what_time_has_brought_about_is_published_after_what_was_prepared():
    log = Log(3)
    publisher = Publisher(log)
    loop = run(log, publisher, rounds=1)
    assert publisher.published == []

    loop.tell(told(b"late", offset=2))

    assert publisher.published == [*log.records[0], b"late"]
    assert log.committed_offsets == {0: 2}


def test_what_time_has_brought_about_is_not_told_where_the_batch_before_it_failed():
    log = Log(3)
    publisher = Publisher(log)
    publisher.failures = ["before"]
    loop = run(log, publisher, rounds=1)

    loop.tell(told(b"late"))

    assert publisher.published == []
    assert loop.rewinds == 1
