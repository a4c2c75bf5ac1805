"""A card goes to the variant that its hash names: the same in any process, for years."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from models import routing
from models.routing import (
    BUCKETS,
    CONTROL,
    NO_BUCKET,
    SAMPLING_SALT_ID,
    Experiment,
    Variant,
    assign,
    buckets_of,
    resplit,
    single,
    two_way,
)
from schemas.columns import BytesColumn
from schemas.errors import ConfigurationError

GOLDEN_UNSEEDED = [893198, 581320, 376921, 366862]
GOLDEN_SEEDED = [976771, 101188, 695433, 252673, 346481, 662673, 486145, 255080]
CARDS = [b"card-%06d" % number for number in range(20_000)]


def column(units):
    """The units as decoding gives them; one that is None is null."""
    sizes = np.array([len(unit or b"") for unit in units], np.int64)
    data = np.frombuffer(b"".join(unit or b"" for unit in units), np.uint8)
    return BytesColumn(data, np.cumsum(sizes) - sizes, sizes, np.array([unit is None for unit in units], np.bool_))


SIXTY_THIRTY_TEN = (
    Variant("a", ((0, 600_000),)),
    Variant("b", ((600_000, 900_000),)),
    Variant("c", ((900_000, BUCKETS),)),
)


def experiment(*variants, salt="checkout-1"):
    return Experiment("checkout", 1, salt, tuple(variants))


@st.composite
def splits(draw, buckets=BUCKETS, most=5):
    """A split of all buckets among a few variants, each with any number of ranges anywhere."""
    names = "abcdef"[: draw(st.integers(1, most))]
    inner = draw(st.lists(st.integers(1, buckets - 1), max_size=8, unique=True)) if buckets > 1 else []
    edges = [0, *sorted(inner), buckets]
    owners = [draw(st.sampled_from(names)) for _ in edges[1:]]
    ranges = {name: [] for name in names}
    for owner, span in zip(owners, itertools.pairwise(edges), strict=True):
        ranges[owner].append(span)
    return tuple(Variant(name, tuple(spans)) for name, spans in ranges.items())


@st.composite
def targets(draw, buckets=BUCKETS, names="bcdefg"):
    """How many buckets each of some challengers is to have; the control "a" gets the rest."""
    chosen = draw(st.lists(st.sampled_from(names), max_size=4, unique=True))
    cuts = sorted(draw(st.lists(st.integers(0, buckets), min_size=len(chosen), max_size=len(chosen))))
    return dict(zip(chosen, np.diff([0, *cuts]).tolist(), strict=True))


def owners(variants, buckets=BUCKETS):
    """The name of the variant of each bucket, written down bucket by bucket."""
    owner = np.full(buckets, "?")
    for variant in variants:
        for start, end in variant.ranges:
            owner[start:end] = variant.name
    return owner


def test_golden_buckets_never_move():
    buckets = buckets_of([b"card-000001", b"card-000002", b"", "kärtchen".encode()], seed=0)

    assert buckets.tolist() == GOLDEN_UNSEEDED


def test_golden_assignments_never_move():
    tried = experiment(*two_way("champion", "challenger", 0.5))
    buckets = buckets_of(CARDS[:8], tried.seed)

    assert buckets.tolist() == GOLDEN_SEEDED
    assert tried.variant_of(buckets).tolist() == [int(bucket >= 500_000) for bucket in GOLDEN_SEEDED]


def test_buckets_are_uniform():
    counts, _ = np.histogram(buckets_of(CARDS, seed=1), bins=100, range=(0, BUCKETS))

    assert stats.chisquare(counts).pvalue > 1e-4


def test_experiments_whose_salts_differ_in_one_letter_are_independent():
    first, second = (buckets_of(CARDS, experiment(*single("a"), salt=salt).seed) for salt in ("salt-1", "salt-2"))
    table, _, _ = np.histogram2d(first, second, bins=10)

    assert stats.chi2_contingency(table).pvalue > 1e-4


@pytest.mark.parametrize("salts", [("a", "b"), ("salt-1", "salt-2"), ("1", "11"), ("x" * 40 + "1", "x" * 40 + "2")])
@pytest.mark.parametrize("units", [CARDS, [b"%d" % n for n in range(20_000)], [n.to_bytes(8) for n in range(20_000)]])
def test_salts_and_units_alike_give_uniform_and_independent_buckets(salts, units):
    buckets = [buckets_of(units, experiment(*single("a"), salt=salt).seed) for salt in salts]
    table, _, _ = np.histogram2d(*buckets, bins=10, range=[(0, BUCKETS)] * 2)

    assert stats.chi2_contingency(table).pvalue > 1e-4
    for margin in (table.sum(axis=0), table.sum(axis=1)):
        assert stats.chisquare(margin).pvalue > 1e-4


def test_sixteen_experiments_are_no_more_alike_than_chance_has_it():
    cards = column(CARDS)
    challenger = [assign(cards, experiment(*two_way("a", "b", 0.3), salt=f"e-{n}")).variants for n in range(16)]
    tables = [np.histogram2d(one, other, bins=2)[0] for one, other in itertools.combinations(challenger, 2)]
    pvalues = [stats.chi2_contingency(table, correction=False).pvalue for table in tables]

    assert stats.kstest(pvalues, "uniform").pvalue > 1e-4
    assert min(pvalues) > 1e-3 / len(pvalues)


def test_the_feature_samples_are_drawn_independently_of_a_challenger():
    sampled = buckets_of(CARDS, experiment(*single("a"), salt=SAMPLING_SALT_ID).seed) < BUCKETS * 0.05
    routed = experiment(*two_way("a", "b", 0.05))
    table, _, _ = np.histogram2d(sampled, routed.variant_of(buckets_of(CARDS, routed.seed)), bins=2)

    assert stats.chi2_contingency(table, correction=False).pvalue > 1e-4


def test_a_card_is_assigned_by_its_bucket():
    split = experiment(*SIXTY_THIRTY_TEN)

    drawn = assign(column(CARDS), split)

    names = owners(split.variants)[buckets_of(CARDS, split.seed)]
    assert [split.variants[index].name for index in drawn.variants] == names.tolist()
    assert drawn.buckets.tolist() == buckets_of(CARDS, split.seed).tolist()
    assert not drawn.missing.any()


@pytest.mark.parametrize("control", [((500_000, BUCKETS),), ()], ids=["has the last buckets", "has none"])
def test_without_a_unit_the_control_has_it_whatever_its_buckets(control):
    challenger = ((0, 500_000),) if control else ((0, BUCKETS),)
    split = experiment(Variant("a", control), Variant("b", challenger))

    drawn = assign(column([b"card-000001", None, b"", b"card-000003"]), split)

    seen = buckets_of([b"card-000001", b"card-000003"], split.seed)
    assert drawn.buckets.tolist() == [seen[0], NO_BUCKET, NO_BUCKET, seen[1]]
    assert drawn.variants.tolist() == [split.variant_of(seen)[0], CONTROL, CONTROL, split.variant_of(seen)[1]]
    assert drawn.missing.tolist() == [False, True, True, False]


def test_nothing_to_assign_is_nothing_assigned():
    drawn = assign(column([]), experiment(*SIXTY_THIRTY_TEN))

    assert (len(drawn.buckets), len(drawn.variants), len(drawn.missing)) == (0, 0, 0)


@settings(max_examples=40)
@given(splits())
def test_every_edge_belongs_to_the_range_that_starts_there(variants):
    split = experiment(*variants)
    edges = sorted({edge for variant in variants for span in variant.ranges for edge in span} | {0, BUCKETS})
    near = np.unique([edge + step for edge in edges for step in (-1, 0, 1) if 0 <= edge + step < BUCKETS])

    assert [variants[index].name for index in split.variant_of(near)] == owners(variants)[near].tolist()


def test_thirds_out_of_sixty_thirty_ten_move_26_percent_and_these_ones():
    thirds = resplit(SIXTY_THIRTY_TEN, "a", {"b": 330_000, "c": 330_000})

    assert (owners(SIXTY_THIRTY_TEN) != owners(thirds)).mean() == 0.26
    assert thirds == (
        Variant("a", ((0, 340_000),)),
        Variant("b", ((570_000, 900_000),)),
        Variant("c", ((340_000, 570_000), (900_000, BUCKETS))),
    )


@given(before=splits(5), sizes=targets(5))
def test_no_other_split_of_these_sizes_moves_fewer_buckets(before, sizes):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(routing, "BUCKETS", 5)
        after = resplit(before, "a", sizes)

    old, new = owners(before, 5), owners(after, 5)
    every = np.array([list(split) for split in itertools.product(["a", *sizes], repeat=5)])
    for name, size in sizes.items():
        every = every[(every == name).sum(axis=1) == size]
    assert (old != new).sum() == (every != old).sum(axis=1).min()


@settings(max_examples=40)
@given(before=splits(), sizes=targets())
def test_a_new_split_has_the_sizes_asked_for_and_takes_a_card_only_from_who_shrinks(before, sizes):
    after = resplit(before, "a", sizes)

    experiment(*after)
    assert [(each.name, each.size) for each in after] == [("a", BUCKETS - sum(sizes.values())), *sizes.items()]
    now = {each.name: each.size for each in after}
    kept = owners(before) == owners(after)
    for variant in before:
        staying = sum(int(kept[start:end].sum()) for start, end in variant.ranges)
        assert staying == min(variant.size, now.get(variant.name, 0))


@given(before=splits(), sizes=targets())
def test_the_same_sizes_again_move_nothing(before, sizes):
    after = resplit(before, "a", sizes)

    assert resplit(after, "a", sizes) == after


@given(low=st.integers(0, BUCKETS), high=st.integers(0, BUCKETS))
def test_a_challenger_that_comes_back_to_a_share_has_the_cards_again_that_it_had_there(low, high):
    first, second = resplit(single("a"), "a", {"b": low}), resplit(single("a"), "a", {"b": high})

    there = resplit(first, "a", {"b": high})

    assert there == second
    assert resplit(there, "a", {"b": low}) == first


@pytest.mark.parametrize("sizes", [{"b": BUCKETS + 1}, {"b": -1}, {"b": 600_000, "c": 600_000}])
def test_more_buckets_than_there_are_cannot_be_given(sizes):
    with pytest.raises(ConfigurationError, match="shares of the challengers must lie between 0 and 1"):
        resplit(single("a"), "a", sizes)


@given(share=st.floats(0, 1), more=st.floats(0, 1))
def test_ramping_up_never_takes_a_card_from_the_challenger(share, more):
    small, large = sorted((share, more))
    edges = np.array([0, BUCKETS - 1, round(BUCKETS * (1 - small)) % BUCKETS, round(BUCKETS * (1 - large)) % BUCKETS])
    before = experiment(*two_way("champion", "challenger", small)).variant_of(edges)
    after = experiment(*two_way("champion", "challenger", large)).variant_of(edges)

    assert (after >= before).all()


def test_the_share_of_a_variant_is_the_probability_that_it_reports():
    _, challenger = two_way("champion", "challenger", 0.05)

    assert challenger.share == 0.05
    assert challenger.ranges == ((950_000, 1_000_000),)


def test_edges_of_ranges_belong_to_the_range_that_starts_there():
    split = experiment(Variant("a", ((0, 10), (20, BUCKETS))), Variant("b", ((10, 20),)))

    assert split.variant_of(np.array([0, 9, 10, 19, 20, BUCKETS - 1])).tolist() == [0, 0, 1, 1, 0, 0]


@pytest.mark.parametrize(
    "ranges",
    [
        [((0, 10),), ((11, BUCKETS),)],
        [((0, 10),), ((9, BUCKETS),)],
        [((0, 10),), ((10, BUCKETS - 1),)],
        [((0, BUCKETS + 1),)],
    ],
    ids=["hole", "overlap", "short", "long"],
)
def test_ranges_that_do_not_cover_every_bucket_once_are_refused(ranges):
    with pytest.raises(ConfigurationError, match="buckets"):
        experiment(*(Variant(str(number), spans) for number, spans in enumerate(ranges)))


@pytest.mark.parametrize("share", [-0.1, 1.1])
def test_a_share_outside_zero_to_one_is_refused(share):
    with pytest.raises(ConfigurationError, match="between 0 and 1"):
        two_way("champion", "challenger", share)
