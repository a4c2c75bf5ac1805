"""A card goes to the variant that its hash names: the same in any process, for years."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from models.routing import BUCKETS, SAMPLING_SALT_ID, Experiment, Variant, buckets_of, single, two_way
from schemas.errors import ConfigurationError

GOLDEN_UNSEEDED = [893198, 581320, 376921, 366862]
GOLDEN_SEEDED = [976771, 101188, 695433, 252673, 346481, 662673, 486145, 255080]
CARDS = [b"card-%06d" % number for number in range(20_000)]


def experiment(*variants, salt="checkout-1"):
    return Experiment("checkout", 1, salt, tuple(variants))


def test_golden_buckets_never_move():
    buckets = buckets_of([b"card-000001", b"card-000002", b"", "kärtchen".encode()], seed=0)

    assert buckets.tolist() == GOLDEN_UNSEEDED


def test_golden_assignments_never_move():
    tried = experiment(*two_way("champion", "challenger", 0.5))
    buckets = buckets_of(CARDS[:8], tried.seed)

    assert buckets.tolist() == GOLDEN_SEEDED
    assert tried.variant_of(buckets).tolist() == [int(bucket >= 500_000) for bucket in GOLDEN_SEEDED]


def test_buckets_do_not_depend_on_the_process_or_its_hash_seed():
    program = "from models.routing import buckets_of; print(buckets_of([b'card-000001'], 7)[0])"
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for seed in ("0", "1234")
    }

    assert printed == {f"{buckets_of([b'card-000001'], 7)[0]}\n"}


def test_buckets_are_uniform():
    counts, _ = np.histogram(buckets_of(CARDS, seed=1), bins=100, range=(0, BUCKETS))

    assert stats.chisquare(counts).pvalue > 1e-4


def test_experiments_whose_salts_differ_in_one_letter_are_independent():
    first, second = (buckets_of(CARDS, experiment(*single("a"), salt=salt).seed) for salt in ("salt-1", "salt-2"))
    table, _, _ = np.histogram2d(first, second, bins=10)

    assert stats.chi2_contingency(table).pvalue > 1e-4


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


def test_an_experiment_may_not_have_the_salt_of_sampling():
    with pytest.raises(ConfigurationError, match="is the salt of sampling"):
        experiment(*single("champion"), salt=SAMPLING_SALT_ID)
