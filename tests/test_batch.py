"""A data set is decided as the stream decides it, and every row of it has exactly one outcome."""

import io
from dataclasses import replace

import fastavro
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.parquet as pq
import pytest
from batch_runs import Watched, comparable, decided, score
from prometheus_client import CollectorRegistry

from consumer.decide import Bounds, Decider, Reasons, Roles
from consumer.in_force import InForce
from consumer.loading import rollout_of
from consumer.metrics import WorkerMetrics
from consumer.records import RecordBatch
from consumer.serving import Serving
from consumer.settings import WorkerSettings
from consumer.topics import Topics
from consumer.wire import decision_encoder, transaction_reader
from consumer.worker import Scoring
from fraudstream.batch import tables
from models.train import TrainingSettings, train_to
from producer import sample_path
from producer.encode import encode_avro
from producer.transactions import SEPTEMBER_2013, from_frame
from schemas.dataset import read_dataset
from schemas.decision import Outcome, decision_id
from schemas.errors import ConfigurationError
from schemas.framing import confluent_prefix
from schemas.load import load as load_schema

SETTINGS = WorkerSettings(challenger="two", challenger_share=0.3)
FLAGGED = (Outcome.REVIEW, Outcome.DECLINE)
ROWS = 4_000


@pytest.fixture(scope="module")
def models(tmp_path_factory, sandbox):
    """A champion, and a challenger of some of its features, neither of which has seen the rows that are scored."""
    from models.artifact import load

    home = tmp_path_factory.mktemp("models")
    train_to(home / "one", read_dataset(sample_path()), TrainingSettings(rounds=40))
    some = read_dataset(sample_path(), features=["V14", "Amount", "V4"])
    train_to(home / "two", some, TrainingSettings(rounds=10, seed=8))
    return [load(home / name, sandbox=sandbox) for name in ("one", "two")]


@pytest.fixture(scope="module")
def decider(models):
    roles = Roles("transaction_id", "card_id", "event_time", "amount")
    bounds = Bounds(SETTINGS.earliest_event_time, 86_400_000)
    return Decider(rollout_of(models, SETTINGS), roles, bounds, Reasons(3, FLAGGED))


@pytest.fixture(scope="module")
def data():
    """Real transactions under their public names, a few of their values missing."""
    table = pq.read_table(sample_path()).slice(0, ROWS)
    holes = pa.array(np.random.default_rng(3).random(ROWS) < 0.1)
    at = table.schema.get_field_index("V14")
    return table.set_column(at, "V14", pc.if_else(holes, None, table["V14"])).drop_columns("Class")


@pytest.fixture
def chunks_of(monkeypatch):
    """A function that makes the chunks of a parquet file shorter."""
    return lambda rows: monkeypatch.setattr(tables, "CHUNK_ROWS", rows)


def write(table, path, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".csv":
        pv.write_csv(table, path)
    else:
        pq.write_table(table, path, **options)
    return path


def columns(table, **values):
    """The table with these columns in the place of its own, or added."""
    for name, column in values.items():
        array = column if isinstance(column, pa.Array) else pa.array(column)
        at = table.schema.get_field_index(name)
        table = table.append_column(name, array) if at < 0 else table.set_column(at, name, array)
    return table


def with_ids(table):
    """The table as a team's own, with ids and event times in place of the public `Time`."""
    count = len(table)
    return columns(
        table.drop_columns("Time"),
        transaction_id=[f"purchase-{row}" for row in range(count)],
        card_id=[f"karte-{row % 97 * 31}" for row in range(count)],
        event_time=pa.array(np.arange(count) * 1_000 + SEPTEMBER_2013).cast(pa.timestamp("ms")),
    )


def of_the_stream(path, models, count):
    """What the worker's own scoring makes of the rows of a file that `fraudstream produce` would send, as records."""
    rollout = rollout_of(models, SETTINGS)
    serving = Serving(rollout, (), transaction_reader(SETTINGS, rollout.fields))
    in_force = InForce(lambda: serving, 0.0, WorkerMetrics(CollectorRegistry()))
    topics = Topics(1, 1, 1, 10**6)
    scoring = Scoring(in_force, decision_encoder(SETTINGS), SETTINGS, lambda: topics, lambda *_: None)
    frame = pd_with_label(path)
    rows = from_frame(frame, SEPTEMBER_2013).stretch(0, count)
    values = encode_avro(rows, confluent_prefix(1))
    places = np.zeros(count, np.int32), np.arange(count, dtype=np.int64)
    outbox = scoring(RecordBatch("transactions", [], values, values, *places))
    schema = fastavro.parse_schema(load_schema("decision"))
    sent = [message["value"] for messages in outbox.messages for message in messages.messages]
    return [fastavro.schemaless_reader(io.BytesIO(value[5:]), schema) for value in sent]


def pd_with_label(path):
    """The frame as `fraudstream produce` reads it, which asks for labels."""
    labelled = path.with_suffix(".labelled.parquet")
    pq.write_table(columns(pq.read_table(path), Class=np.zeros(pq.read_metadata(path).num_rows, np.int64)), labelled)
    frame = read_dataset(labelled).frame
    labelled.unlink()
    return frame


def as_in_a_file(record):
    """A decision of the stream, with its digest as text as files have it."""
    model = record["model"] | {"sha256": record["model"]["sha256"].hex()}
    return comparable(record | {"model": model})


def test_a_data_set_is_decided_as_the_stream_decides_what_is_produced_of_it(data, decider, models, tmp_path):
    file = write(data, tmp_path / "day.parquet")

    summary = score(file, tmp_path / "out", decider)

    found = [comparable(record) for record in decided(tmp_path / "out" / "day.parquet")]
    assert found == [as_in_a_file(record) for record in of_the_stream(file, models, ROWS)]
    assert {record["experiment"]["variant"] for record in found} == {"champion", "challenger"}
    assert any(record["reason_codes"] for record in found)
    assert summary.counts.rows == ROWS == sum(summary.counts.outcomes.values())


@pytest.mark.parametrize("rows", [1_000, 77])
def test_how_a_file_is_cut_into_chunks_and_row_groups_changes_nothing(data, decider, chunks_of, tmp_path, rows):
    whole = write(data, tmp_path / "whole" / "day.parquet")
    cut = write(data, tmp_path / "cut" / "day.parquet", row_group_size=900)
    score(whole, tmp_path / "a", decider)

    chunks_of(rows)
    score(cut, tmp_path / "b", decider)

    expected = [comparable(record) for record in decided(tmp_path / "a" / "day.parquet")]
    assert [comparable(record) for record in decided(tmp_path / "b" / "day.parquet")] == expected


def test_csv_is_decided_as_parquet_is(data, decider, monkeypatch, tmp_path):
    monkeypatch.setattr(tables, "_CSV_BLOCK", 100_000)
    for name in ("day.parquet", "day.csv"):
        write(with_ids(data), tmp_path / "in" / name)

    summary = score(tmp_path / "in", tmp_path / "out", decider)

    one, other = (
        [comparable(record) for record in decided(tmp_path / "out" / name)]
        for name in ("day.parquet", "day.csv.parquet")
    )
    assert one == other
    assert summary.counts.rows == 2 * ROWS


def test_a_decision_names_the_file_and_the_row_and_the_same_row_has_the_same_id(data, decider, tmp_path):
    file = write(data, tmp_path / "day.parquet")
    for out in ("a", "b"):
        score(file, tmp_path / out, decider)

    records = decided(tmp_path / "a" / "day.parquet")
    assert [record["source"] for record in records] == [
        {"topic": str(file), "partition": 0, "offset": row} for row in range(ROWS)
    ]
    assert records[7]["decision_id"] == decision_id(str(file), 0, 7, "batch")
    assert [each["decision_id"] for each in decided(tmp_path / "b" / "day.parquet")] == [
        each["decision_id"] for each in records
    ]


def test_ids_that_are_derived_differ_between_the_files_of_a_directory(data, decider, tmp_path):
    for name in ("a.parquet", "b.parquet"):
        write(data.slice(0, 5), tmp_path / "in" / name)

    score(tmp_path / "in", tmp_path / "out", decider)

    ids = [record["transaction_id"] for name in ("a", "b") for record in decided(tmp_path / "out" / f"{name}.parquet")]
    assert ids[0] == "a.parquet/tx-000000000000"
    assert len(set(ids)) == 10


WRONG = {
    "card_id": (None, "MISSING_UNIT"),
    "transaction_id": ("", "MISSING_ID"),
    "event_time": (SEPTEMBER_2013 // 1_000, "EVENT_TIME_OUT_OF_RANGE"),
    "Amount": (None, "NON_FINITE_AMOUNT"),
    "V3": (float("inf"), "NON_FINITE_FEATURE"),
}


@pytest.mark.parametrize("kind", ["parquet", "csv"])
def test_a_row_that_cannot_be_decided_is_a_dead_letter_with_its_reason_and_its_values(data, decider, tmp_path, kind):
    table = with_ids(data.slice(0, 20))
    table = columns(table, event_time=table["event_time"].cast(pa.int64()))
    for row, (name, (value, _)) in enumerate(WRONG.items()):
        values = table[name].to_pylist()
        values[2 * row] = value
        table = columns(table, **{name: values})
    write(table, tmp_path / f"day.{kind}")

    summary = score(tmp_path / f"day.{kind}", tmp_path / "out", decider)

    name = {"parquet": "day.parquet", "csv": "day.csv.parquet"}[kind]
    letters = decided(tmp_path / "out" / "_dead-letters" / name)
    assert {letter["fraudstream.row"]: letter["fraudstream.reason"] for letter in letters} == {
        2 * row: reason for row, (_, reason) in enumerate(WRONG.values())
    }
    assert [letter["fraudstream.message"] for letter in letters][:2] == [
        "the routing unit is missing",
        "the transaction id is missing",
    ]
    assert letters[0]["transaction_id"] == "purchase-0"
    assert [record["source"]["offset"] for record in decided(tmp_path / "out" / name)] == [1, 3, 5, 7, *range(9, 20)]
    assert sum(summary.counts.rejected.values()) == len(letters) == len(WRONG)


def test_cells_of_a_csv_file_that_mean_nothing_are_dead_letters(data, decider, tmp_path):
    file = write(with_ids(data.slice(0, 4)), tmp_path / "day.csv")
    lines = file.read_bytes().splitlines()
    first = lines[1].split(b",")
    lines[1] = b",".join([b"many", *first[1:]])
    lines[2] = lines[2].replace(b"purchase-1", b"purch\xffse")
    lines[3] = lines[3].replace(b"2013-09-01", b"2013-09-31")
    file.write_bytes(b"\n".join(lines) + b"\n")

    score(file, tmp_path / "out", decider)

    letters = decided(tmp_path / "out" / "_dead-letters" / "day.csv.parquet")
    reasons = [(each["fraudstream.row"], each["fraudstream.stage"], each["fraudstream.reason"]) for each in letters]
    assert letters[1]["transaction_id"] == "purch\N{REPLACEMENT CHARACTER}se"
    assert reasons == [(0, "decode", "WRONG_TYPE"), (1, "decode", "BAD_UTF8"), (2, "decode", "WRONG_TYPE")]
    assert [record["transaction_id"] for record in decided(tmp_path / "out" / "day.csv.parquet")] == ["purchase-3"]


def test_lines_with_too_few_or_too_many_fields_are_dead_letters_and_keep_the_numbers_of_the_others(
    data, decider, monkeypatch, tmp_path
):
    monkeypatch.setattr(tables, "_CSV_BLOCK", 2_000)
    file = write(with_ids(data.slice(0, 12)), tmp_path / "day.csv")
    header, *lines = file.read_bytes().splitlines()
    lines[0], lines[5], lines[6], lines[11] = b"a,b", lines[5] + b",1", b"c", b"d"
    file.write_bytes(b"\n".join([header, *lines]) + b"\n")

    summary = score(file, tmp_path / "out", decider)

    records = decided(tmp_path / "out" / "day.csv.parquet")
    assert [record["source"]["offset"] for record in records] == [1, 2, 3, 4, 7, 8, 9, 10]
    assert [record["transaction_id"] for record in records][-1] == "purchase-10"
    letters = decided(tmp_path / "out" / "_dead-letters" / "day.csv.parquet")
    assert [each["fraudstream.row"] for each in letters] == [0, 5, 6, 11]
    assert letters[1]["fraudstream.message"] == "the line has 33 fields, not 32"
    assert summary.counts.rejected == {"BROKEN_LINE": 4}


def test_a_csv_file_of_broken_lines_alone_is_given_up_and_takes_no_memory(decider, monkeypatch, tmp_path):
    monkeypatch.setattr(tables, "_MOST_BROKEN", 10)
    monkeypatch.setattr(tables, "_CSV_BLOCK", 100)
    (tmp_path / "day.csv").write_text("event_time,amount,V1\n" + "1;2;3\n" * 1_000)
    own = replace(decider, rollout=replace(decider.rollout, arms=()))

    summary = score(tmp_path / "day.csv", tmp_path / "out", own)

    assert "has too many lines without a field for each of its columns" in str(summary.failed["day.csv"])


def test_a_line_break_within_quotes_ends_no_row(data, decider, monkeypatch, tmp_path):
    monkeypatch.setattr(tables, "_CSV_BLOCK", 1_500)
    write(columns(with_ids(data.slice(0, 30)), note=['one\n"line"\n' * 20] * 30), tmp_path / "day.csv")

    summary = score(tmp_path / "day.csv", tmp_path / "out", decider)

    assert (summary.counts.rows, summary.counts.rejected) == (30, {})


def test_dead_letters_that_were_mended_can_be_scored_again(data, decider, tmp_path):
    table = with_ids(data.slice(0, 3))
    write(columns(table, card_id=["k", None, "k"]), tmp_path / "day.parquet")
    score(tmp_path / "day.parquet", tmp_path / "out", decider)

    letters = pq.read_table(tmp_path / "out" / "_dead-letters" / "day.parquet")
    write(columns(letters, card_id=["k"]), tmp_path / "mended.parquet")
    score(tmp_path / "mended.parquet", tmp_path / "out", decider)

    whole = write(columns(table, card_id=["k"] * 3), tmp_path / "whole.parquet")
    score(whole, tmp_path / "out", decider)
    expected = comparable(decided(tmp_path / "out" / "whole.parquet")[1])
    assert [comparable(record) for record in decided(tmp_path / "out" / "mended.parquet")] == [expected]


def test_nan_is_a_missing_value_as_it_is_in_training(data, decider, tmp_path):
    null, nan = (pa.array([value] * 3, pa.float64()) for value in (None, float("nan")))
    write(columns(data.slice(0, 3), V1=null), tmp_path / "null.parquet")
    write(columns(data.slice(0, 3), V1=nan), tmp_path / "nan.parquet")

    for name in ("null", "nan"):
        score(tmp_path / f"{name}.parquet", tmp_path / "out", decider)

    one, other = ([comparable(each) for each in decided(tmp_path / "out" / f"{n}.parquet")] for n in ("null", "nan"))
    assert one == other


def test_roles_are_found_under_the_names_that_the_settings_give(data, decider, tmp_path):
    renamed = {"transaction_id": "beleg", "card_id": "karte", "event_time": "zeit", "Amount": "betrag"}
    table = with_ids(data.slice(0, 50))
    write(table, tmp_path / "plain.parquet")
    write(table.rename_columns([renamed.get(name, name) for name in table.column_names]), tmp_path / "own.parquet")
    own = replace(decider, roles=Roles("beleg", "karte", "zeit", "betrag"))

    score(tmp_path / "plain.parquet", tmp_path / "a", decider)
    score(tmp_path / "own.parquet", tmp_path / "b", own)

    assert [comparable(record) for record in decided(tmp_path / "a" / "plain.parquet")] == [
        comparable(record) for record in decided(tmp_path / "b" / "own.parquet")
    ]


def test_a_role_that_is_named_and_not_there_is_never_derived(data, decider, tmp_path):
    write(data.slice(0, 5), tmp_path / "day.parquet")
    own = replace(decider, roles=replace(decider.roles, unit="customer"))

    summary = score(tmp_path / "day.parquet", tmp_path / "out", own)

    assert str(summary.failed["day.parquet"]) == f"{tmp_path / 'day.parquet'} has no column 'customer'"


def test_directories_keep_their_shape_and_hidden_files_are_passed_over(data, decider, tmp_path):
    few = data.slice(0, 3)
    for name in ("day=1/a.parquet", "day=2/a.parquet", "day=2/a.csv", "_temporary/b.parquet", "day=1/.c.parquet"):
        write(few, tmp_path / "in" / name)
    (tmp_path / "in" / "_SUCCESS").touch()
    (tmp_path / "in" / "notes.txt").write_text("notes")
    watched = Watched()

    score(tmp_path / "in", tmp_path / "out", decider, watched=watched)

    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.parquet"))
    assert found == ["day=1/a.parquet", "day=2/a.csv.parquet", "day=2/a.parquet"]
    assert watched.rows == 9


def test_two_files_that_would_become_one_are_refused_before_anything_is_scored(data, decider, tmp_path):
    write(data.slice(0, 3), tmp_path / "in" / "a.csv")
    write(data.slice(0, 3), tmp_path / "in" / "a.csv.parquet")

    with pytest.raises(ConfigurationError, match=r"a\.csv\.parquet and .*a\.csv would both become"):
        score(tmp_path / "in", tmp_path / "out", decider)
    assert not (tmp_path / "out").exists()


def test_the_rows_of_an_empty_file_with_columns_are_none(data, decider, tmp_path):
    write(data.slice(0, 0), tmp_path / "in" / "a.parquet")
    write(with_ids(data.slice(0, 0)), tmp_path / "in" / "b.csv")

    summary = score(tmp_path / "in", tmp_path / "out", decider)

    assert summary.scored == ["a.parquet", "b.csv"]
    assert decided(tmp_path / "out" / "a.parquet") == decided(tmp_path / "out" / "b.csv.parquet") == []
