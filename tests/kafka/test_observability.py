"""A real Prometheus scrapes a real run: no panel of a dashboard is empty, and no rule asks for what is not there."""

import json
import math

import pytest
from otlp_collector import running_collector
from prometheus_server import Prometheus, alerts, as_question, dashboards, expressions, rules, variables
from served import document, put
from worker_stream import Load, address_of, transactions, wait_until

from drift.baseline_file import to_bytes
from drift.model_baseline import baseline_of, training_period
from models.artifact import from_files
from models.folder import FolderStore
from models.registry import Registry
from producer import sample_path
from schemas.dataset import read_dataset

A_SECOND = 400
STEP_SECONDS = 60.0
"""Of event time between two transactions: a window of a day is complete after 1,440 of them."""


@pytest.fixture
def store(tmp_path, small_models):
    """A rollout with a challenger, a variant whose model is in no store, and a shadow."""
    made = FolderStore(tmp_path / "store")
    for version in ("1", "2", "3"):
        Registry(made).publish(small_models[version])
    put(made, document("1", challenger=("2", 0.3), broken=("9", 0.1), shadows=("3",)))
    return made


@pytest.fixture
def stream(stream_of, kafka):
    made = stream_of()
    for topic in (f"{made.name}.drift", f"{made.name}.requests"):
        kafka.create_topic(topic)
    return made


def mixed(sample):
    """Real transactions without end, one in 200 of them cut short as well."""
    rows = [row | {"time": STEP_SECONDS * number} for number, row in enumerate(sample)]
    for number, (key, value) in enumerate(transactions(rows, 10**9)):
        yield key, value
        if number % 200 == 0:
            yield key, value[:40]


@pytest.fixture
def collector():
    with running_collector() as made:
        yield made


@pytest.fixture
def baseline(small_models, sandbox, tmp_path):
    """The file of the baseline of the control; the challenger has none."""
    model = from_files(small_models["1"], "a test", sandbox=sandbox)
    expected = baseline_of(model.manifest, training_period(model, read_dataset(sample_path()), "the sample"))
    path = tmp_path / "1.npz"
    path.write_bytes(to_bytes(expected))
    return path


def test_every_panel_and_every_rule_finds_what_it_asks_for(
    stream, store, baseline, sample, tool, collector, capfd, tmp_path
):
    program = tool("prometheus")
    worker = stream.start(
        *("--store", store.root, "--rollout-poll-seconds", "0.5", "--sample-rate", "1"),
        *("--consumer-kafka", "statistics.interval.ms=500", "--otlp-endpoint", collector.url),
        *("--emf-seconds", "1"),
    )
    monitor = stream.run(
        ("drift", "run"),
        *("--drift-topic", f"{stream.name}.drift", "--retrain-topic", f"{stream.name}.requests"),
        *("--drift-metrics-port", "0", "--drift-baselines", baseline),
    )
    processes = {"fraudstream-worker": worker, "fraudstream-monitor": monitor}
    targets = {job: [address_of(each).removeprefix("http://")] for job, each in processes.items()}

    with Load(stream, mixed(sample), A_SECOND), Prometheus(program, tmp_path, targets).running() as prometheus:
        asked = {(name, *panel) for name, page in dashboards().items() for panel in expressions(page)}
        asked |= {("alert", rule["alert"], as_question(rule["expr"])) for rule in alerts()}
        asked |= {("record", rule["record"], rule["record"]) for rule in rules() if "record" in rule}
        missing = set(asked)

        def all_found():
            nonlocal missing
            missing = {each for each in missing if all(math.isnan(value) for _, value in prometheus.answer(each[-1]))}
            return not missing

        try:
            wait_until(all_found, seconds=90)
        except AssertionError:
            pytest.fail("nothing to be seen of:\n" + "\n".join(" | ".join(each) for each in sorted(missing)))
        for name, page in dashboards().items():
            for series, label in variables(page):
                assert any(label in labels for labels, _ in prometheus.answer(series)), (name, series, label)
        assert prometheus.unhealthy_rules() == {}
        wait_until(lambda: collector.spans)
        assert {span.name for span in collector.spans} == {f"process {stream.input}"}
    told = [json.loads(line) for line in capfd.readouterr().out.splitlines() if line.startswith('{"_aws"')]
    assert sum(each["fraudstream_records_total"] for each in told) > A_SECOND
    assert {each["slot"].rpartition(".")[0] for each in told} == {each["group"] for each in told}
