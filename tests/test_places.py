"""Where a partition goes on is what the brokers say; a group begins once, and skips nothing that comes later."""

from types import SimpleNamespace

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from consumer.places import UNSETTLED_SECONDS, Places
from consumer.settings import Start
from schemas.errors import FraudstreamError, NotPermittedError


class Group:
    """A topic whose partitions hold ``low`` to ``high``, and the offsets that the group has committed."""

    def __init__(self, *ends, low=3, committed=None):
        self.ends = list(ends)
        self.low = low
        self.offsets = dict(committed or {})
        self.errors = {}
        self.commit_error = None

    def committed(self, partitions, timeout):
        if None in self.errors:
            raise KafkaException(KafkaError(self.errors[None], "injected"))
        return [self.answer(p.partition) for p in partitions]

    def answer(self, number):
        if number in self.errors:
            error = KafkaError(self.errors[number], "injected")
            return SimpleNamespace(partition=number, offset=-1001, error=error)
        return TopicPartition("in", number, self.offsets.get(number, -1001))

    def get_watermark_offsets(self, partition, timeout):
        return self.low, self.ends[partition.partition]

    def list_topics(self, topic, timeout):
        return SimpleNamespace(topics={topic: SimpleNamespace(partitions=dict.fromkeys(range(len(self.ends))))})

    def commit(self, offsets, asynchronous):
        if self.commit_error is not None:
            raise KafkaException(KafkaError(self.commit_error, "injected"))
        assert not any(p.partition in self.offsets for p in offsets), "an offset was overwritten"
        self.offsets |= {p.partition: p.offset for p in offsets}
        return offsets


def places(group, start=Start.EARLIEST, clock=lambda: 0.0):
    made = Places(group, "in", start, clock)
    made.open()
    return made


@pytest.mark.parametrize(("start", "begin"), [(Start.EARLIEST, 3), (Start.LATEST, 9)])
def test_a_group_begins_where_it_was_told_and_commits_that_at_once(start, begin):
    group = Group(9, 9)

    assert places(group, start).of([0, 1]) == {0: begin, 1: begin}
    group.ends = [20, 20]
    assert places(group, start).of([0, 1]) == {0: begin, 1: begin}


def test_a_partition_added_to_a_topic_that_the_group_knows_is_read_from_its_beginning():
    group = Group(9, 9, 9, committed={0: 5, 1: 5})

    assert places(group, Start.LATEST).of([1, 2]) == {1: 5, 2: 3}


def test_a_partition_added_while_a_new_group_runs_is_read_from_its_beginning():
    group = Group(9)
    running = places(group, Start.LATEST)
    group.ends.append(9)

    assert running.of([0, 1]) == {0: 9, 1: 3}


def test_workers_that_start_a_group_together_all_begin_at_the_end():
    group = Group(9, 9)
    first, second = places(group, Start.LATEST), places(group, Start.LATEST)

    assert first.of([0]) == {0: 9}
    assert second.of([1]) == {1: 9}


def test_a_group_whose_first_offsets_are_not_settled_is_known_all_the_same():
    group = Group(9, 9)
    group.errors = {0: KafkaError.UNSTABLE_OFFSET_COMMIT}

    assert places(group, Start.LATEST).of([1]) == {1: 3}


def test_a_beginning_that_could_not_be_committed_is_no_place():
    group = Group(9)
    group.commit_error = KafkaError.REBALANCE_IN_PROGRESS
    new = places(group)

    assert new.of([0]) == {}
    group.commit_error = None
    assert new.of([0]) == {0: 3}


def test_a_transaction_that_nobody_ends_is_waited_for_and_then_named():
    group, now = Group(9, 9, committed={0: 5, 1: 6}), [0.0]
    group.errors = {0: KafkaError.UNSTABLE_OFFSET_COMMIT}
    waiting = places(group, clock=lambda: now[0])

    assert waiting.of([0, 1]) == {1: 6}
    now[0] = UNSETTLED_SECONDS
    assert waiting.of([0]) == {}
    now[0] += 1
    with pytest.raises(FraudstreamError, match="has been open for over 60 s"):
        waiting.of([0])


def test_a_transaction_that_ends_in_time_starts_no_count_for_the_next():
    group, now = Group(9, committed={0: 5}), [0.0]
    waiting = places(group, clock=lambda: now[0])

    for _ in range(3):
        group.errors = {0: KafkaError.UNSTABLE_OFFSET_COMMIT}
        assert waiting.of([0]) == {}
        now[0] += UNSETTLED_SECONDS - 1
        group.errors = {}
        assert waiting.of([0]) == {0: 5}


@pytest.mark.parametrize("where", [None, 0], ids=["as a whole", "for a partition"])
def test_a_missing_right_is_named(where):
    group = Group(9)
    group.errors = {where: KafkaError.GROUP_AUTHORIZATION_FAILED}

    with pytest.raises(NotPermittedError, match="READ on the group and on the topic"):
        places(group).of([0])
