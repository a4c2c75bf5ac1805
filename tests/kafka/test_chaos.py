"""Workers and a broker that are killed lose nothing and decide nothing twice; mistakes made on purpose are found."""

import contextlib
from dataclasses import replace

import pytest
from conftest import enter_or_skip

from benchmarks.bed import in_real_mix
from benchmarks.chaos.judge import audited, seen_live
from benchmarks.chaos.play import play
from benchmarks.chaos.scenarios import scenarios
from benchmarks.chaos.stage import Setting, on_stage
from deploy.kafka.broker import running_broker


@pytest.fixture(scope="module")
def setting(kafka, model_dir, tmp_path_factory):
    return Setting(kafka, model_dir, in_real_mix(), tmp_path_factory.mktemp("chaos"))


def test_killed_workers_and_a_killed_broker_lose_nothing_and_double_nothing(setting):
    kills, *_ = scenarios(kills=3, broker_kills=1)

    with contextlib.ExitStack() as stack:
        broker = enter_or_skip(stack, running_broker())
        played = play(replace(setting, broker=broker), kills, events=12_000, seed=7)

    assert played.clean, played
    assert (played.killed, played.brokers_killed, played.events) == (3, 1, 12_000)


@pytest.mark.parametrize("mistake", ["commit_first", "skip_rewind"])
def test_a_mistake_that_loses_records_is_found_by_the_audit(setting, mistake):
    with on_stage(setting, mistake.replace("_", "-"), 1, ("abort_one_in_three", mistake)) as stage:
        stage.crew.start(0)
        stage.loader.allow(4_000)
        stage.wait(lambda: stage.done() >= 2_000, "progress")
        stage.crew.stop(0)
        report = audited(stage, "committed")

    assert not report["clean"]
    assert report["anomalies"]["lost"] > 0


def test_without_the_mistake_the_same_aborts_lose_nothing(setting):
    with on_stage(setting, "no-mistake", 1, ("abort_one_in_three",)) as stage:
        stage.crew.start(0)
        stage.loader.allow(4_000)
        stage.drain()
        report, live = audited(stage), seen_live(stage)

    assert report["records"] == 4_000
    assert (report["anomalies"], live) == ({}, {})
