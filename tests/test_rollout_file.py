"""What a person writes into a file, and the rollout that it makes."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from models.manifest import Policy
from models.registry import Version
from models.rollout import Changed, Shadow, check, first, to_json
from models.rollout_changes import By, ramp, shadow
from models.rollout_difference import difference
from models.rollout_file import apply, read_wanted
from models.store import ConflictError
from schemas.errors import ConfigurationError

NOW = datetime(2026, 11, 26, 14, 30, tzinfo=UTC)
BY = By("bob", NOW, "it is time")
CHAMPION = {"name": "champion", "version": "m@1"}


def start():
    return first(Version("m", "1"), Changed("alice", NOW, "", "promote m@1"))


def split():
    return ramp(ramp(start(), "m@2", 0.3, BY), "m@3", 0.1, BY)


def variants(champion, challenger, third):
    shares = {"champion": champion, "challenger": challenger, "challenger-2": third}
    return [
        {"name": name, "version": f"m@{number}", "share": share}
        for number, (name, share) in enumerate(shares.items(), start=1)
    ]


def applied(raw, current=None, unit="card_id"):
    return check(apply(read_wanted(json.dumps(raw).encode(), "wanted.json"), current, BY, unit))


def test_the_smallest_file_makes_the_first_rollout():
    document = applied({"variants": [CHAMPION]}, unit="account")

    assert document == replace(first(Version("m", "1"), Changed("bob", NOW, "it is time", "set"), "account"))


def test_the_first_rollout_may_be_split_at_once():
    document = applied({"experiment_id": "checkout", "variants": [CHAMPION, {**CHAMPION, "name": "b", "share": 0.05}]})

    assert [(each.name, each.ranges) for each in document.variants] == [
        ("champion", ((0, 950_000),)),
        ("b", ((950_000, 1_000_000),)),
    ]
    assert (document.epoch, document.salt_id) == (1, "checkout-1")


def test_shares_move_the_fewest_cards():
    document = applied({"variants": variants(0.34, 0.33, 0.33)}, split())

    assert (document.epoch, document.changed.what) == (split().epoch + 1, "set")
    assert difference(split(), document).moved == 0.26


def test_what_is_left_by_rounding_is_the_controls():
    document = applied({"variants": variants(1 / 3, 1 / 3, 1 / 3)}, split())

    assert [each.size for each in document.variants] == [333_334, 333_333, 333_333]


def test_the_file_says_all_that_serves():
    before = replace(shadow(split(), Version("m", "4"), BY), policy=Policy("p", 0.2, 0.7))

    document = applied(
        {
            "variants": [CHAMPION],
            "shadows": [{"name": "next", "version": "m@5"}],
            "policy": {"version": "q", "review_at": 0.1, "decline_at": 1},
        },
        before,
    )

    assert [each.name for each in document.variants] == ["champion"]
    assert document.shadows == (Shadow("next", "m@5", "xgboost"),)
    assert document.policy == Policy("q", 0.1, 1)
    assert applied({"variants": [CHAMPION]}, before).policy is None


def test_how_cards_are_drawn_stays_as_it_is_unless_it_is_given():
    before = replace(split(), experiment_id="checkout", salt_id="pepper", unit="account")
    drawn = ("experiment_id", "salt_id", "unit")

    kept = applied({"variants": [CHAMPION]}, before)
    given = applied({"variants": [CHAMPION], **{name: f"new-{name}" for name in drawn}}, before)

    assert [getattr(kept, name) for name in drawn] == ["checkout", "pepper", "account"]
    assert [getattr(given, name) for name in drawn] == [f"new-{name}" for name in drawn]


def test_another_experiment_draws_other_cards():
    document = applied({"variants": variants(0.6, 0.3, 0.1), "experiment_id": "checkout"}, split())

    assert document.salt_id == f"checkout-{split().epoch + 1}"


def test_a_rollout_that_was_shown_can_be_set_as_it_is_and_says_nothing_new():
    assert applied(json.loads(to_json(split())), split()).epoch == split().epoch


def test_a_rollout_that_was_shown_comes_back_to_the_bucket_in_an_empty_store():
    restored = applied(json.loads(to_json(split())))

    assert restored.variants == split().variants
    assert restored.epoch == 1


def test_a_file_that_was_made_out_of_another_rollout_is_a_conflict():
    with pytest.raises(ConflictError, match="made out of rollout 1, and 3 is in force by now"):
        applied(json.loads(to_json(start())), split())


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        ({"variants": []}, r"wanted\.json: variants: there must be one at least"),
        ({}, r"wanted\.json: .*missing required field `variants`"),
        ({"variants": [CHAMPION], "shadow": []}, r"there is no field \$\.shadow"),
        ({"variants": [{**CHAMPION, "weight": 1}]}, r"there is no field \$\.variants\[0\]\.weight"),
        ({"variants": [{**CHAMPION, "share": "5%"}]}, r"got `str` - at `\$\.variants\[0\]\.share`"),
        ({"variants": [CHAMPION, {"name": "b", "version": "m@2"}]}, "give each of them a share"),
        (
            {"variants": [CHAMPION, {"name": "b", "version": "m@2", "share": 1, "ranges": []}]},
            "give each of them a share",
        ),
        ({"variants": variants(0.6, 0.3, 0.2)}, r"the shares sum to 110%"),
        ({"variants": variants(0.6, 0.3, 0.05)}, r"the shares sum to 95%"),
        ({"variants": variants(0.6, 0.3, float("nan"))}, "a share must lie between 0 and 1, not nan"),
        ({"variants": variants(0.6, 0.4, 0)}, "challenger-2 has no buckets: only the control may do without"),
        (
            {"variants": [CHAMPION, {"name": "champion", "version": "m@2", "share": 0.5}]},
            "champion is the name of another",
        ),
        ({"variants": [{**CHAMPION, "ranges": [[0, 5]]}]}, "buckets from 5 on are served by no variant"),
        ({"variants": [CHAMPION], "salt_id": "feature-samples-1"}, "salt_id must differ"),
    ],
)
def test_a_file_that_cannot_be_is_refused_in_one_sentence(raw, said):
    with pytest.raises(ConfigurationError, match=said):
        applied(raw, split())
