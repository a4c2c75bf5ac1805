"""A batch is decided by what was in force when it began, whole, and metrics tell what is in force now."""

import json
import threading
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from confluent_kafka import Message
from prometheus_client import CollectorRegistry

from consumer.decide import Arm, Rollout, Thresholds
from consumer.in_force import InForce
from consumer.metrics import WorkerMetrics
from consumer.records import RecordBatch
from consumer.serving import Serving
from consumer.settings import WorkerSettings
from consumer.shadows import Shadow
from consumer.topics import Topics
from consumer.wire import transaction_reader
from consumer.worker import Scoring
from models.routing import Experiment, single, two_way
from schemas.decision import Lineage, encode_json
from schemas.framing import confluent
from schemas.sources import PinnedSchemas

SETTINGS = WorkerSettings(input_format="json")
NOW = 1_700_000_000_000


class Constant:
    """Every card has the same score. ``before`` is called first, with the features."""

    features = ("V1",)

    def __init__(self, score, before=lambda _features: None):
        self.value, self.before = score, before

    def score(self, features):
        self.before(features)
        return np.full(len(features), self.value)


def serving(epoch, scorer, shadows=(), variants=None, fallback_reason=None):
    experiment = Experiment("e", epoch, "s", tuple(variants or single("champion")))
    arms = []
    for variant in experiment.variants:
        reason = fallback_reason if variant.name == "challenger" else None
        lineage = Lineage(
            "p", 0.5, 0.9, "m", str(epoch), bytes([epoch] * 32), "xgboost", "e", epoch, variant.name, "s",
            variant.share, reason,
        )  # fmt: skip
        arms.append(Arm(scorer, Thresholds("p", 0.5, 0.9), lineage, np.array([False]), ("V1",)))
    return Serving(Rollout(experiment, tuple(arms)), tuple(shadows), transaction_reader(SETTINGS, ("V1", "V2")))


def shadow(name, scorer):
    return Shadow(name, scorer, np.array([False]))


@pytest.fixture
def told():
    return CollectorRegistry()


@pytest.fixture
def metrics(told):
    return WorkerMetrics(told)


@pytest.fixture
def in_force_of(metrics):
    """A function that puts in force what ``latest`` gives; the threads of its shadows end with the test."""

    def make(latest, budget=10.0):
        return InForce(latest, budget, metrics)

    return make


def batch(count, first=0):
    messages = [
        Message(
            topic="in",
            partition=0,
            offset=number,
            key=b"card-%d" % number,
            value=json.dumps(
                {"transaction_id": f"tx-{number}", "card_id": f"card-{number}", "event_time": NOW, "amount": 1.0}
                | {f"V{feature}": 0.5 for feature in range(1, 29)}
            ).encode(),
        )
        for number in range(first, first + count)
    ]
    return RecordBatch.of("in", messages)


def decide(in_force, records, observe=lambda _verdict: None, quarantined=(), **how):
    def published(_records, verdict):
        observe(verdict)

    scoring = Scoring(
        in_force,
        encode_json,
        SETTINGS,
        lambda: Topics(1, 1, 1, 1_000_000),
        published,
        clock=lambda: NOW / 1000,
        quarantined=quarantined,
    )
    outbox = scoring(records, **how)
    outbox.on_published()
    return [json.loads(each["value"]) for part in outbox.messages for each in part.messages]


def test_a_batch_in_whose_middle_the_rollout_changes_is_decided_by_that_with_which_it_began(in_force_of):
    latest = []
    new = serving(2, Constant(0.2))
    variants = two_way("champion", "challenger", 0.5)
    latest.append(serving(1, Constant(0.1, lambda _features: latest.append(new)), variants=variants))
    in_force = in_force_of(lambda: latest[-1], 1.0)

    first, second = decide(in_force, batch(50)), decide(in_force, batch(50, 50))

    assert {(record["experiment"]["epoch"], record["model"]["version"], record["score"]) for record in first} == {
        (1, "1", 0.1)
    }
    assert {record["experiment"]["variant"] for record in first} == {"champion", "challenger"}
    assert {(record["experiment"]["epoch"], record["model"]["sha256"], record["score"]) for record in second} == {
        (2, "02" * 32, 0.2)
    }


def test_shadows_add_their_scores_and_change_nothing_else(in_force_of):
    def broken(_features):
        raise ValueError

    never = threading.Event()
    shadows = [
        shadow("next", Constant(0.7)),
        shadow("broken", Constant(0.7, broken)),
        shadow("greedy", Constant(0.7, lambda features: features.fill(9))),
    ]
    plain = decide(in_force_of(lambda: serving(1, Constant(0.1)), 0.0), batch(20))

    within = in_force_of(lambda: serving(1, Constant(0.1), shadows), 10.0)
    hanging = [shadow("hanging", Constant(0.7, lambda _features: never.wait(30)))]
    late = in_force_of(lambda: serving(1, Constant(0.1), hanging), 0.01)
    shadowed, without = decide(within, batch(20)), decide(late, batch(20))
    never.set()

    assert [without_shadows(record) for record in shadowed] == plain
    assert all(
        record["shadow"] == [{"variant": "next", "score": 0.7}, {"variant": "greedy", "score": 0.7}]
        for record in shadowed
    )
    assert without == plain


def without_shadows(record):
    return {**record, "shadow": []}


def test_a_quarantined_record_is_shown_to_no_reader(in_force_of):
    shown = []

    def reader_of(features):
        reader = transaction_reader(SETTINGS, features)
        return SimpleNamespace(read=lambda payloads: shown.append(list(payloads)) or reader.read(payloads))

    own = replace(shadow("own", Constant(0.7)), reader_of=reader_of)
    observed = replace(serving(1, Constant(0.1), [own]), reader=reader_of(("V1",)))
    records = batch(3)

    decided = decide(in_force_of(lambda: observed), records, quarantined={(0, 1)})

    assert shown == [[records.values[0], None, records.values[2]]] * 2
    assert [(each["source"]["offset"], len(each["shadow"])) for each in decided] == [(0, 1), (2, 1)]


def test_no_shadow_scores_what_is_to_be_processed_alone(in_force_of):
    scored = []
    in_force = in_force_of(lambda: serving(1, Constant(0.1), [shadow("next", Constant(0.7, scored.append))]))

    (record,) = decide(in_force, batch(1), with_shadows=False)

    assert record["shadow"] == scored == []


def test_a_batch_before_any_schema_is_known_is_no_failure_of_a_shadow(in_force_of, told):
    unread = confluent(PinnedSchemas({}), ("V1",))
    blind = replace(serving(1, Constant(0.1), [shadow("next", Constant(0.7))]), reader=unread)
    garbage = RecordBatch.of("in", [Message(topic="in", partition=0, offset=0, value=b"?")])

    assert decide(in_force_of(lambda: blind, 10.0), garbage) == []
    assert set(samples(told, "shadow_batches_total").values()) == {0}


def samples(told, name):
    found = {}
    for family in told.collect():
        for sample in family.samples:
            if sample.name == f"fraudstream_{name}":
                found[tuple(sample.labels.values())] = sample.value
    return found


def test_metrics_tell_what_is_in_force_and_no_longer_what_was(in_force_of, told):
    latest = [None]
    in_force = in_force_of(lambda: latest[0], 10.0)
    variants = two_way("champion", "challenger", 0.25)

    assert in_force.swap() is None
    assert samples(told, "model_info") == {}
    latest[0] = serving(4, Constant(0.1), [shadow("a", Constant(0.7))], variants, "m@2 was refused")
    in_force.swap()
    decide(in_force, batch(5))
    assert samples(told, "rollout_epoch") == {(): 4}
    assert samples(told, "degraded_share") == {(): pytest.approx(0.25)}
    assert set(samples(told, "model_info")) == {
        ("champion", "m", "4", "04" * 32),
        ("challenger", "m", "4", "04" * 32),
    }
    assert samples(told, "shadow_batches_total") == {("a", "scored"): 1, ("a", "late"): 0, ("a", "failed"): 0}

    latest[0] = serving(5, Constant(0.1), [shadow("b", Constant(0.7))])
    in_force.swap()

    assert samples(told, "rollout_epoch") == {(): 5}
    assert samples(told, "degraded_share") == {(): 0}
    assert samples(told, "model_info") == {("champion", "m", "5", "05" * 32): 1}
    assert set(samples(told, "shadow_batches_total")) == {("b", "scored"), ("b", "late"), ("b", "failed")}


def test_degraded_decisions_are_counted_by_the_variant_that_was_assigned(in_force_of, metrics, told):
    degraded = serving(1, Constant(0.1), (), two_way("champion", "challenger", 0.25), "m@2 was refused")

    records = decide(in_force_of(lambda: degraded, 1.0), batch(100), metrics.observe_verdict)

    stood_in_for = [record["experiment"]["variant"] for record in records if record["degraded"]]
    assert set(stood_in_for) == {"challenger"}
    assert samples(told, "degraded_decisions_total") == {("challenger",): len(stood_in_for)}


def test_the_same_serving_is_not_swapped_with_itself(in_force_of):
    same = serving(1, Constant(0.1), [shadow("a", Constant(0.7))])
    in_force = in_force_of(lambda: same, 10.0)
    in_force.swap()
    shadows = in_force.shadows

    in_force.swap()

    assert in_force.shadows is shadows
