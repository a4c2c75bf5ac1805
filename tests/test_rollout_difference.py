"""What a change means for the cards, counted bucket by bucket and said in words."""

import itertools
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.manifest import Policy
from models.registry import Version
from models.rollout import Changed, Shadow, Variant, first
from models.rollout_changes import By, promote, ramp, shadow
from models.rollout_difference import difference, introduction, sentences
from models.routing import BUCKETS, buckets_of

NOW = datetime(2026, 11, 26, 14, 30, tzinfo=UTC)
BY = By("bob", NOW, "it is time")
CARDS = [b"card-%06d" % number for number in range(20_000)]


def start():
    return first(Version("m", "1"), Changed("alice", NOW, "", "promote m@1"))


def split():
    return ramp(ramp(start(), "m@2", 0.3, BY), "m@3", 0.1, BY)


@st.composite
def documents(draw):
    """A rollout with any split among three variants of any of three versions."""
    cuts = sorted(draw(st.sets(st.integers(1, BUCKETS - 1), max_size=6)))
    owned = {name: [] for name in "abc"}
    for span in itertools.pairwise([0, *cuts, BUCKETS]):
        owned[draw(st.sampled_from("abc"))].append(span)
    return replace(
        start(),
        variants=tuple(
            Variant(name, f"m@{draw(st.integers(1, 3))}", "xgboost", tuple(ranges)) for name, ranges in owned.items()
        ),
    )


def written_out(document):
    """For each bucket the name and the version that it meets."""
    names, versions = np.empty(BUCKETS, "U1"), np.empty(BUCKETS, "U1")
    for variant in document.variants:
        for begin, end in variant.ranges:
            names[begin:end], versions[begin:end] = variant.name, variant.model.version
    return names, versions


@settings(max_examples=15)
@given(documents(), documents())
def test_cards_that_move_are_counted_as_if_each_bucket_were_looked_at(before, after):
    (names, versions), (new_names, new_versions) = written_out(before), written_out(after)

    found = difference(before, after)

    assert found.moved == (names != new_names).mean()
    assert found.rescored == (versions != new_versions).mean()
    changed = (names != new_names) | (versions != new_versions)
    pairs = Counter(zip(names[changed].tolist(), new_names[changed].tolist(), strict=True))
    assert {(each.source.variant, each.target.variant): each.share for each in found.moves} == {
        pair: count / BUCKETS for pair, count in pairs.items()
    }


def test_with_another_salt_cards_move_as_often_as_two_independent_draws_differ():
    before, after = split(), replace(split(), salt_id="default-9")

    found = difference(before, after)

    old, new = (document.split.variant_of(buckets_of(CARDS, document.split.seed)) for document in (before, after))
    assert found.moved == 0.54  # 1 - 0.6² - 0.3² - 0.1²
    assert (old != new).mean() == pytest.approx(found.moved, abs=0.015)


def test_another_unit_draws_the_cards_anew_too():
    assert difference(split(), replace(split(), unit="account")).moved == 0.54


def test_the_same_rollout_is_no_difference():
    again = replace(split(), epoch=9, changed=Changed("carol", NOW, "", "set"))

    assert sentences(difference(split(), again)) == []
    assert difference(split(), again).moved == difference(split(), again).rescored == 0


def test_a_ramp_in_words():
    assert sentences(difference(start(), ramp(start(), "m@2", 0.05, BY))) == [
        "5% of the cards: champion (m@1) → challenger (m@2)"
    ]


def test_a_promotion_in_words():
    assert sentences(difference(split(), promote(ramp(split(), "m@3", 0, BY), Version("m", "2"), BY))) == [
        "60% of the cards: champion (m@1) → champion (m@2)",
        "30% of the cards: challenger (m@2) → champion (m@2)",
        "10% of the cards: challenger-2 (m@3) → champion (m@2)",
        "in all 40% of the cards change their variant, 70% their model",
        "salt_id: default-1 → default-5, so cards are drawn anew",
    ]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"policy": Policy("p", 0.2, 0.75)},
            "policy: each model's own → p for all (review from 0.2, decline from 0.75)",
        ),
        ({"shadows": ()}, "shadow challenger-3 (m@4) ends"),
        ({"experiment_id": "checkout"}, "experiment_id: default → checkout"),
        ({"sampling_salt_id": "s-2"}, "sampling_salt_id: feature-samples-1 → s-2"),
    ],
)
def test_what_is_no_move_of_cards_in_words(changes, said):
    before = shadow(split(), Version("m", "4"), BY)

    assert sentences(difference(before, replace(before, **changes))) == [said]


def test_another_model_of_a_shadow_is_an_end_and_a_beginning():
    before = shadow(start(), Version("m", "4"), BY)
    after = replace(before, shadows=(Shadow("challenger", "m@5", "xgboost"),))

    assert sentences(difference(before, after)) == [
        "shadow challenger (m@4) ends",
        "shadow challenger (m@5) begins",
    ]


def test_another_control_is_told_even_where_no_card_moves():
    before = ramp(start(), "m@2", 1, BY)
    control, challenger = before.variants

    assert sentences(difference(before, replace(before, variants=(challenger, control)))) == [
        "the control: champion → challenger"
    ]
    assert sentences(difference(before, replace(before, variants=(replace(control, version="m@3"), challenger)))) == [
        "the control, which has no cards: m@1 → m@3"
    ]


def test_the_first_rollout_is_introduced():
    document = replace(shadow(split(), Version("m", "4"), BY), policy=Policy("p", 0.2, 0.75))

    assert introduction(document) == [
        "60% of the cards: champion (m@1)",
        "30% of the cards: challenger (m@2)",
        "10% of the cards: challenger-2 (m@3)",
        "shadow challenger-3 (m@4)",
        "policy: p for all (review from 0.2, decline from 0.75)",
    ]
