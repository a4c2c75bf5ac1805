"""`fraudstream rollout`: what a person types, sees and gets back as an exit code."""

import json
from dataclasses import dataclass, replace

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from fraudstream.__main__ import app
from fraudstream.commands.rollout import parse_share
from models.artifact import read_directory
from models.folder import FolderStore
from models.manifest import MANIFEST_FILE, Member, from_json, to_json
from models.registry import Registry
from models.rollout_store import RolloutStore
from models.sandbox import Sandbox
from models.signature import sign_directory
from models.store import ConflictError, NotStoredError, StoreUnavailableError, open_store
from models.train import TrainingSettings, train_to
from producer import sample_path
from schemas.dataset import read_dataset
from schemas.errors import BadModelError, ConfigurationError, FraudstreamError

FIRST = ("promote", "card-fraud@1", "--why", "the first one")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The files of a model, by name."""
    path = tmp_path_factory.mktemp("models") / "model"
    train_to(path, read_dataset(sample_path()), TrainingSettings(version="1", rounds=5))
    return read_directory(path)


@pytest.fixture
def registry(files, tmp_path):
    """A store in a folder with three versions of one model."""
    registry = Registry(FolderStore(tmp_path / "store"))
    publish(registry, files)
    return registry


def publish(registry, files):
    manifest = from_json(files[MANIFEST_FILE], "manifest")
    for version in ("1", "2", "3"):
        registry.publish({**files, MANIFEST_FILE: to_json(replace(manifest, version=version))})


@dataclass
class Shared:
    """A sandbox that stays when it is closed."""

    sandbox: Sandbox

    def check(self, files, source):
        self.sandbox.check(files, source)

    def close(self):
        pass


@pytest.fixture
def run(registry, sandbox, tmp_path, monkeypatch):
    """Runs `fraudstream rollout …` as alice on that store; models are tried in the sandbox that all tests share."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FRAUDSTREAM_STORE", "store")
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("LOGNAME", "alice")
    monkeypatch.setattr("models.sandbox.Sandbox", lambda: Shared(sandbox))
    return lambda *words: CliRunner().invoke(app, ["rollout", *words], catch_exceptions=False)


@pytest.fixture
def kept(registry):
    return RolloutStore(registry.store)


def answer(result):
    return json.loads(result.stdout)


def shares(document):
    return {each.version: each.share for each in document.variants}


def test_a_story_from_the_first_rollout_to_a_rollback(run, kept):
    for words in (
        FIRST,
        ("shadow", "card-fraud@2"),
        ("ramp", "challenger", "5%"),
        ("ramp", "card-fraud@2", "0.2"),
        ("promote", "challenger"),
        ("rollback", "--why", "declines doubled"),
    ):
        assert run(*words).exit_code == 0

    history = kept.history()
    assert [(each.epoch, each.changed.what) for each in history] == [
        (1, "promote card-fraud@1"),
        (2, "shadow card-fraud@2"),
        (3, "ramp challenger (card-fraud@2) to 5%"),
        (4, "ramp challenger (card-fraud@2) to 20%"),
        (5, "promote card-fraud@2"),
        (6, "roll back to 4"),
    ]
    assert [shares(each) for each in history[-2:]] == [{"card-fraud@2": 1}, {"card-fraud@1": 0.8, "card-fraud@2": 0.2}]
    assert {each.changed.who for each in history} == {"alice"}
    assert history[-1].changed.why == "declines doubled"


def test_a_version_that_the_input_can_feed_gets_no_warning(run):
    assert run(*FIRST).stderr.strip() == ""


def test_each_change_says_what_it_changes_and_where_it_is_in_force(run):
    run(*FIRST)

    said = run("ramp", "card-fraud@2", "5%", "--why", "looks good [so far]", "--by", "bob").stdout.splitlines()

    assert said[0] == "Rollout 1 → 2: ramp challenger (card-fraud@2) to 5%, by bob: looks good [so far]"
    assert said[1] == "  5% of the cards: champion (card-fraud@1) → challenger (card-fraud@2)"
    assert said[2].startswith("Rollout 2 is in force in ")


def test_the_first_rollout_routes_by_the_unit_of_the_settings(run, kept, monkeypatch):
    monkeypatch.setenv("FRAUDSTREAM_UNIT_FIELD", "account")

    said = run(*FIRST).stdout

    assert "100% of the cards: champion (card-fraud@1)" in said
    assert kept.current()[0].unit == "account"


@pytest.mark.parametrize(
    "words",
    [
        ("promote", "card-fraud@2"),
        ("ramp", "card-fraud@2", "5%"),
        ("shadow", "card-fraud@2"),
        ("set", "wanted.json"),
        ("rollback", "--to", "1"),
    ],
    ids=lambda words: words[0],
)
def test_a_dry_run_says_the_same_and_writes_nothing(run, kept, tmp_path, words):
    wanted = {"variants": [{"name": "champion", "version": "card-fraud@3"}]}
    (tmp_path / "wanted.json").write_text(json.dumps(wanted))
    run(*FIRST)
    run("ramp", "card-fraud@3", "1%")
    before = kept.current()

    dry = run(*words, "--dry-run")

    assert kept.current() == before
    assert "Nothing was written: --dry-run." in dry.stdout
    real = run(*words)
    assert real.stdout.splitlines()[:-1] == dry.stdout.splitlines()[:-1]
    assert kept.current()[0].variants != before[0].variants or kept.current()[0].shadows


def test_what_changes_nothing_writes_nothing_and_says_so(run, kept):
    run(*FIRST)

    result = run("promote", "card-fraud@1")

    assert result.exit_code == 0
    assert result.stdout.startswith("Nothing was written: rollout 1 in")
    assert len(kept.history()) == 1


def test_json_tells_machines_what_a_change_changed(run):
    first = answer(run(*FIRST, "--json"))
    ramped = answer(run("ramp", "card-fraud@2", "5%", "--json"))
    tried = answer(run("ramp", "card-fraud@2", "6%", "--json", "--dry-run"))

    assert (tried["written"], tried["difference"]["moved"], tried["rollout"]["epoch"]) == (False, 0.01, 3)
    assert (first["written"], first["difference"], first["rollout"]["epoch"]) == (True, None, 1)
    assert (ramped["written"], ramped["difference"]["moved"], ramped["rollout"]["epoch"]) == (True, 0.05, 2)
    assert ramped["difference"]["moves"] == [
        {
            "source": {"variant": "champion", "version": "card-fraud@1", "backend": "xgboost"},
            "target": {"variant": "challenger", "version": "card-fraud@2", "backend": "xgboost"},
            "share": 0.05,
        }
    ]


@pytest.mark.parametrize("command", [("promote",), ("ramp",), ("shadow",)])
def test_a_version_that_is_not_published_does_not_serve(run, kept, command):
    run(*FIRST)
    share = ["5%"] if command == ("ramp",) else []

    with pytest.raises(NotStoredError, match="card-fraud@9 is not published in") as refusal:
        run(*command, "card-fraud@9", *share)
    assert refusal.value.exit_code == 78
    assert len(kept.history()) == 1


def test_a_version_that_does_not_load_does_not_serve(run, kept, registry, files):
    manifest = from_json(files[MANIFEST_FILE], "manifest")
    wrong = tuple(replace(row, score=row.score / 2) for row in manifest.golden_rows)
    lying = replace(manifest, version="4", golden_rows=wrong)
    registry.publish({**files, MANIFEST_FILE: to_json(lying)})
    run(*FIRST)

    with pytest.raises(BadModelError, match="card-fraud@4 was refused on trial"):
        run("ramp", "card-fraud@4", "5%")
    assert len(kept.history()) == 1


def test_with_public_keys_an_unsigned_version_does_not_serve(run, kept, tmp_path, files, registry, monkeypatch):
    public, private = key_pair(tmp_path)
    (tmp_path / "signed").mkdir()
    for name, content in files.items():
        (tmp_path / "signed" / name).write_bytes(content)
    manifest = from_json(files[MANIFEST_FILE], "manifest")
    (tmp_path / "signed" / MANIFEST_FILE).write_bytes(to_json(replace(manifest, version="signed")))
    sign_directory(tmp_path / "signed", private)
    registry.publish(read_directory(tmp_path / "signed"))
    monkeypatch.setenv("FRAUDSTREAM_MODEL_PUBLIC_KEYS", json.dumps([str(public)]))

    with pytest.raises(BadModelError, match="sig"):
        run("promote", "card-fraud@1")
    assert kept.history() == []
    assert run("promote", "card-fraud@signed").exit_code == 0


def key_pair(folder):
    """The file of a public key, and its private key."""
    private = Ed25519PrivateKey.generate()
    pem = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (folder / "public.pem").write_bytes(pem)
    return folder / "public.pem", private


def test_a_version_that_the_input_of_these_settings_cannot_feed_is_warned_of(run, kept, tmp_path, monkeypatch):
    fields = [{"name": name, "type": "double"} for name in ("Amount", *(f"V{number}" for number in range(1, 28)))]
    schema = {"type": "record", "name": "Transaction", "fields": fields}
    (tmp_path / "input.avsc").write_text(json.dumps(schema))
    monkeypatch.setenv("FRAUDSTREAM_INPUT_SCHEMA", "input.avsc")

    result = run(*FIRST)

    assert result.exit_code == 0
    assert "card-fraud@1 needs features that the input does not have: V28, amount; a worker with these" in result.stderr
    assert kept.current()[0].epoch == 1


def test_a_bad_challenger_can_be_taken_out_and_replaced_while_the_champion_in_the_store_is_damaged(run, kept, tmp_path):
    run(*FIRST)
    run("ramp", "card-fraud@2", "5%")
    (tmp_path / "store" / "models" / "card-fraud" / "1" / "model.ubj").write_bytes(b"{")

    run("ramp", "challenger", "0%")
    assert shares(kept.current()[0]) == {"card-fraud@1": 1}
    run("ramp", "card-fraud@3", "1%")
    assert shares(kept.current()[0]) == {"card-fraud@1": 0.99, "card-fraud@3": 0.01}


@pytest.mark.parametrize("words", [("ramp", "card-fraud@2", "5%"), ("shadow", "card-fraud@2"), ("rollback",)])
def test_a_change_of_what_is_not_there_says_how_to_begin(run, words):
    with pytest.raises(ConfigurationError, match="there is no rollout yet: begin with `fraudstream rollout promote"):
        run(*words)


@pytest.mark.parametrize("words", [("show",), ("show", "--at", "7"), ("diff", "1")])
def test_without_a_rollout_there_is_none_to_show(run, words):
    with pytest.raises(NotStoredError, match=r"there is no rollout in .* yet"):
        run(*words)
    assert "there is no rollout yet" in run("history").stdout


@pytest.mark.parametrize("share", ["5", "-5%", "101%", "nan", "5%%", "half", "1.01", ""])
def test_what_is_no_share_is_a_wrong_use_of_the_command(run, share):
    assert run("ramp", "card-fraud@2", "--", share).exit_code == 2


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("0.05", 0.05), (".5", 0.5), ("12.5%", 0.125), ("1", 1)])
def test_a_share_is_a_percentage_or_a_number_up_to_1(text, share):
    assert parse_share(text) == share


def test_a_rollout_is_shown_with_its_models_and_who_made_it(run):
    run(*FIRST)
    run("ramp", "card-fraud@2", "5%", "--by", "[b]bob[/b]")
    run("shadow", "card-fraud@3")

    shown = run("show", "--at", "2").stdout
    for text in ("champion", "card-fraud@1", "95%", "0-949999", "950000-999999", "[b]bob[/b]", "no reason given"):
        assert text in shown
    assert "card-fraud@3" not in shown
    assert "shadow" in run("show").stdout


def test_what_show_prints_can_be_edited_and_set(run, kept, tmp_path):
    run(*FIRST)
    shown = answer(run("show", "--json"))
    shown["variants"] = [
        {"name": "champion", "version": "card-fraud@1"},
        {"name": "b", "version": "card-fraud@2", "share": 0.1},
    ]
    (tmp_path / "rollout.json").write_text(json.dumps(shown))

    run("set", "rollout.json")

    assert shares(kept.current()[0]) == {"card-fraud@1": 0.9, "card-fraud@2": 0.1}
    with pytest.raises(ConflictError, match="the file was made out of rollout 1, and 2 is in force by now") as refusal:
        run("set", "rollout.json")
    assert refusal.value.exit_code == 1


def test_a_file_that_is_not_there_is_named(run):
    with pytest.raises(ConfigurationError, match=r"nowhere\.json cannot be read"):
        run("set", "nowhere.json")


def test_the_history_has_a_line_for_each_rollout_the_last_one_first(run):
    run(*FIRST)
    run("ramp", "card-fraud@2", "5%", "--by", "bob")

    lines = run("history").stdout.splitlines()

    assert "bob" in lines[1]
    assert "card-fraud@1 95%, card-fraud@2 5%" in lines[1]
    assert "the first one" in lines[2]
    assert [each["epoch"] for each in answer(run("history", "--json"))] == [1, 2]


def test_two_rollouts_are_compared(run):
    run(*FIRST)
    run("ramp", "card-fraud@2", "5%")
    run("ramp", "card-fraud@2", "20%")

    assert run("diff", "1", "2").stdout == "5% of the cards: champion (card-fraud@1) → challenger (card-fraud@2)\n"
    assert answer(run("diff", "1", "--json"))["moved"] == 0.2
    assert run("diff", "3", "3").stdout == "nothing\n"


def test_who_was_not_quick_enough_is_told_who_was_and_can_try_again(run, kept, monkeypatch):
    run(*FIRST)
    write = RolloutStore.write

    def beaten(self, document, etag):
        monkeypatch.setattr(RolloutStore, "write", write)
        run("ramp", "card-fraud@3", "1%", "--by", "carol")
        return write(self, document, etag)

    monkeypatch.setattr(RolloutStore, "write", beaten)
    with pytest.raises(ConflictError, match=r"carol made rollout 2 meanwhile \(ramp challenger .* to 1%\)") as refusal:
        run("ramp", "card-fraud@2", "5%")
    assert refusal.value.exit_code == 1
    assert shares(kept.current()[0]) == {"card-fraud@1": 0.99, "card-fraud@3": 0.01}
    assert run("ramp", "card-fraud@2", "5%").exit_code == 0
    assert shares(kept.current()[0]) == {"card-fraud@1": 0.94, "card-fraud@3": 0.01, "card-fraud@2": 0.05}


def test_a_store_that_goes_away_while_writing_leaves_it_open_whether_it_was_written(run, monkeypatch):
    run(*FIRST)

    def gone(*_):
        raise StoreUnavailableError("rollout/current.json in store: the lights went out")

    monkeypatch.setattr(FolderStore, "replace", gone)
    with pytest.raises(StoreUnavailableError, match="whether the rollout was written is not known") as refusal:
        run("promote", "card-fraud@2")
    assert refusal.value.exit_code == 1


def test_without_a_user_name_it_must_be_given(run, kept, monkeypatch):
    def nobody():
        raise KeyError("getpwuid(): uid not found: 1000")

    monkeypatch.setattr("getpass.getuser", nobody)
    with pytest.raises(FraudstreamError, match="say who changes the rollout, with --by"):
        run(*FIRST)
    run(*FIRST, "--by", "robot")
    assert kept.current()[0].changed.who == "robot"


def test_a_reason_that_would_be_obeyed_by_a_terminal_is_refused(run, kept):
    result = CliRunner().invoke(app, ["rollout", "promote", "card-fraud@1", "--why", "\x1b[2J"])

    with pytest.raises(ConfigurationError, match=r"changed\.why must be one line"):
        raise result.exception
    assert result.output == ""
    assert kept.history() == []


def test_the_commands_work_on_s3(run, files, s3):
    store = ["--store", f"s3://{s3.bucket}/fraud", "--store-endpoint", s3.proxy.url]
    publish(Registry(open_store(store[1], s3.proxy.url)), files)

    assert run(*FIRST, *store).exit_code == 0
    assert answer(run("ramp", "card-fraud@2", "5%", "--json", *store))["written"] is True
    assert answer(run("rollback", "--json", *store))["rollout"]["epoch"] == 3
    assert len(answer(run("history", "--json", *store))) == 3


def test_a_variant_at_an_endpoint_is_set_by_a_file_shown_and_only_replaced_by_a_file(run, tmp_path):
    def file(**endpoint):
        path = tmp_path / "wanted.json"
        served = {"backend": "sagemaker", "endpoint": {"name": "fraud", **endpoint}}
        path.write_text(json.dumps({"variants": [{"name": "champion", "version": "card-fraud@1", **served}]}))
        return str(path)

    assert run("set", file()).exit_code == 0
    assert "sagemaker: fraud" in run("show").output
    assert "champion: endpoint fraud → other settings" in run("set", file(in_flight=8)).output
    for settings, said in (
        ({"in_flight": 0}, "variants: champion: endpoint: in_flight must lie between 1 and 64"),
        ({"speed": 3}, "there is no field"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            run("set", file(**settings))
    with pytest.raises(ConfigurationError, match="card-fraud@2 is served by no endpoint, and champion is"):
        run("promote", "card-fraud@2")


def test_an_ensemble_is_not_let_to_an_endpoint(run, registry, files, tmp_path):
    manifest = from_json(files[MANIFEST_FILE], "manifest")
    ours = {"a.ubj": files["model.ubj"], "b.ubj": files["model.ubj"]}
    known = dict.fromkeys(ours, manifest.files["model.ubj"])
    members = tuple(Member(name, 0.5) for name in ours)
    made = replace(manifest, version="two", members=members, files=known)
    registry.publish({**ours, MANIFEST_FILE: to_json(made)})
    served = {"backend": "sagemaker", "endpoint": {"name": "fraud"}}
    path = tmp_path / "wanted.json"
    path.write_text(json.dumps({"variants": [{"name": "champion", "version": "card-fraud@two", **served}]}))

    with pytest.raises(ConfigurationError, match="card-fraud@two has 2 members"):
        run("set", str(path))
