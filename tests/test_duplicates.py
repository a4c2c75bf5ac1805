"""A copy of a transaction is named as one, exactly where the rule says so, whatever happens to the worker meanwhile."""

from collections import defaultdict

import numpy as np
import pytest
from confluent_kafka import Message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_decide import rollout, text

from consumer.decide import Verdict
from consumer.duplicates import Duplicates, Recalled, Window
from consumer.id_table import IdTable
from consumer.records import RecordBatch
from schemas.decision import Decisions

SECOND = 1_000
T0 = 1_700_000_000_000


def verdict_on(records, decided, now):
    """Every record is decided at ``now``, but for those that are refused: their id is None."""
    rows = np.array([row for row, each in enumerate(decided) if each is not None], np.int64)
    size = len(rows)
    ids = text([decided[row] for row in rows.tolist()])
    decisions = Decisions(
        transaction_id=ids,
        unit=ids,
        topic="in",
        partition=records.partitions[rows],
        offset=records.offsets[rows],
        event_time=np.zeros(size, np.int64),
        decided_at=now,
        score=np.zeros(size),
        outcome=np.zeros(size, np.uint8),
        variant=np.zeros(size, np.uint8),
        bucket=np.zeros(size, np.int64),
        lineages=(rollout().arms[0].lineage,),
        reasons={},
    )
    return Verdict(decisions, rows, {}, {}, ())


class Topic:
    """An input with its decisions, as the brokers hold them, and a worker that may be replaced at any moment."""

    def __init__(self, window):
        self.window = window
        self.records = defaultdict(list)  # by partition: (offset, id or None, time)
        self.decisions = {}  # by place: (id, decided_at, duplicate_of)
        self.recalls = []
        self.restart()

    def restart(self):
        self.worker = Duplicates(self.window, self.recall)

    def recall(self, since):
        self.recalls.append(dict(since))
        counting = [
            (place, identity, at)
            for place, (identity, at, original) in sorted(self.decisions.items())
            if original < 0 and place[0] in since and at >= since[place[0]]
        ]
        for at in range(0, len(counting), 3):
            places, ids, times = zip(*counting[at : at + 3], strict=True)
            partition, offset = np.array(places, np.int64).T
            yield Recalled(ids, partition, offset, np.array(times, np.int64))

    def append(self, identity, time=T0, partition=0, gap=0):
        offset = self.records[partition][-1][0] + 1 + gap if self.records[partition] else gap
        self.records[partition].append((offset, identity, time))

    def decide(self, partition, start, count, now, *, publish=True):
        """Decide so many records of a partition from its ``start``-th on."""
        return self.decide_all(
            [(partition, each) for each in self.records[partition][start : start + count]], now, publish=publish
        )

    def decide_all(self, taken, now, *, publish=True):
        records = RecordBatch.of(
            "in",
            [Message(topic="in", partition=p, offset=offset, timestamp=(1, time)) for p, (offset, _, time) in taken],
        )
        decisions = self.worker.mark(records, verdict_on(records, [each[1] for _, each in taken], now)).decisions
        found = np.full(len(decisions), -1) if decisions.duplicate_of is None else decisions.duplicate_of
        places = zip(decisions.partition.tolist(), decisions.offset.tolist(), strict=True)
        named = dict(zip(places, found.tolist(), strict=True))
        if publish:
            ids = decisions.transaction_id.to_list()
            self.decisions |= {
                place: (identity, now, original) for (place, original), identity in zip(named.items(), ids, strict=True)
            }
        return named


def topic(*ids, seconds=60, records=1_000):
    made = Topic(Window(seconds * SECOND, records))
    for identity in ids:
        made.append(identity)
    return made


def test_the_second_of_two_names_the_first_and_so_does_the_third():
    found = topic(b"a", b"b", b"a", b"a").decide(0, 0, 4, T0)

    assert found == {(0, 0): -1, (0, 1): -1, (0, 2): 0, (0, 3): 0}


def test_a_copy_in_a_later_batch_is_found_and_one_on_another_partition_is_no_copy():
    made = topic(b"a")
    made.append(b"a", partition=1)
    made.decide(0, 0, 1, T0)

    assert made.decide(1, 0, 1, T0) == {(1, 0): -1}
    made.append(b"a")
    assert made.decide(0, 1, 1, T0 + 5) == {(0, 1): 0}


@pytest.mark.parametrize(("after", "original"), [(60 * SECOND, 0), (60 * SECOND + 1, -1)])
def test_an_id_is_remembered_until_so_long_after_it_was_decided(after, original):
    made = topic(b"a")
    made.decide(0, 0, 1, T0 + 7)
    made.append(b"a", time=T0 + 7 + after)

    assert made.decide(0, 1, 1, T0 + 9 + after) == {(0, 1): original}


def test_a_copy_that_came_in_time_is_one_even_if_the_worker_was_away_for_hours():
    made = topic(b"a")
    made.decide(0, 0, 1, T0)
    made.append(b"a", time=T0 + SECOND)
    made.restart()

    assert made.decide(0, 1, 1, T0 + 7_200 * SECOND) == {(0, 1): 0}


def test_an_id_whose_window_is_over_counts_anew_from_then_on():
    made = topic(b"a")
    made.decide(0, 0, 1, T0)
    for after in (61, 62, 121, 122):
        made.append(b"a", time=T0 + after * SECOND)
    late = T0 + 61 * SECOND

    assert made.decide(0, 1, 3, late) == {(0, 1): -1, (0, 2): 1, (0, 3): 1}
    made.restart()
    assert made.decide(0, 4, 1, late + 61 * SECOND) == {(0, 4): -1}


@pytest.mark.parametrize(("between", "original"), [(9, 0), (10, -1)])
def test_an_id_is_remembered_over_so_many_records(between, original):
    made = topic(b"a", *(b"%d" % number for number in range(between)), b"a", records=10)

    assert made.decide(0, 0, between + 2, T0)[0, between + 1] == original


def test_what_was_refused_is_no_original():
    made = topic(b"a", None, b"b")
    made.records[0][0] = (0, None, T0)
    made.append(b"a")

    assert made.decide(0, 0, 4, T0) == {(0, 2): -1, (0, 3): -1}


def test_a_batch_that_is_decided_again_is_no_copy_of_itself():
    made = topic(b"a", b"b", b"a", b"b")
    first = made.decide(0, 0, 3, T0, publish=False)

    assert made.decide(0, 0, 4, T0 + 1) == first | {(0, 3): 1}


def test_what_was_refused_when_it_was_decided_again_is_forgotten():
    made = topic(b"a", b"a")
    made.decide(0, 0, 1, T0, publish=False)
    made.records[0][0] = (0, None, T0)  # another model wants a feature that it lacks

    assert made.decide(0, 0, 2, T0) == {(0, 1): -1}


def test_only_partitions_that_are_new_are_recalled_and_each_once():
    made = topic(b"a")
    made.append(b"a", partition=1)
    made.decide(0, 0, 1, T0)
    made.append(b"b")
    made.decide_all([(0, made.records[0][1]), (1, made.records[1][0])], T0 + 1)

    assert made.recalls == [{0: T0 - 60 * SECOND}, {1: T0 - 60 * SECOND}]


def test_a_partition_that_comes_back_is_recalled_as_others_have_left_it():
    made = topic(b"a", b"b")
    made.decide(0, 0, 1, T0)
    made.worker.forget([0])
    made.decisions[0, 1] = (b"b", T0, -1)  # by somebody else
    made.append(b"b")

    assert made.decide(0, 2, 1, T0 + 1) == {(0, 2): 1}


def test_an_event_from_the_future_makes_nobody_forget():
    made = topic(b"a")
    made.decide(0, 0, 1, T0)
    for number in range(3_000):
        made.append(b"%d" % number, time=T0 + 10**12)
    made.decide(0, 1, 3_000, T0 + 1)
    made.append(b"a", time=T0 + 2)

    assert made.decide(0, 3_001, 1, T0 + 2)[0, 3_001] == -1, "3,001 records later, at most 1,000 are remembered"
    made.append(b"a", time=T0 + 3)
    assert made.decide(0, 3_002, 1, T0 + 3) == {(0, 3_002): 3_001}


def test_what_was_given_up_for_want_of_room_is_recalled_where_it_is_decided_again(monkeypatch):
    monkeypatch.setattr("consumer.id_table._SMALLEST", 8)
    others = [b"%d" % number for number in range(400)]
    made = topic(b"x", *others[:8], b"x", *others[8:], records=10)
    made.decide(0, 0, 1, T0)
    made.decide(0, 1, 9, T0, publish=False)
    for start in range(10, 400, 30):
        made.decide(0, start, 30, T0, publish=False)

    assert made.decide(0, 1, 9, T0 + 1)[0, 9] == 0


def oracle(window, log):
    """What the rule says, record by record, of (place, id, time, decided_at) in the order of the partitions."""
    last, named = {}, {}
    for (partition, offset), identity, time, decided_at in log:
        original, at = last.get((partition, identity), (-1, 0))
        is_copy = original >= max(0, offset - window.records) and at >= time - window.milliseconds
        named[partition, offset] = original if is_copy else -1
        if not is_copy:
            last[partition, identity] = offset, decided_at
    return named


STEPS = st.lists(
    st.tuples(
        st.integers(1, 40),  # records that come
        st.integers(0, 30),  # seconds until the batch is decided
        st.sampled_from(["go on", "go on", "rewind", "restart", "rebalance"]),
    ),
    min_size=1,
    max_size=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=STEPS, seed=st.integers(0, 2**32), ids=st.sampled_from([5, 60, 2_000]), reach=st.sampled_from([3, 50, 1_000])
)
def test_each_decision_is_what_the_rule_says_through_rewinds_restarts_and_rebalances(
    monkeypatch, steps, seed, ids, reach
):
    rng = np.random.default_rng(seed)
    monkeypatch.setattr("consumer.id_table._SMALLEST", 8)  # the table is full again and again
    made, log, now = topic(seconds=60, records=reach), [], T0
    named = {}
    for count, seconds, event in steps:
        arrived = []
        for _ in range(count):
            now += int(rng.integers(0, 500))
            partition = int(rng.integers(0, 3))
            identity = None if rng.random() < 0.1 else b"%d" % rng.integers(0, ids)
            made.append(identity, now, partition, gap=int(rng.integers(0, 2)))
            arrived.append((partition, made.records[partition][-1]))
        now += seconds * SECOND
        if event == "rewind":
            made.decide_all(arrived[: rng.integers(1, count + 1)], now, publish=False)
        elif event == "restart":
            made.restart()
        elif event == "rebalance":
            made.worker.forget([int(rng.integers(0, 3))])
        named |= made.decide_all(arrived, now)
        log += [((p, offset), identity, time, now) for p, (offset, identity, time) in arrived if identity is not None]

    assert named == oracle(made.window, log)


def test_many_ids_are_kept_within_bounds():
    made = topic(records=5_000)
    rng = np.random.default_rng(1)
    ids = [b"%d" % number for number in rng.integers(0, 10**12, 60_000)]
    for number, identity in enumerate(ids):
        made.append(identity, T0 + number)
    for start in range(0, len(ids), 1_000):
        made.decide(0, start, 1_000, T0 + start + 1_000)

    assert 5_000 <= len(made.worker._table) < 50_000


@given(st.lists(st.integers(0, 40), min_size=1, max_size=300), st.integers(0, 2**32))
def test_the_table_gives_every_hash_the_slot_of_its_first_row(numbers, seed):
    hashes = np.array(numbers, np.uint64) * np.uint64(1 << 10)  # all of them fall on one slot
    table, first = IdTable(), {}
    for start in range(0, len(numbers), 50):
        rows = np.arange(start, min(start + 50, len(numbers)))
        slots = table.claim(hashes[rows], rows + 1, rows * 10)
        for row, slot in zip(rows.tolist(), slots.tolist(), strict=True):
            expected = first.setdefault(max(1, int(hashes[row])), row)
            assert (table.places[slot], table.times[slot]) == (expected + 1, expected * 10)

    assert len(table) == len(first)
    table.keep(table.places % 2 == 1, 10)
    assert len(table) == sum((row + 1) % 2 for row in first.values())
