"""With exactly the rights that docs/security.md lists a worker, a monitor and who is on call do what they must.

Without any of its rights a worker says which is missing.
"""

import contextlib
import json
import os
import subprocess
import sys
import threading
from types import SimpleNamespace
from uuid import UUID

import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from conftest import enter_or_skip
from sampled import baseline, batches, events, record
from typer.testing import CliRunner
from worker_stream import Stream, Watched, ids_of, transactions, wait_until

from consumer.settings import WorkerSettings
from consumer.worker import Worker
from deploy.jvm import free_ports
from deploy.kafka.broker import running_broker
from drift.baseline_file import to_bytes
from drift.run import DriftMonitor
from drift.windows import SCALES
from fraudstream.__main__ import app
from schemas.errors import NotPermittedError

NAME = "rights"
TOPIC, GROUP, TRANSACTIONAL_ID = ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID
LITERAL, PREFIXED = ResourcePatternType.LITERAL, ResourcePatternType.PREFIXED
RIGHTS = {
    "read-input": (TOPIC, f"{NAME}.in", LITERAL, AclOperation.READ),
    "write-decisions": (TOPIC, f"{NAME}.decisions", LITERAL, AclOperation.WRITE),
    "write-dead-letters": (TOPIC, f"{NAME}.dead", LITERAL, AclOperation.WRITE),
    "write-samples": (TOPIC, f"{NAME}.samples", LITERAL, AclOperation.WRITE),
    "read-group": (GROUP, NAME, LITERAL, AclOperation.READ),
    "write-transactional-ids": (TRANSACTIONAL_ID, f"fraudstream.dev.{NAME}.", PREFIXED, AclOperation.WRITE),
}
"""What docs/security.md lists for a worker."""

WATCHED = f"{NAME}.watched"
MONITOR = [
    (TOPIC, f"{WATCHED}.samples", LITERAL, AclOperation.READ),
    (TOPIC, f"{WATCHED}.in", LITERAL, AclOperation.DESCRIBE),
    (TOPIC, f"{WATCHED}.drift", LITERAL, AclOperation.WRITE),
    (TOPIC, f"{WATCHED}.requests", LITERAL, AclOperation.WRITE),
    (GROUP, f"{WATCHED}.drift", LITERAL, AclOperation.READ),
    (TRANSACTIONAL_ID, f"fraudstream.dev.{WATCHED}.drift.", PREFIXED, AclOperation.WRITE),
]
"""What it lists for a monitor."""

ON_CALL = [
    *((TOPIC, name, LITERAL, AclOperation.READ) for kind, name, *_ in RIGHTS.values() if kind is TOPIC),
    (TOPIC, f"{NAME}.dead.redriven", LITERAL, AclOperation.READ),
    (TOPIC, f"{WATCHED}.drift", LITERAL, AclOperation.READ),
    (TOPIC, f"{WATCHED}.requests", LITERAL, AclOperation.READ),
    (GROUP, NAME, LITERAL, AclOperation.DESCRIBE),
]
"""What it lists for who is on call, where the reports of drift are those of the other stream."""

SENTENCES = {
    "read-input": f"input_topic: not permitted to READ topic {NAME}.in",
    "write-decisions": f"decisions_topic: not permitted to WRITE topic {NAME}.decisions",
    "write-dead-letters": f"dead_letters_topic: not permitted to WRITE topic {NAME}.dead",
    "write-samples": f"samples_topic: not permitted to WRITE topic {NAME}.samples",
    "read-group": f"group: not permitted to READ group {NAME}",
    "write-transactional-ids": (
        f"not permitted to publish, which takes WRITE on the transactional id fraudstream.dev.{NAME}.0.a"
    ),
}
RIGHTS_OF = {
    **{user: [right for lacked, right in RIGHTS.items() if lacked != user] for user in ("all", *RIGHTS)},
    "monitor": MONITOR,
    "on-call": ON_CALL,
}
"""By user; each that is called after a right has those of a worker but this one."""


@pytest.fixture(scope="module")
def guarded():
    """A broker that lets in users with a password and does what their rights say; who comes without may do all.

    The address for who may do all, and that for users.
    """
    inside, outside, controller = free_ports(3)
    users = " ".join(f'user_{user}="secret"' for user in RIGHTS_OF)
    listeners = f"PLAINTEXT://127.0.0.1:{inside},SASL_PLAINTEXT://127.0.0.1:{outside}"
    properties = {
        "listeners": f"{listeners},CONTROLLER://127.0.0.1:{controller}",
        "advertised.listeners": listeners,
        "controller.quorum.voters": f"1@127.0.0.1:{controller}",
        "listener.security.protocol.map": "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.sasl_plaintext.plain.sasl.jaas.config": (
            f"org.apache.kafka.common.security.plain.PlainLoginModule required {users};"
        ),
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    with contextlib.ExitStack() as stack:
        broker = enter_or_skip(stack, running_broker(properties=properties, port=inside))
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})
        topics = {name for kind, name, *_ in (*RIGHTS.values(), *MONITOR) if kind is TOPIC}
        rights = [
            AclBinding(kind, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
            for user, given in RIGHTS_OF.items()
            for kind, name, pattern, operation in given
        ]
        created = admin.create_topics([NewTopic(name, 1, 1) for name in topics])
        for future in (*created.values(), *admin.create_acls(rights).values()):
            future.result(30)
        yield broker.bootstrap_servers, f"127.0.0.1:{outside}"


def login(user):
    return {
        "security.protocol": "SASL_PLAINTEXT",
        "sasl.mechanism": "PLAIN",
        "sasl.username": user,
        "sasl.password": "secret",
    }


def flags(user, address, model):
    """The options of a command for this user."""
    return [
        *("--bootstrap-servers", address, "--group", NAME, "--input-topic", f"{NAME}.in", "--model", str(model)),
        *("--decisions-topic", f"{NAME}.decisions", "--dead-letters-topic", f"{NAME}.dead"),
        *("--samples-topic", f"{NAME}.samples"),
        *(word for pair in login(user).items() for word in ("--kafka", "=".join(pair))),
    ]


def worker_settings(address, user, model, **more):
    """What a worker of this user is told."""
    return WorkerSettings(
        bootstrap_servers=address,
        kafka=login(user),
        group=NAME,
        input_topic=f"{NAME}.in",
        decisions_topic=f"{NAME}.decisions",
        dead_letters_topic=f"{NAME}.dead",
        samples_topic=f"{NAME}.samples",
        model=model,
        metrics_port=0,
        **more,
    )


@pytest.fixture(scope="module")
def decisions(guarded, model_dir, sample):
    """What a worker with exactly these rights decides of 500 transactions; a 501st cannot be read."""
    inside, outside = guarded
    stream = Stream(inside, NAME, model_dir, partitions=1)
    stream.publish([*transactions(sample, 500), (b"card", b"no transaction")])
    command = [sys.executable, "-m", "fraudstream", "score", *flags("all", outside, model_dir), "--metrics-port", "0"]
    worker = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        stream.read(stream.dead_letters, 1, 1)
        yield stream.read_decisions(500)
    finally:
        worker.terminate()
        worker.wait(20)
        stream.stop()


def test_with_exactly_these_rights_a_worker_runs_and_the_doctor_finds_nothing_wrong(guarded, model_dir, decisions):
    _, outside = guarded

    found = CliRunner().invoke(app, ["doctor", *flags("all", outside, model_dir)])

    assert len(ids_of(decisions)) == 500
    assert found.exit_code == 0, found.output


def test_who_is_on_call_may_look_at_everything_and_write_nothing(guarded, model_dir, decisions, monkeypatch):
    _, outside = guarded
    monkeypatch.setenv("FRAUDSTREAM_GROUP", NAME)
    options = flags("on-call", outside, model_dir)
    identity = str(UUID(bytes=decisions[0][1]["decision_id"]))

    def told(*words):
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, done.exception
        return done.stdout

    refused = []
    producer = Producer({"bootstrap.servers": outside, "log_level": 0, **login("on-call")})
    producer.produce(f"{NAME}.decisions", b"", on_delivery=lambda error, _: refused.append(error.code()))
    producer.flush(30)

    assert json.loads(told("audit", "--json", *options))["records"] == 501
    assert told(*tail("on-call", outside), "--from", "beginning", "--no-follow").count("\n") == 500
    assert told("dead-letters", "list", "--json", *options).count("\n") == 1
    assert identity in told("explain", "--decision", identity, *options)
    assert refused == [KafkaError.TOPIC_AUTHORIZATION_FAILED]


def tail(user, address):
    connection = [*("--bootstrap-servers", address), *(f"--kafka={'='.join(pair)}" for pair in login(user).items())]
    return ["tail", f"{NAME}.decisions", *connection]


def test_whoever_reads_for_a_group_that_they_may_not_see_is_told_that_it_is_the_group(guarded, monkeypatch):
    _, outside = guarded
    monkeypatch.setenv("FRAUDSTREAM_GROUP", "another")

    done = CliRunner().invoke(app, tail("on-call", outside))

    assert str(done.exception).startswith("group: the brokers refuse us: ")


def test_with_exactly_its_rights_a_monitor_reports_drift_and_asks_for_a_model(guarded, tmp_path):
    inside, outside = guarded
    stream = Watched(inside, WATCHED, None, partitions=1)
    drifting = events(26 * 200, minutes=26 * 60, partitions=1, shift=lambda minute: 3.0 if minute > 120 else 0.0)
    stream.publish_samples(record(drifting, rows, rate=1.0) for rows in batches(drifting, 200))
    (tmp_path / "baseline.npz").write_bytes(to_bytes(baseline(scales=SCALES)))
    settings = WorkerSettings(
        bootstrap_servers=outside,
        kafka=login("monitor"),
        group=WATCHED,
        input_topic=stream.input,
        samples_topic=stream.samples,
        drift_topic=stream.drift,
        retrain_topic=stream.requests,
        drift_baselines=[tmp_path / "baseline.npz"],
        drift_metrics_port=0,
    )
    stopping = SimpleNamespace(requested=False)
    running = threading.Thread(target=DriftMonitor(settings, stopping).run)

    running.start()
    try:
        wait_until(lambda: stream.all_of(stream.requests))
    finally:
        stopping.requested = True
        running.join(20)
        stream.stop()

    assert stream.reports()


@pytest.mark.parametrize("lacked", RIGHTS)
def test_without_one_of_them_it_says_which_is_missing(guarded, model_dir, lacked):
    _, outside = guarded
    settings = worker_settings(outside, lacked, model_dir)

    with pytest.raises(NotPermittedError) as refusal:
        Worker(settings, SimpleNamespace(requested=False)).run()

    assert str(refusal.value).startswith(SENTENCES[lacked])
    assert refusal.value.exit_code == 77


def test_a_window_for_duplicates_takes_the_right_to_read_decisions_and_worker_and_doctor_say_so(guarded, model_dir):
    _, outside = guarded
    settings = worker_settings(outside, "all", model_dir, duplicate_window_seconds=60)

    with pytest.raises(NotPermittedError, match=f"^decisions_topic: not permitted to READ topic {NAME}.decisions"):
        Worker(settings, SimpleNamespace(requested=False))
    found = CliRunner().invoke(
        app, ["doctor", *flags("all", outside, model_dir), "--duplicate-window-seconds", "60", "--json"]
    )

    assert found.exit_code == 1
    wrong = [each["told"] for each in json.loads(found.stdout)["findings"] if each["verdict"] == "wrong"]
    assert wrong == [f"we may not READ on topic {NAME}.decisions"]


def test_a_missing_right_ends_the_command_with_77_and_the_doctor_says_how_to_give_it(guarded, model_dir):
    _, outside = guarded
    options = flags("write-decisions", outside, model_dir)

    command = [sys.executable, "-m", "fraudstream", "score", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=os.environ)
    found = CliRunner().invoke(app, ["doctor", *options])
    replayed = CliRunner().invoke(app, ["replay", "diff", "x", *options])

    assert str(replayed.exception) == f"not permitted to READ group {NAME}.replay.x"
    assert done.returncode == 77
    assert SENTENCES["write-decisions"] in done.stderr
    assert found.exit_code == 1
    assert f"we may not WRITE on topic {NAME}.decisions" in found.output
    assert f"--operation Write --topic {NAME}.decisions" in found.output
