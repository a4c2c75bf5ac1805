"""Under one name a replay is one thing: what it reads, what decides, and where it writes never change."""

import pytest

from consumer.ranges import Span
from consumer.replay import Plan, plan_group, replay_settings
from consumer.settings import WorkerSettings
from schemas.errors import ConfigurationError, FraudstreamError

PLAN = Plan("r", "beginning", "end", "model", "digest", (Span(0, 10, 30), Span(2, 0, 5)))


def test_a_replay_has_a_group_transactional_ids_and_topics_of_its_own():
    live = WorkerSettings(group="fraud", slot=3)

    settings = replay_settings(live, "may-2026")

    assert settings.group == "fraud.replay.may-2026"
    assert plan_group(settings) == "fraud.replay.may-2026.plan"
    assert settings.slot_id == "fraudstream.dev.fraud.replay.may-2026.3"
    assert settings.decisions_topic == "fraud.decisions.replay.may-2026"
    assert settings.dead_letters_topic == "fraud.dead-letters.replay.may-2026"
    assert settings.input_topic == live.input_topic


@pytest.mark.parametrize("name", ["", "May", "a b", "a.b", "-a", "ä", "x" * 65])
def test_a_name_that_could_not_be_part_of_a_topic_is_refused(name):
    with pytest.raises(ConfigurationError, match="--name"):
        replay_settings(WorkerSettings(), name)


def test_progress_is_counted_in_offsets_of_the_plan():
    assert PLAN.size == 25
    assert PLAN.stops == {0: 30, 2: 5}
    assert PLAN.done({}) == 0
    assert PLAN.done({0: 15, 2: 5}) == 10
    assert PLAN.done({0: 30, 2: 5}) == PLAN.size


@pytest.mark.parametrize(
    ("now", "sentence"),
    [
        (("5", "end", "model", "digest"), "--from beginning --to end"),
        (("beginning", "5", "model", "digest"), "--from beginning --to end"),
        (("beginning", "end", "rollout 7", "other"), "begun with model, and rollout 7 is another model or policy"),
    ],
)
def test_the_same_name_cannot_come_to_mean_something_else(now, sentence):
    PLAN.check("beginning", "end", "copy of the model", "digest")

    with pytest.raises(FraudstreamError, match=sentence):
        PLAN.check(*now)
