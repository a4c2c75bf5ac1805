"""What comes next: promoted, ramped, shadowed and rolled back, with the fewest cards moved."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.endpoint import Endpoint
from models.manifest import Policy
from models.registry import Version
from models.rollout import Changed, Shadow, check, first
from models.rollout_changes import By, before, percent, promote, ramp, rollback, set_shares, shadow, unshadow
from models.rollout_difference import difference
from models.routing import BUCKETS
from schemas.errors import ConfigurationError

BY = By("bob", datetime(2026, 11, 27, 9, 0, tzinfo=UTC), "it is time")
VERSIONS = [Version("card-fraud", str(number)) for number in range(1, 6)]
ONE, TWO, THREE, FOUR, _ = VERSIONS


def start():
    return first(ONE, Changed("alice", datetime(2026, 11, 26, 14, 30, tzinfo=UTC), "", "promote card-fraud@1"))


def serving(document):
    """What each variant has, for people."""
    return {each.name: (each.version, each.share) for each in document.variants}


def shadowing(document):
    return {each.name: each.version for each in document.shadows}


def three_way():
    return ramp(ramp(start(), str(TWO), 0.3, BY), str(THREE), 0.1, BY)


def test_a_change_is_the_next_epoch_and_says_who_when_why_and_what():
    changed = ramp(start(), str(TWO), 0.05, BY)

    assert changed.epoch == 2
    assert changed.changed == Changed("bob", BY.when, "it is time", "ramp challenger (card-fraud@2) to 5%")


def test_a_challenger_enters_by_its_version_and_takes_its_cards_from_the_control():
    document = ramp(start(), "card-fraud@2", 0.05, BY)

    assert serving(document) == {"champion": ("card-fraud@1", 0.95), "challenger": ("card-fraud@2", 0.05)}
    assert check(document) == document


def test_a_second_challenger_has_a_name_of_its_own_and_leaves_the_first_one_alone():
    assert serving(three_way()) == {
        "champion": ("card-fraud@1", 0.6),
        "challenger": ("card-fraud@2", 0.3),
        "challenger-2": ("card-fraud@3", 0.1),
    }


@pytest.mark.parametrize("name", ["challenger", "card-fraud@2"])
def test_a_challenger_is_ramped_by_its_name_or_by_its_version(name):
    document = ramp(ramp(start(), "card-fraud@2", 0.05, BY), name, 0.5, BY)

    assert serving(document) == {"champion": ("card-fraud@1", 0.5), "challenger": ("card-fraud@2", 0.5)}


def test_of_two_challengers_with_one_model_the_one_that_was_named_is_ramped():
    twins = replace(three_way(), variants=tuple(replace(each, version="card-fraud@1") for each in three_way().variants))

    document = ramp(twins, "challenger-2", 0.2, BY)

    assert [each.share for each in document.variants] == [0.5, 0.3, 0.2]


def test_a_shadow_that_is_ramped_keeps_its_name_and_shadows_no_more():
    shadowed = replace(start(), shadows=(Shadow("next", "card-fraud@2", "xgboost"),))

    for name in ("next", "card-fraud@2"):
        document = ramp(shadowed, name, 0.05, BY)
        assert serving(document)["next"] == ("card-fraud@2", 0.05)
        assert document.shadows == ()


def test_a_challenger_without_cards_leaves():
    document = ramp(three_way(), "challenger", 0, BY)

    assert serving(document) == {"champion": ("card-fraud@1", 0.9), "challenger-2": ("card-fraud@3", 0.1)}


def test_a_challenger_may_have_every_card():
    assert serving(ramp(start(), "card-fraud@2", 1, BY)) == {
        "champion": ("card-fraud@1", 0),
        "challenger": ("card-fraud@2", 1),
    }


@pytest.mark.parametrize(
    ("challenger", "share", "said"),
    [
        ("champion", 0.5, "champion is the control"),
        ("card-fraud@1", 0.5, "card-fraud@1 is the control"),
        ("chalenger", 0.5, "nothing is called 'chalenger' in this rollout, only champion, challenger, challenger-2"),
        ("challenger", 0.95, "shares of the challengers must lie between 0 and 1"),
        ("challenger", 1.5, r"a share must lie between 0 and 1, not 1\.5"),
        ("challenger", -0.5, "a share must lie between 0 and 1"),
        ("challenger", float("nan"), "a share must lie between 0 and 1"),
        ("@", 0.5, "cannot be part of NAME@VERSION"),
    ],
)
def test_a_ramp_that_cannot_be_is_refused(challenger, share, said):
    with pytest.raises(ConfigurationError, match=said):
        ramp(three_way(), challenger, share, BY)


def test_shares_are_set_together_with_the_fewest_moves():
    document = set_shares(three_way(), {"challenger": 0.33, "challenger-2": 0.33}, BY)

    assert [each.share for each in document.variants] == [0.34, 0.33, 0.33]
    assert difference(three_way(), document).moved == 0.26


def test_shares_of_somebody_else_are_refused():
    for name in ("champion", "nobody"):
        with pytest.raises(ConfigurationError, match=f"there is no challenger '{name}'"):
            set_shares(three_way(), {name: 0.1}, BY)


def test_a_promoted_version_has_every_card_that_no_other_challenger_has():
    document = promote(start(), TWO, BY)

    assert serving(document) == {"champion": ("card-fraud@2", 1)}
    assert document.changed.what == "promote card-fraud@2"


def test_a_promoted_challenger_ends_the_experiment_and_the_next_one_draws_other_cards():
    split = ramp(start(), "card-fraud@2", 0.05, BY)

    document = promote(split, TWO, BY)

    assert serving(document) == {"champion": ("card-fraud@2", 1)}
    assert (split.salt_id, document.salt_id) == ("default-1", "default-3")


def test_a_challenger_that_is_promoted_leaves_the_others_their_cards_and_their_salt():
    document = promote(three_way(), TWO, BY)

    assert serving(document) == {"champion": ("card-fraud@2", 0.9), "challenger-2": ("card-fraud@3", 0.1)}
    assert document.variants[1] == three_way().variants[2]
    assert document.salt_id == "default-1"


def test_a_promoted_shadow_shadows_no_more_and_others_do():
    shadowed = shadow(shadow(start(), TWO, BY), THREE, BY)

    assert shadowing(promote(shadowed, TWO, BY)) == {"challenger-2": "card-fraud@3"}


def test_a_policy_for_all_stays_when_a_version_is_promoted():
    policy = Policy("strict-1", 0.2, 0.7)

    assert promote(replace(start(), policy=policy), TWO, BY).policy == policy


def test_a_shadow_begins_and_ends_and_moves_no_card():
    begun = shadow(start(), TWO, BY)

    assert shadowing(begun) == {"challenger": "card-fraud@2"}
    assert begun.variants == start().variants
    assert shadowing(unshadow(begun, TWO, BY)) == {}


def test_who_decides_has_nothing_to_shadow_and_who_does_not_shadow_cannot_stop():
    with pytest.raises(ConfigurationError, match="card-fraud@1 decides already, as champion"):
        shadow(start(), ONE, BY)
    with pytest.raises(ConfigurationError, match="card-fraud@1 is no shadow"):
        unshadow(start(), ONE, BY)


@pytest.mark.parametrize(
    "change",
    [
        lambda document: promote(document, ONE, BY),
        lambda document: ramp(document, "challenger", 0.3, BY),
        lambda document: set_shares(document, {"challenger-2": 0.1}, BY),
        lambda document: shadow(document, FOUR, BY),
        lambda document: rollback(document, replace(document, epoch=1), BY),
    ],
    ids=["promote", "ramp", "set_shares", "shadow", "rollback"],
)
def test_what_changes_nothing_is_no_new_epoch(change):
    document = shadow(three_way(), FOUR, BY)

    assert change(document) is document


def test_a_rollback_says_again_what_was_said_as_an_epoch_of_its_own():
    split = three_way()
    promoted = promote(promote(split, TWO, BY), FOUR, BY)

    back = rollback(promoted, split, BY)

    assert back.epoch == promoted.epoch + 1
    assert replace(back, epoch=split.epoch, changed=split.changed) == split
    assert back.changed == Changed("bob", BY.when, "it is time", f"roll back to {split.epoch}")


def test_a_second_rollback_goes_back_further_and_never_forth():
    history = [start()]
    for version in (TWO, THREE):
        history.append(promote(history[-1], version, BY))
    served = []
    for _ in range(2):
        history.append(rollback(history[-1], before(history), BY))
        served.append(history[-1].control.version)

    assert served == ["card-fraud@2", "card-fraud@1"]
    with pytest.raises(ConfigurationError, match="nothing to go back to: what is in force is what rollout 1 said"):
        before(history)


def test_shares_are_written_as_people_write_them():
    assert [percent(share) for share in (0, 1, 0.05, 0.333333, 0.000001)] == ["0%", "100%", "5%", "33.3333%", "0.0001%"]


changes = st.one_of(
    st.tuples(st.just("ramp"), st.sampled_from(VERSIONS), st.floats(0, 1)),
    st.tuples(st.just("promote"), st.sampled_from(VERSIONS), st.none()),
    st.tuples(st.just("shadow"), st.sampled_from(VERSIONS), st.none()),
)


def apply(document, change):
    kind, version, share = change
    if kind == "ramp":
        return ramp(document, str(version), share, BY)
    return {"promote": promote, "shadow": shadow}[kind](document, version, BY)


@given(st.lists(changes, max_size=12))
def test_whatever_is_done_the_rollout_is_sane_and_a_ramp_moves_cards_between_one_challenger_and_the_control_alone(
    steps,
):
    document = start()
    for step in steps:
        was = document
        try:
            document = apply(was, step)
        except ConfigurationError:
            continue
        assert check(document) == document
        assert sum(each.size for each in document.variants) == BUCKETS
        if step[0] == "ramp":
            moved = [{each.source.variant, each.target.variant} for each in difference(was, document).moves]
            assert len(moved) <= 1
            assert all(was.control.name in pair for pair in moved)


def test_a_version_runs_where_it_ran_when_it_is_ramped_and_promoted():
    shadowed = shadow(start(), TWO, BY)
    endpoint = Endpoint("fraud")
    shadowed = replace(shadowed, shadows=(replace(shadowed.shadows[0], backend="sagemaker", endpoint=endpoint),))

    ramped = ramp(shadowed, str(TWO), 0.3, BY)
    promoted = promote(ramped, TWO, BY)

    assert check(ramped).variants[1].endpoint == endpoint
    assert (check(promoted).control.backend, promoted.control.endpoint) == ("sagemaker", endpoint)
    with pytest.raises(ConfigurationError, match="card-fraud@3 is served by no endpoint"):
        promote(promoted, THREE, BY)
    assert check(promote(ramp(promoted, str(THREE), 0.1, BY), THREE, BY)).control.backend == "xgboost"
