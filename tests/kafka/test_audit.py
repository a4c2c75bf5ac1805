"""The audit on a real Apache Kafka: what is committed counts, by position, and each fault is named by its place."""

import json
import subprocess
import sys
import time
import uuid
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime

import numpy as np
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from typer.testing import CliRunner

from consumer.ranges import Span
from consumer.replay import Plan, begin, plan_group, replay_settings
from consumer.settings import WorkerSettings
from consumer.wire import decision_encoder
from fraudstream.__main__ import app
from models.registry import Version
from models.rollout import Changed, Variant, first
from models.rollout_store import RolloutStore
from models.routing import Experiment, buckets_of, two_way
from models.store import open_store
from schemas.columns import BytesColumn
from schemas.decision import Decisions, Lineage
from schemas.errors import ConfigurationError, FraudstreamError

LINEAGE = Lineage("p1", 0.2, 0.8, "m", "1", bytes(32), "xgboost", "default", 1, "champion", "default-1", 1.0)
SPLIT = Experiment("default", 1, "default-1", two_way("champion", "challenger", 0.4))
PARTITIONS = 2


def card_of(partition, number):
    return b"secret-card-%d-%d" % (partition, number % 7)


def column(values):
    length = np.array([len(value) for value in values], np.int64)
    return BytesColumn(np.frombuffer(b"".join(values) or b"?", np.uint8), np.cumsum(length) - length, length, None)


@dataclass
class World:
    """Topics with what a source and a worker would have written, as each test wants it."""

    bootstrap: str
    source: str
    decisions: str
    dead: str

    def __post_init__(self):
        self.producer = Producer(
            {"bootstrap.servers": self.bootstrap, "transactional.id": uuid.uuid4().hex, "log_level": 0}
        )
        self.producer.init_transactions(30)

    def transaction(self, records, *, abort=False):
        """Write ``(topic, partition, key, value, headers)`` in one transaction; the offsets that they got."""
        producer, offsets = self.producer, []
        producer.begin_transaction()
        for topic, partition, key, value, headers in records:
            producer.produce(
                topic, value, key, partition, headers=headers, on_delivery=lambda _, m: offsets.append(m.offset())
            )
        producer.flush(30)
        if abort:
            producer.abort_transaction(30)
        else:
            producer.commit_transaction(30)
        return offsets

    def publish(self, count):
        """So many transactions on each partition, with aborted ones among them: what stands at (partition, offset)."""
        placed = {}
        for partition in range(PARTITIONS):
            cards = [card_of(partition, number) for number in range(count)]
            records = [(self.source, partition, card, b"a secret amount", None) for card in cards]
            self.transaction(records[:3], abort=True)
            placed |= {(partition, at): card for at, card in zip(self.transaction(records), cards, strict=True)}
        return placed

    def decision(self, places, card=None, **lineage):
        """Records of the decisions topic about these places, as the worker would write them."""
        partition, offset = np.array(list(places), np.int64).reshape(-1, 2).T
        cards = [card or where for where in places.values()]
        buckets = buckets_of(cards, SPLIT.seed)
        return Decisions(
            transaction_id=column([b"secret-%d" % at for at in offset.tolist()]),
            unit=column(cards),
            topic=self.source,
            partition=partition.astype(np.int32),
            offset=offset,
            event_time=np.full(len(cards), 1_380_000_000_000),
            decided_at=int(time.time() * 1000),
            score=np.full(len(cards), 0.1),
            outcome=np.zeros(len(cards), np.uint8),
            variant=np.zeros(len(cards), np.uint8),
            bucket=buckets,
            lineages=(replace(LINEAGE, **lineage),),
            reasons={},
        )

    def decide(self, places, *, abort=False, topic=None, replay=None, card=None, **lineage):
        rows = replace(self.decision(places, card, **lineage), replay=replay)
        values = decision_encoder(WorkerSettings())(rows)
        keys = [card or key for key in places.values()]
        records = [
            (topic or self.decisions, partition, key, value, None)
            for (partition, _), key, value in zip(places, keys, values, strict=True)
        ]
        self.transaction(records, abort=abort)

    def bury(self, places):
        records = []
        for (partition, offset), card in places.items():
            place = {"topic": self.source, "partition": str(partition), "offset": str(offset)}
            headers = [(f"__connect.errors.{name}", value.encode()) for name, value in place.items()]
            records.append((self.dead, partition, card, b"a secret amount", headers))
        self.transaction(records)

    def commit(self, by_partition):
        offsets = [TopicPartition(self.source, partition, at) for partition, at in by_partition.items()]
        with closing(self.consumer(self.source)) as observer:
            observer.commit(offsets=offsets, asynchronous=False)

    def consumer(self, group):
        return Consumer({"bootstrap.servers": self.bootstrap, "group.id": group, "enable.auto.commit": False})

    def options(self, *more):
        return [
            *("audit", "--bootstrap-servers", self.bootstrap, "--group", self.source, "--input-topic", self.source),
            *("--decisions-topic", self.decisions, "--dead-letters-topic", self.dead, *more),
        ]

    def audit(self, *more):
        """The exit code and the report of the command; what it raises is raised."""
        done = CliRunner().invoke(app, self.options("--json", *more))
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert "secret" not in done.output
        return done.exit_code, json.loads(done.stdout)


@pytest.fixture
def world(topic, kafka):
    return World(kafka.bootstrap_servers, topic(PARTITIONS), topic(PARTITIONS), topic(PARTITIONS))


def split(places, *wanted):
    """The places but those of these numbers, counted in order, and those."""
    numbered = list(places.items())
    chosen = dict(numbered[number] for number in wanted)
    return {place: card for place, card in numbered if place not in chosen}, chosen


def named(report):
    return [(each["anomaly"], each["partition"], each["offset"]) for each in report["examples"]]


def test_a_range_in_which_every_record_has_one_outcome_is_clean_whatever_was_aborted(world):
    places = world.publish(60)
    decided, dead = split(places, 3, 70)
    world.decide(decided, abort=True)
    world.decide(decided)
    world.bury(dead)

    done = subprocess.run(
        [sys.executable, "-m", "fraudstream", *world.options("--to", "end")],
        capture_output=True,
        text=True,
        check=False,
    )
    code, report = world.audit("--to", "end")

    assert (done.returncode, done.stderr) == (0, "")
    assert "120 records, each with exactly one outcome" in done.stdout
    assert (code, report["clean"], report["anomalies"]) == (0, True, {})
    assert (report["records"], report["decisions"], report["dead_letters"]) == (120, 118, 2)
    assert report["partitions"][1]["to"] == 3 + 1 + 60 + 1, "aborted records and markers take offsets"


def test_every_fault_is_counted_and_named_by_its_place_without_a_payload(world):
    places = world.publish(40)
    (p, at), card = next(iter(places.items()))
    rest, lost = split(places, 20)
    rest, late = split(rest, 30)
    world.decide(rest)
    world.decide(late)
    world.bury({(p, at): card})
    world.decide({(p, 0): b"secret-card-0-0"})
    world.decide({(0, 10_000): b"secret-card-0-0"})
    world.transaction([(world.decisions, 0, None, b"a secret", None)])
    world.commit({0: 20_000, 1: 20_000})

    code, report = world.audit()
    done = CliRunner().invoke(app, world.options())

    (lost_at,), (late_at,) = lost, late
    assert code == done.exit_code == 1
    assert report["anomalies"] == {
        "lost": 1,
        "doubled": 1,
        "reordered": 1,
        "torn transaction": 1,
        "aborted read": 1,
        "without a source": 1,
        "unreadable": 1,
    }
    assert {
        ("lost", *lost_at),
        ("doubled", p, at),
        ("aborted read", p, 0),
        ("without a source", 0, 10_000),
    } <= set(named(report))
    assert [each[1] for each in named(report) if each[0] == "reordered"] == [late_at[0]]
    assert f"lost: offset {lost_at[1]} of partition {lost_at[0]} of {world.source}" in done.stdout
    assert "80 records: 1 lost, 1 doubled, 1 reordered, " in done.stdout
    assert "secret" not in done.stdout


def test_by_default_the_range_ends_where_the_group_has_got_to(world):
    places = world.publish(40)
    decided = dict(list(places.items())[:10])
    world.decide(decided)

    with pytest.raises(ConfigurationError, match="has committed nothing"):
        world.audit()
    world.commit({0: max(offset for _, offset in decided) + 1})
    code, report = world.audit()
    whole = world.audit("--to", "end")

    assert (code, report["records"], report["anomalies"]) == (0, 10, {})
    assert (whole[0], whole[1]["records"], whole[1]["anomalies"]) == (1, 80, {"lost": 70})


def test_an_outcome_beyond_what_the_group_has_committed_is_torn_unless_it_may_be_repeated(world):
    places = world.publish(40)
    world.decide(places)
    world.commit({0: 10})

    code, report = world.audit()

    assert (code, report["anomalies"]) == (1, {"torn transaction": 1})
    assert world.audit("--delivery", "at_least_once")[0] == 0


def test_at_least_once_counts_and_allows_what_is_doubled(world):
    places = world.publish(40)
    world.decide(places)
    world.decide(split(places, 5, 6)[1])

    assert world.audit("--to", "end")[0] == 1
    code, report = world.audit("--to", "end", "--delivery", "at_least_once")
    assert (code, report["anomalies"], report["tolerated"]) == (0, {"doubled": 2}, ["doubled"])


def test_only_the_offsets_that_are_asked_for_are_judged(world):
    places = world.publish(40)
    offsets = sorted(offset for partition, offset in places if partition == 1)
    world.decide({place: card for place, card in places.items() if place[0] == 1 and place[1] >= offsets[10]})

    code, report = world.audit("--from", f"1:{offsets[10]}", "--to", f"1:{offsets[30]}")

    assert (code, report["records"]) == (0, 20)
    assert [(line["partition"], line["from"], line["to"]) for line in report["partitions"]] == [
        (1, offsets[10], offsets[30])
    ]
    assert world.audit("--from", f"1:{offsets[9]}", "--to", "1:1000")[1]["anomalies"] == {"lost": 1}


def test_a_range_by_time_finds_outcomes_that_bear_an_earlier_time_than_their_records(world):
    now, hour = int(time.time() * 1000), 3_600_000
    producer = Producer({"bootstrap.servers": world.bootstrap})

    def write(topic, hours_ago, card, value):
        producer.produce(topic, value, card, 0, timestamp=now - hours_ago * hour)
        producer.flush(30)

    for hours_ago, card in ((10, b"old"), (5, b"skewed"), (5, b"new")):
        write(world.source, hours_ago, card, b"")
    for hours_ago, offset, card in ((10, 0, b"old"), (7, 1, b"skewed"), (5, 2, b"new")):
        (value,) = decision_encoder(WorkerSettings())(world.decision({(0, offset): card}))
        write(world.decisions, hours_ago, card, value)

    code, report = world.audit("--from", "-6h", "--to", "-1h")

    assert (code, report["records"], report["decisions"]) == (0, 2, 2)


def test_a_transaction_that_stays_open_is_named_instead_of_waiting_for_it_for_ever(world, monkeypatch):
    monkeypatch.setattr("consumer.committed.PATIENCE_SECONDS", 1.0)
    places = world.publish(20)
    world.decide(places)
    world.producer.begin_transaction()
    world.producer.produce(world.decisions, b"", partition=1)
    world.producer.flush(30)

    with pytest.raises(FraudstreamError, match=f"topic {world.decisions}: readers .* of partition 1, .* is open"):
        world.audit("--to", "end")
    world.producer.abort_transaction(30)
    assert world.audit("--to", "end")[0] == 0


def test_a_replay_is_judged_by_its_own_decisions_from_where_it_begins(world, kafka):
    places = world.publish(20)
    world.decide({place: card for place, card in places.items() if place[0] == 1})
    replayed = replay_settings(WorkerSettings(group=world.source, decisions_topic=world.decisions), "night")
    decisions, dead = f"{world.decisions}.replay.night", f"{world.dead}.replay.night"
    for name in (decisions, dead):
        kafka.create_topic(name, PARTITIONS)
    later = {place: card for place, card in places.items() if place[1] > 12}
    plan = Plan("night", "0:13,1:13", "end", "m@1", "digest", tuple(Span(each, 13, 24) for each in range(PARTITIONS)))

    with pytest.raises(FraudstreamError, match="there is no replay night"):
        world.audit("--replay", "night")
    with closing(world.consumer(replayed.group)) as progress, closing(world.consumer(plan_group(replayed))) as keeper:
        begin(plan, world.source, progress, keeper)
        progress.commit(
            offsets=[TopicPartition(world.source, each, 24) for each in range(PARTITIONS)], asynchronous=False
        )
    world.decide(later, topic=decisions, replay="night")
    world.decide(split(places, 0)[1], topic=decisions, replay="noon")
    code, report = world.audit("--replay", "night")

    assert (code, report["records"], report["decisions"], report["anomalies"]) == (0, len(later), len(later), {})
    assert world.audit("--replay", "night", "--from", "beginning")[1]["anomalies"] == {"lost": 40 - len(later)}


def test_of_a_range_without_a_record_nothing_is_proven(world):
    world.publish(20)

    with pytest.raises(FraudstreamError, match="holds no committed record"):
        world.audit("--from", "end", "--to", "end")
    with pytest.raises(FraudstreamError, match="holds no committed record"):
        world.audit("--to", "0:4")


def test_variants_are_held_against_the_rollout_where_a_store_has_it(world, tmp_path):
    places = world.publish(20)
    champions = {place: card for place, card in places.items() if buckets_of([card], SPLIT.seed)[0] < 600_000}
    world.decide(champions)
    world.decide({place: card for place, card in places.items() if place not in champions})
    store = ("--to", "end", "--store", str(tmp_path / "store"))

    unknown = world.audit(*store)
    RolloutStore(open_store(str(tmp_path / "store"))).write(rollout(SPLIT), None)
    code, report = world.audit(*store)

    assert 0 < len(champions) < len(places)
    assert (unknown[0], unknown[1]["anomalies"]) == (0, {})
    assert (code, report["anomalies"]) == (1, {"misrouted": len(places) - len(champions)})


def rollout(split):
    variants = tuple(Variant(each.name, "m@1", "xgboost", each.ranges) for each in split.variants)
    changed = Changed("a test", datetime(2026, 1, 1, tzinfo=UTC), "to see", "a split")
    return replace(first(Version("m", "1"), changed), experiment_id=split.id, salt_id=split.salt_id, variants=variants)
