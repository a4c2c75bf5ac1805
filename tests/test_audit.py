"""The audit finds each anomaly among records that are right, names its place, and says nothing of what is right."""

import itertools
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from consumer.audit import Audit, Finding
from consumer.ranges import Span
from consumer.sheet import Anomaly, Decided, pack_place

SPAN = Span(2, 100, 140)
ENDS = {0: 50, 1: 50, 2: 150}


def source(audit, offsets, cards):
    audit.add_sources(SPAN.partition, np.array(offsets), np.array(cards, np.uint64))


def decisions(offsets, cards, *, at=None, output=2, decided_at=0, partition=SPAN.partition, duplicate_of=None):
    """Decisions about these records, one behind the other on their topic from ``at`` on."""
    size = len(offsets)
    return Decided(
        partition=np.full(size, partition),
        offset=np.array(offsets, np.int64),
        place=pack_place(np.full(size, output), np.arange(size) + (at if at is not None else 1000)),
        key=np.array(cards, np.uint64),
        decided_at=np.full(size, decided_at),
        misrouted=np.zeros(size, np.bool_),
        duplicate_of=np.full(size, -1) if duplicate_of is None else np.array(duplicate_of),
    )


@pytest.fixture
def audit():
    """Ten records of three cards, with gaps where markers stand."""
    audit = Audit([SPAN], [0, 1, 2])
    source(audit, [100, 101, 102, 104, 105, 106, 108, 109, 110, 111], [7, 8, 9, 7, 8, 9, 7, 8, 9, 7])
    return audit


def judge(audit, committed=None):
    return audit.report(ENDS, {2: 112} if committed is None else committed)


def found(report):
    return dict(report.anomalies), [(each.anomaly, each.partition, each.offset) for each in report.examples]


def test_one_outcome_for_each_record_is_clean_whether_it_is_a_decision_or_a_dead_letter(audit):
    audit.add_decisions(decisions([100, 101, 104, 105, 106, 108, 109, 110], [7, 8, 7, 8, 9, 7, 8, 9]))
    audit.add_dead_letters(np.array([2, 2]), np.array([102, 111]))

    report = judge(audit)

    assert report.clean
    assert (report.anomalies, report.examples) == ({}, ())
    assert [(line.records, line.decisions, line.dead_letters) for line in report.lines] == [(10, 8, 2)]


ALL = [100, 101, 102, 104, 105, 106, 108, 109, 110, 111]
CARDS = [7, 8, 9, 7, 8, 9, 7, 8, 9, 7]


def without(*lost):
    kept = [(offset, card) for offset, card in zip(ALL, CARDS, strict=True) if offset not in lost]
    return [offset for offset, _ in kept], [card for _, card in kept]


def test_a_record_without_an_outcome_is_lost(audit):
    audit.add_decisions(decisions(*without(100)))

    assert audit.has_lost
    assert found(judge(audit)) == ({Anomaly.LOST: 1}, [(Anomaly.LOST, 2, 100)])
    assert not judge(audit).clean


def test_a_record_lost_out_of_a_batch_whose_other_decisions_are_there_is_torn_as_well(audit):
    audit.add_decisions(decisions([100, 101, 102, 104], [7, 8, 9, 7], decided_at=1))
    audit.add_decisions(decisions([106, 108, 110, 111], [9, 7, 9, 7], at=1010, decided_at=2))

    anomalies, examples = found(judge(audit))

    assert anomalies == {Anomaly.LOST: 2, Anomaly.TORN: 1}, "105 is lost between two batches"
    assert (Anomaly.TORN, 2, 109) in examples


def test_a_record_with_two_outcomes_is_doubled_within_a_topic_and_across_both(audit):
    audit.add_decisions(decisions(ALL, CARDS))
    audit.add_decisions(decisions([104], [7], at=2000))
    audit.add_dead_letters(np.array([2]), np.array([111]))

    assert found(judge(audit)) == ({Anomaly.DOUBLED: 2}, [(Anomaly.DOUBLED, 2, 104), (Anomaly.DOUBLED, 2, 111)])
    assert not judge(audit).clean


def test_a_record_decided_256_times_is_not_taken_for_one_that_is_lost(audit):
    audit.add_decisions(decisions(ALL, CARDS))
    audit.add_decisions(decisions([104] * 255, [7] * 255, at=2000))

    assert found(judge(audit))[0] == {Anomaly.DOUBLED: 1}


def test_a_duplicate_is_an_outcome_of_its_own_neither_lost_nor_doubled(audit):
    audit.add_decisions(decisions(ALL, CARDS, duplicate_of=[40, -1, -1, -1, -1, -1, 104, -1, -1, 104]))

    report = judge(audit)

    assert report.clean
    assert [(line.records, line.decisions, line.duplicates) for line in report.lines] == [(10, 10, 3)]


@pytest.mark.parametrize("original", [102, 103, 104, 150])
def test_a_duplicate_of_what_has_no_decision_that_counts_is_without_a_source(audit, original):
    offsets, cards = without(102)
    copies = [original if at == 108 else 101 if at == 104 else -1 for at in offsets]
    audit.add_decisions(decisions(offsets, cards, duplicate_of=copies))
    audit.add_dead_letters(np.array([2]), np.array([102]))

    assert found(judge(audit)) == ({Anomaly.UNFOUNDED: 1}, [(Anomaly.UNFOUNDED, 2, 108)])


def test_at_least_once_allows_what_is_doubled_and_nothing_else():
    audit = Audit([SPAN], [0, 1, 2], exactly_once=False)
    source(audit, ALL, CARDS)
    audit.add_decisions(decisions(ALL, CARDS))
    audit.add_decisions(decisions([110, 111], [9, 7], at=2000))

    repeated = judge(audit, {2: 100})
    source(audit, [120], [7])

    assert repeated.clean
    assert repeated.anomalies == {Anomaly.DOUBLED: 2}
    assert not judge(audit).clean


def test_a_decision_before_the_decision_of_the_record_before_it_of_the_same_card_is_reordered(audit):
    audit.add_decisions(decisions([100, 101, 102, 108, 104, 105, 106, 109, 110, 111], [7, 8, 9, 7, 7, 8, 9, 8, 9, 7]))

    assert found(judge(audit)) == ({Anomaly.REORDERED: 1}, [(Anomaly.REORDERED, 2, 108)])


def test_a_thousand_decisions_of_one_card_in_a_row_are_in_order():
    audit = Audit([Span(0, 0, 1000)], [0])
    audit.add_sources(0, np.arange(1000), np.full(1000, 7, np.uint64))
    audit.add_decisions(decisions(range(1000), [7] * 1000, partition=0))

    assert audit.report({0: 1000}, {}).clean


def test_records_of_two_cards_may_change_places(audit):
    audit.add_decisions(decisions([101, 100, 102, 105, 104, 106, 109, 108, 111, 110], [8, 7, 9, 8, 7, 9, 8, 7, 7, 9]))

    assert judge(audit).clean


def test_there_is_no_order_between_records_without_a_key_nor_between_two_partitions_of_the_output():
    audit = Audit([SPAN], [2])
    source(audit, [100, 101, 104, 105], [0, 0, 7, 7])
    audit.add_decisions(decisions([101, 100], [0, 0]))
    audit.add_decisions(decisions([105], [7], at=5, output=0))
    audit.add_decisions(decisions([104], [7], at=2, output=1))

    assert judge(audit).clean


def test_the_second_decision_of_a_record_does_not_put_its_card_out_of_order():
    audit = Audit([SPAN], [2], exactly_once=False)
    source(audit, [100, 101, 102], [7, 7, 7])
    audit.add_decisions(decisions([100, 101, 100, 101, 102], [7] * 5))

    assert set(judge(audit).anomalies) == {Anomaly.DOUBLED}


def test_parts_of_the_output_may_be_read_in_any_order(audit):
    late, early = decisions([105, 106, 108, 109, 110, 111], CARDS[4:], at=1004), decisions(ALL[:4], CARDS[:4])
    audit.add_decisions(late)
    audit.add_decisions(early)

    assert judge(audit).clean


def test_an_outcome_of_an_offset_where_no_committed_record_is_was_an_aborted_read(audit):
    audit.add_decisions(decisions([*ALL[:3], 103, *ALL[3:]], [*CARDS[:3], 9, *CARDS[3:]]))

    assert found(judge(audit)) == ({Anomaly.ABORTED_READ: 1}, [(Anomaly.ABORTED_READ, 2, 103)])


@pytest.mark.parametrize(
    ("partition", "offset", "card"),
    [(2, 150, 7), (0, 50, 7), (9, 3, 7), (2, 111, 8)],
    ids=["beyond the end", "beyond the end elsewhere", "no such partition", "the key of another record"],
)
def test_an_outcome_of_what_the_source_never_held_has_no_source(audit, partition, offset, card):
    audit.add_decisions(decisions(*without(offset)))
    audit.add_decisions(decisions([offset], [card], at=2000, partition=partition))

    report = audit.report(ENDS, {})

    assert found(report)[1] == [(Anomaly.UNFOUNDED, partition, offset)]
    assert report.anomalies[Anomaly.UNFOUNDED] == 1
    assert not report.clean


def test_an_outcome_that_is_visible_though_its_offset_is_not_committed_is_torn(audit):
    audit.add_decisions(decisions(ALL, CARDS))
    audit.add_decisions(decisions([140, 141], [7, 8], at=2000))

    assert judge(audit, {2: 142}).clean
    assert judge(audit, {}).clean
    assert found(judge(audit, {2: 141})) == ({Anomaly.TORN: 1}, [(Anomaly.TORN, 2, 141)])


def test_what_lies_outside_the_range_is_left_alone(audit):
    audit.add_decisions(decisions(ALL, CARDS))
    audit.add_decisions(decisions([99, 99, 140, 140], [1, 1, 1, 1], at=2000))
    audit.add_decisions(decisions([3, 3], [1, 1], at=3000, partition=0))

    assert judge(audit, {}).clean


def test_a_decision_that_was_found_misrouted_is_counted_at_its_source(audit):
    rows = decisions(ALL, CARDS)
    audit.add_decisions(replace(rows, misrouted=rows.offset == 105))

    assert found(judge(audit)) == ({Anomaly.MISROUTED: 1}, [(Anomaly.MISROUTED, 2, 105)])


def test_a_record_that_is_no_decision_is_named_at_its_place_in_the_output(audit):
    audit.add_decisions(decisions(ALL, CARDS))
    audit.add_unreadable(1, 77)

    assert found(judge(audit)) == ({Anomaly.UNREADABLE: 1}, [(Anomaly.UNREADABLE, 1, 77)])


def test_of_each_anomaly_five_places_are_named_and_all_are_counted():
    audit = Audit([Span(0, 0, 1000), Span(1, 0, 1000)], [0, 1])
    for partition in (0, 1):
        audit.add_sources(partition, np.arange(1000), np.ones(1000, np.uint64))
    for offset in range(20):
        audit.add_unreadable(0, offset)
    assert len(audit._examples) == 5

    report = audit.report({0: 1000, 1: 1000}, {})

    assert report.anomalies == {Anomaly.LOST: 2000, Anomaly.UNREADABLE: 20}
    assert [each for each in report.examples if each.anomaly is Anomaly.LOST] == [
        Finding(Anomaly.LOST, 0, offset) for offset in range(5)
    ]
    assert len(report.examples) == 10


def row_by_row(sources, outputs):
    """The same judgement the slow way: (lost, doubled, reordered) offsets."""
    times = {offset: [place for place, of in enumerate(outputs) if of == offset] for offset, _ in sources}
    first = {offset: places[0] for offset, places in times.items() if places}
    late = []
    last_of = {}
    for offset, card in sources:
        if offset in first:
            if card in last_of and first[offset] < first[last_of[card]]:
                late.append(offset)
            last_of[card] = offset
    return (
        [offset for offset, places in times.items() if not places],
        [offset for offset, places in times.items() if len(places) > 1],
        late,
    )


@given(
    cards=st.lists(st.integers(1, 40), min_size=1, max_size=40),
    picks=st.lists(st.integers(0, 39), max_size=60),
    cuts=st.lists(st.integers(0, 60), max_size=3),
)
def test_lost_doubled_and_reordered_are_those_that_a_loop_over_all_records_finds(cards, picks, cuts):
    sources = [(100 + at, card) for at, card in enumerate(cards)]
    card_of = dict(sources)
    outputs = [100 + pick for pick in picks if 100 + pick in card_of]
    audit = Audit([SPAN], [2])
    source(audit, [offset for offset, _ in sources], cards)
    edges = [0, *sorted(min(cut, len(outputs)) for cut in cuts), len(outputs)]
    for begin, end in itertools.pairwise(edges):
        piece = outputs[begin:end]
        audit.add_decisions(decisions(piece, [card_of[each] for each in piece], at=begin))

    anomalies = audit._sheets[2].anomalies()

    expected = row_by_row(sources, outputs)
    for anomaly, offsets in zip((Anomaly.LOST, Anomaly.DOUBLED, Anomaly.REORDERED), expected, strict=True):
        assert anomalies.get(anomaly, np.array([])).tolist() == offsets


TEN_MILLION = """
import numpy as np
from consumer.audit import Audit
from consumer.ranges import Span
from consumer.sheet import Decided, pack_place

SIZE, STEP = 10_000_000, 20_000
audit = Audit([Span(0, 0, SIZE)], [0])
def cards(offsets):
    return (offsets % 1_000_003 + 1).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
for start in range(0, SIZE, STEP):
    offsets = np.arange(start, start + STEP)
    audit.add_sources(0, offsets, cards(offsets))
for start in range(0, SIZE, STEP):
    offsets = np.arange(start, start + STEP)
    some = np.full(STEP, start)
    audit.add_decisions(
        Decided(
            *(some * 0, offsets, pack_place(some * 0, offsets), cards(offsets), some),
            *(np.zeros(STEP, np.bool_), some * 0 - 1),
        )
    )
report = audit.report({0: SIZE}, {0: SIZE})
assert report.clean and report.lines[0].decisions == SIZE
# Not ru_maxrss: that begins with the memory of whoever started this process.
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no /proc")
def test_ten_million_records_fit_into_half_a_gigabyte():
    done = subprocess.run([sys.executable, "-c", TEN_MILLION], capture_output=True, text=True, check=True)

    assert int(done.stdout) * 1024 < 512 * 2**20
