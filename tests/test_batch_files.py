"""Files of a data set: finished ones are whole and stay, bad ones are named and spoil no other, and a run goes on."""

import json
import os
import resource
import shutil
import signal
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq
import pytest
from batch_runs import Watched, decided, score
from served import document, put
from typer.testing import CliRunner

from consumer.decide import Bounds, Decider, Reasons, Roles, Thresholds
from consumer.loading import rollout_of
from consumer.settings import WorkerSettings
from fraudstream.__main__ import app
from fraudstream.batch import tables
from fraudstream.commands import batch as command
from models.artifact import load as load_alone
from models.manifest import Policy
from models.registry import Registry
from models.store import open_store
from models.train import TrainingSettings, train_to
from producer import sample_path
from schemas.dataset import read_dataset
from schemas.errors import ConfigurationError, FraudstreamError


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    out = tmp_path_factory.mktemp("models") / "model"
    train_to(out, read_dataset(sample_path()), TrainingSettings(rounds=5, version="1"))
    return out


@pytest.fixture(scope="module")
def decider(model_dir, sandbox):
    roles = Roles("transaction_id", "card_id", "event_time", "amount")
    rollout = rollout_of([load_alone(model_dir, sandbox=sandbox)], WorkerSettings())
    return Decider(rollout, roles, Bounds(946_684_800_000, 86_400_000), Reasons(3, ()))


@pytest.fixture(scope="module")
def other(decider):
    """The same model under another threshold."""
    (arm,) = decider.rollout.arms
    stricter = replace(arm, thresholds=Thresholds("stricter", 0.001, 0.002))
    return replace(decider, rollout=replace(decider.rollout, arms=(stricter,)))


@pytest.fixture(scope="module")
def data():
    return pq.read_table(sample_path()).slice(0, 3_000)


@pytest.fixture
def source(data, tmp_path):
    """A directory with two files."""
    for name, start in (("a.parquet", 0), ("c.parquet", 500)):
        write(data.slice(start, 500), tmp_path / "in" / name)
    return tmp_path / "in"


@pytest.fixture
def short_chunks(monkeypatch):
    monkeypatch.setattr(tables, "CHUNK_ROWS", 100)


def write(table, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **options)
    return path


def files_in(out):
    """All that lies below ``out`` but its lock."""
    return sorted(p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file() and not p.name.endswith(".lock"))


def damaged(content):
    """With bytes in the middle of it that are not those that were written, which its checksums tell."""
    middle = len(content) // 2
    return content[:middle] + bytes(64) + content[middle + 64 :]


def rewritten(**columns):
    """A function from a good file to one with other columns: None takes one away."""

    def change(path):
        table = pq.read_table(path)
        for name, values in columns.items():
            table = table.drop_columns(name)
            table = table if values is None else table.append_column(name, pa.array(values(len(table))))
        pq.write_table(table, path)

    return change


BAD = {
    "it is empty": (lambda path: path.write_bytes(b""), "is empty"),
    "it is no parquet": (lambda path: path.write_text("time,amount"), "cannot be read, or is only half written"),
    "it is half written": (lambda path: path.write_bytes(path.read_bytes()[:2_000]), "cannot be read, or is only half"),
    "it is damaged": (lambda path: path.write_bytes(damaged(path.read_bytes())), "cannot be read, or is only half"),
    "it lacks a feature": (rewritten(V7=None), "has no column 'V7'"),
    "it lacks the time": (rewritten(Time=None), "has no column 'event_time' or 'time' or 'Time'"),
    "a feature is a text": (
        rewritten(V7=lambda n: ["1.5"] * n),
        "column 'V7' is of type string, and a number is needed",
    ),
    "the amount is a list": (
        rewritten(Amount=lambda n: [[1.0]] * n),
        "column 'Amount' is of type list",
    ),
    "not one row can be decided": (
        rewritten(Amount=lambda n: pa.nulls(n, pa.float64())),
        r"none of its 500 rows can be decided \(NON_FINITE_AMOUNT 500\)",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_named_in_a_sentence_and_the_others_are_scored(data, decider, source, tmp_path, what):
    bad = write(data.slice(0, 500), source / "b.parquet", write_page_checksum=True)
    spoil, sentence = BAD[what]
    spoil(bad)
    watched = Watched()

    summary = score(source, tmp_path / "out", decider, watched=watched)

    assert summary.scored == ["a.parquet", "c.parquet"]
    assert files_in(tmp_path / "out") == ["a.parquet", "c.parquet"]
    (failure,) = watched.failures
    assert failure == str(summary.failed["b.parquet"])
    assert failure.startswith(str(bad))
    assert "\n" not in failure
    with pytest.raises(FraudstreamError, match=sentence):
        raise summary.failed["b.parquet"]


def test_a_csv_file_without_columns_is_named(decider, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_text("\n\n")
    (tmp_path / "in" / "b.csv").write_text("amount,amount\n1,2\n")
    (tmp_path / "in" / "c.csv").write_text('"V1\n' + "1,2\n" * 10)

    summary = score(tmp_path / "in", tmp_path / "out", decider)

    assert [str(error).removeprefix(f"{tmp_path}/in/") for error in summary.failed.values()] == [
        "a.csv has no line with the names of its columns",
        "b.csv has no column 'event_time' or 'time' or 'Time'",
        "c.csv has no column 'event_time' or 'time' or 'Time'",
    ]


def test_two_columns_of_one_name_are_refused(data, decider, tmp_path):
    write(data.append_column("V1", data["V2"]), tmp_path / "a.parquet")

    summary = score(tmp_path / "a.parquet", tmp_path / "out", decider)

    assert str(summary.failed["a.parquet"]).endswith("has two columns 'V1'")


def test_a_file_that_is_finished_is_not_scored_again(decider, source, tmp_path):
    score(source, tmp_path / "out", decider)
    before = [(tmp_path / "out" / name).stat().st_ino for name in files_in(tmp_path / "out")]

    summary = score(source, tmp_path / "out", decider)

    assert summary.finished_before == ["a.parquet", "c.parquet"]
    assert not summary.scored
    assert summary.counts.rows == 0
    assert [(tmp_path / "out" / name).stat().st_ino for name in files_in(tmp_path / "out")] == before


def test_a_file_that_was_copied_is_the_same_and_one_of_other_content_is_scored_again(data, decider, source, tmp_path):
    score(source, tmp_path / "out", decider)
    shutil.copy(source / "a.parquet", tmp_path / "copy")
    (tmp_path / "copy").replace(source / "a.parquet")
    write(data.slice(0, 7), source / "c.parquet")

    summary = score(source, tmp_path / "out", decider)

    assert (summary.finished_before, summary.scored) == (["a.parquet"], ["c.parquet"])
    assert len(decided(tmp_path / "out" / "c.parquet")) == 7


def test_what_other_thresholds_decided_is_kept_unless_it_may_be_replaced(decider, other, source, tmp_path):
    score(source, tmp_path / "out", decider)
    write(pq.read_table(source / "a.parquet"), source / "0.parquet")

    with pytest.raises(ConfigurationError, match=r"a\.parquet was decided by card-fraud@1, or under other settings"):
        score(source, tmp_path / "out", other)
    assert files_in(tmp_path / "out") == ["a.parquet", "c.parquet"]

    summary = score(source, tmp_path / "out", other, overwrite=True)
    assert summary.scored == ["0.parquet", "a.parquet", "c.parquet"]


def test_a_file_that_something_else_wrote_is_never_replaced(data, decider, source, tmp_path):
    write(data.slice(0, 1), tmp_path / "out" / "a.parquet")

    for overwrite in (False, True):
        with pytest.raises(ConfigurationError, match=r"a\.parquet is there already, and .* did not write it"):
            score(source, tmp_path / "out", decider, overwrite=overwrite)


def test_dead_letters_of_rows_that_are_good_now_are_taken_away(data, decider, tmp_path):
    rewritten(Amount=lambda n: [None, *([1.0] * (n - 1))])(write(data.slice(0, 9), tmp_path / "a.parquet"))
    score(tmp_path / "a.parquet", tmp_path / "out", decider)
    assert files_in(tmp_path / "out") == ["_dead-letters/a.parquet", "a.parquet"]

    write(data.slice(0, 9), tmp_path / "a.parquet")
    score(tmp_path / "a.parquet", tmp_path / "out", decider)

    assert files_in(tmp_path / "out") == ["a.parquet"]


@pytest.mark.usefixtures("short_chunks")
@pytest.mark.parametrize("chunks", [0, 1, 4, 5, 7])
def test_a_run_that_was_stopped_leaves_whole_files_and_goes_on_from_there(decider, source, tmp_path, chunks):
    summary = score(source, tmp_path / "out", decider, watched=Watched(most=chunks))

    whole = ["a.parquet"] if chunks >= 5 else []
    assert summary.interrupted
    assert (files_in(tmp_path / "out"), summary.scored) == (whole, whole)

    rest = score(source, tmp_path / "out", decider)
    assert (rest.finished_before, rest.scored + whole) == (
        whole,
        sorted({"a.parquet", "c.parquet"} - set(whole)) + whole,
    )
    assert sum(len(decided(tmp_path / "out" / name)) for name in ("a.parquet", "c.parquet")) == 1_000


@pytest.mark.usefixtures("short_chunks")
def test_what_a_killed_run_began_is_written_over(decider, source, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".a.parquet.partial").write_bytes(b"PAR1 and then the power went")

    score(source, tmp_path / "out", decider)

    assert files_in(tmp_path / "out") == ["a.parquet", "c.parquet"]
    assert len(decided(tmp_path / "out" / "a.parquet")) == 500


@pytest.mark.usefixtures("short_chunks")
def test_a_file_that_changes_while_it_is_read_is_given_up(data, decider, source, tmp_path):
    class Meddler(Watched):
        def chunk(self, rows, share):
            super().chunk(rows, share)
            if self.chunks == 2:
                write(data.slice(0, 600), source / "a.parquet")

    summary = score(source, tmp_path / "out", decider, watched=Meddler())

    assert str(summary.failed["a.parquet"]) == f"{source / 'a.parquet'} was changed while it was read"
    assert files_in(tmp_path / "out") == ["c.parquet"]


@pytest.mark.usefixtures("short_chunks")
def test_two_runs_do_not_write_to_one_place(decider, source, tmp_path):
    class Second(Watched):
        def begins(self, file):
            if not self.begun:
                super().begins(file)
                with pytest.raises(FraudstreamError, match="another run is writing to"):
                    score(source, tmp_path / "out", decider)

    summary = score(source, tmp_path / "out", decider, watched=Second())

    assert summary.scored == ["a.parquet", "c.parquet"]


def test_a_place_that_cannot_be_written_ends_the_run(decider, source, tmp_path):
    (tmp_path / "out").write_text("a file")

    with pytest.raises(FraudstreamError, match=r"out: File exists|out: Not a directory"):
        score(source, tmp_path / "out", decider)


def test_a_full_disk_ends_the_run_without_half_a_file(decider, source, tmp_path):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, before[1]))
    try:
        summary = score(source, tmp_path / "out", decider)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert "File too large" in str(summary.failed["a.parquet"])
    assert summary.failed["a.parquet"].exit_code == 1
    assert summary.left == ["a.parquet", "c.parquet"]
    assert files_in(tmp_path / "out") == []


POOLS = []
"""Buffers may outlive a test, and must not outlive the pool that they came from."""


def peak(work):
    """The most bytes that Arrow and Python held at a time."""
    before, pool = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    POOLS.append(pool)
    pa.set_memory_pool(pool)
    tracemalloc.start()
    try:
        work()
        return pool.max_memory() + tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(before)


@pytest.mark.parametrize("kind", ["parquet", "one row group", "csv"])
def test_a_file_three_times_as_long_takes_the_same_memory(data, decider, monkeypatch, tmp_path, kind):
    monkeypatch.setattr(tables, "CHUNK_ROWS", 300)
    monkeypatch.setattr(tables, "_CSV_BLOCK", 2**16)
    monkeypatch.setattr(tables, "_BUFFER", 2**12)
    for times in (4, 12):
        table = pa.concat_tables([data] * times)  # 40 chunks at least, so that all that is held at a time is full
        if kind == "csv":
            pv.write_csv(table, tmp_path / f"{times}.csv")
        else:
            group = 700 if kind == "parquet" else 10**6
            pq.write_table(table, tmp_path / f"{times}.parquet", group, use_dictionary=False, compression=None)
    name = "{}.csv" if kind == "csv" else "{}.parquet"

    shorter, longer = (
        peak(lambda times=times: score(tmp_path / name.format(times), tmp_path / "out", decider)) for times in (4, 12)
    )

    assert longer < 1.25 * shorter


@pytest.fixture
def run(model_dir, source, tmp_path, monkeypatch):
    """A function that calls the command in a directory with the model and the data, where the terminal is wide."""
    shutil.copytree(model_dir, tmp_path / "model")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    return lambda *words: CliRunner().invoke(app, ["batch", *words], catch_exceptions=False)


def test_the_command_says_what_became_of_all_rows_and_goes_on_where_one_failed(run, source):
    (source / "b.parquet").write_bytes(b"PAR1")
    (source / "notes.txt").touch()

    first = run("--in", "in", "--out", "out", "--model", "model", "--reason-codes", "0")
    again = run("--in", "in", "--out", "out", "--model", "model", "--reason-codes", "0", "--json")

    assert (first.exit_code, again.exit_code) == (78, 78)
    assert first.stderr.startswith("fraudstream: in/b.parquet cannot be read, or is only half written: ")
    lines = first.stdout.splitlines()
    assert lines[0].startswith("1,000 rows in ")
    assert lines[0].endswith("/s), by card-fraud@1")
    assert lines[1].startswith("decisions ")
    assert [line.split() for line in lines[2:]] == [
        ["files", "scored", "2"],
        ["files", "failed", "1"],
        ["files", "passed", "over", "1"],
    ]
    summary = json.loads(again.stdout)
    assert summary["files"]["finished_before"] == ["a.parquet", "c.parquet"]
    assert list(summary["files"]["failed"]) == ["b.parquet"]
    assert (summary["rows"], summary["interrupted"]) == (0, False)


@pytest.mark.usefixtures("short_chunks")
def test_ctrl_c_ends_with_130_and_leaves_nothing_half(run, tmp_path, monkeypatch):
    before = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(command._Bar, "chunk", lambda *_: os.kill(os.getpid(), signal.SIGINT))

    stopped = run("--in", "in/a.parquet", "--out", "out", "--model", "model")

    assert stopped.exit_code == 130
    assert "stopped: the same command goes on from here" in stopped.stdout
    assert files_in(tmp_path / "out") == []
    assert signal.getsignal(signal.SIGINT) is before


def test_a_published_model_is_named_by_its_version(run):
    registry = CliRunner().invoke(app, ["models", "publish", "model", "--store", "store"], catch_exceptions=False)
    done = run("--in", "in/a.parquet", "--out", "out", "--model", "card-fraud@1", "--store", "store", "--json")

    assert registry.exit_code == done.exit_code == 0
    assert json.loads(done.stdout)["models"] == "card-fraud@1"
    assert {record["model"]["version"] for record in decided("out/a.parquet")} == {"1"}


def test_a_rollout_of_the_store_decides_with_its_split_and_its_policy(run, small_models, tmp_path):
    store = open_store(str(tmp_path / "store"))
    for version in ("1", "few"):
        Registry(store).publish(small_models[version])
    policy = Policy("of-the-rollout", 0.3, 0.6)
    put(store, document("1", challenger=("few", 0.4), shadows=("3",), policy=policy))

    done = run("--in", "in/a.parquet", "--out", "out", "--rollout", "current", "--store", "store")

    assert done.exit_code == 0
    records = decided("out/a.parquet")
    assert {(record["experiment"]["variant"], record["model"]["version"]) for record in records} == {
        ("champion", "1"),
        ("challenger", "few"),
    }
    assert {(record["experiment"]["epoch"], record["policy"]["version"]) for record in records} == {
        (1, "of-the-rollout")
    }


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--in", "in", "--out", "out"], "say what decides: --model with the directory of a model"),
        (["--in", "in", "--out", "out", "--model", "card-fraud@1"], "store: say where models are kept"),
        (["--in", "in", "--out", "out", "--model", "model", "--rollout", "1"], "give either --model or --rollout"),
        (
            ["--in", "elsewhere", "--out", "out"],
            r"there is no file at or below elsewhere that ends in \.parquet or \.csv",
        ),
        (["--in", "model/model.ubj", "--out", "out"], r"model\.ubj ends in neither \.parquet nor \.csv"),
        (["--in", "in", "--out", "in/out"], "in/out lies in in: its files would be the input of the next run"),
        (["--in", "in/a.parquet", "--out", "scored.parquet"], r"scored\.parquet is called like a file"),
        (["--in", "ftp://in", "--out", "out"], "is neither s3://bucket/prefix nor a directory"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_read(run, words, sentence):
    with pytest.raises(ConfigurationError, match=sentence):
        run(*words)
    assert not Path("out").exists()
