"""What the doctor makes of what it sees: what is wrong, what is only doubtful, and what to do."""

import json

import pytest
from typer.testing import CliRunner

from consumer.settings import WorkerSettings
from fraudstream.__main__ import app
from fraudstream.doctor import cluster, serving
from fraudstream.doctor.finding import Topic, Verdict, clock, co_partitioning, right, topic_findings


def topic(**given):
    facts = {"name": "t", "partitions": 4, "leaderless": 0, "lagging": 0, "replicas": 3, "operations": frozenset()}
    return Topic(**facts | given)


def verdicts(findings):
    return [finding.verdict for finding in findings]


@pytest.mark.parametrize(
    ("given", "verdict", "told"),
    [
        ({}, Verdict.GOOD, "4 partitions, 3 replicas"),
        ({"leaderless": 1, "lagging": 2}, Verdict.WRONG, "1 partitions have no leader"),
        ({"lagging": 2}, Verdict.DOUBTFUL, "2 partitions lack replicas in sync"),
        ({"replicas": 1}, Verdict.DOUBTFUL, "with the disk of one broker it is lost"),
    ],
)
def test_a_topic_is_as_good_as_its_partitions_and_replicas(given, verdict, told):
    finding, _ = topic_findings("input_topic", topic(**given), ["READ"])

    assert finding.verdict is verdict
    assert told in finding.told
    assert bool(finding.advice) is (verdict is not Verdict.GOOD)


def test_a_right_is_there_or_missing_or_not_told():
    found = [right("topic", "t", "WRITE", each) for each in (frozenset({"WRITE"}), frozenset({"READ"}), None)]

    assert verdicts(found) == [Verdict.GOOD, Verdict.WRONG, Verdict.SKIPPED]
    assert "--operation Write --topic t" in found[1].advice


def test_decisions_stand_beside_their_transactions_only_with_as_many_partitions():
    alike = co_partitioning({"input_topic": topic(), "decisions_topic": topic(name="d")})
    fewer = co_partitioning({"input_topic": topic(), "decisions_topic": topic(name="d", partitions=2)})

    assert verdicts([alike, fewer]) == [Verdict.GOOD, Verdict.DOUBTFUL]
    assert "--topic d --partitions 4" in fewer.advice


@pytest.mark.parametrize(
    ("difference", "uncertainty", "verdict", "told"),
    [
        (400, 5, Verdict.GOOD, "0.40 s ahead of ours"),
        (5_000, 4_500, Verdict.GOOD, "(± 4.50 s)"),
        (-5_000, 5, Verdict.DOUBTFUL, "5.00 s behind ours"),
        (90_000, 5, Verdict.WRONG, "90.00 s ahead of ours"),
        (-90_000, 5, Verdict.WRONG, "90.00 s behind ours"),
    ],
)
def test_clocks_differ_when_more_than_the_uncertainty_says_so(difference, uncertainty, verdict, told):
    finding = clock(difference, uncertainty)

    assert finding.verdict is verdict
    assert told in finding.told


def test_without_brokers_it_says_so_and_looks_at_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "ANSWER_SECONDS", 2.0)
    options = ["--bootstrap-servers", "127.0.0.1:1", "--model", str(tmp_path), "--json"]

    done = CliRunner().invoke(app, ["doctor", *options])

    told = json.loads(done.stdout)
    assert (done.exit_code, told["healthy"]) == (1, False)
    found = {finding["check"]: finding for finding in told["findings"]}
    assert list(found) == ["client", "brokers", "model", "schemas"]
    assert "none answers at 127.0.0.1:1: " in found["brokers"]["told"]
    assert "Connection refused" in found["brokers"]["told"]
    assert found["brokers"]["advice"]
    assert "cannot be read" in found["model"]["told"]


def test_a_schema_without_a_role_is_named(tmp_path):
    findings = list(serving.findings(WorkerSettings(unit_field="nonsense")))

    assert verdicts(findings) == [Verdict.WRONG, Verdict.WRONG]
    assert findings[0].told == "nothing says what serves"
    assert "nonsense" in findings[1].told
