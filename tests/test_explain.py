"""One score taken apart adds up to that score, in the terminal, on the page and as JSON."""

import json
import re
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from scipy.special import expit
from typer import Typer
from typer.testing import CliRunner

from fraudstream.commands.explain import explain as explain_command
from fraudstream.commands.options import with_settings
from models.artifact import load, read_directory
from models.explain import MOST, explain
from models.folder import FolderStore
from models.registry import Registry, Version
from models.train import TrainingSettings, train_to
from producer import sample_path
from schemas.dataset import read_dataset
from schemas.errors import BadModelError, ConfigurationError

NAMES = {"amount": {"code": "AMOUNT", "text": "the amount <of> the payment"}}


@pytest.fixture(scope="module")
def sample():
    return read_dataset(sample_path())


@pytest.fixture(scope="module")
def model_dir(sample, tmp_path_factory):
    out = tmp_path_factory.mktemp("models") / "model"
    train_to(out, sample, TrainingSettings(), reasons=json.dumps(NAMES).encode())
    return out


@pytest.fixture(scope="module")
def fraud(sample):
    """The most blatant fraud as a transaction in JSON, with one feature missing."""
    row = sample.frame[sample.frame["is_fraud"]].nsmallest(1, "V14").iloc[0]
    return {name: float(row[name]) for name in sample.features} | {"transaction_id": "tx-1", "V26": None}


@pytest.fixture
def command(monkeypatch, tmp_path):
    """A function that calls the command, as where the terminal is wide."""
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.chdir(tmp_path)
    app = Typer()
    app.command()(with_settings(explain_command))
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def write(tmp_path):
    def to_file(content):
        (tmp_path / "tx.json").write_text(content if isinstance(content, str) else json.dumps(content))
        return tmp_path / "tx.json"

    return to_file


def features_of(model, transaction):
    return np.array([transaction[name] for name in model.features], np.float32)


def test_bias_and_shares_add_up_to_the_score_and_the_largest_comes_first(model_dir, fraud):
    model = load(model_dir)

    explanation = explain(model, features_of(model, fraud))

    assert expit(explanation.log_odds) == pytest.approx(explanation.score, abs=1e-6)
    sizes = [abs(share.contribution) for share in explanation.shares]
    assert sizes == sorted(sizes, reverse=True)
    assert {share.feature for share in explanation.shares} == set(model.features)
    assert next(share.value for share in explanation.shares if share.feature == "V26") is None


def test_the_way_of_a_waterfall_has_no_gap_and_ends_at_the_score(model_dir, fraud):
    model = load(model_dir)
    explanation = explain(model, features_of(model, fraud))

    first, *changes, last = explanation.way()

    assert first.end == explanation.bias
    assert [step.begin for step in changes] == [first.end, *(step.end for step in changes[:-1])]
    assert changes[-1].end == pytest.approx(last.end, abs=1e-12)
    assert last.end == explanation.log_odds
    assert len(changes) == MOST + 1


def test_the_terminal_shows_the_score_the_thresholds_and_a_bar_a_feature(command, write, model_dir, fraud):
    done = command("--model", model_dir, "--transaction", write(fraud))

    policy = load(model_dir).policy
    assert done.exit_code == 0
    assert re.match(r"decline: score [\d.]+ %, review from [\d.]+ %, decline from [\d.]+ %", done.output)
    assert f"decline from {100 * policy.decline_at:.3g} %" in done.output
    assert len(re.findall(r"^(?:V\d+|amount) = .*[+-]\d\.\d{3} .*█", done.output, re.MULTILINE)) == MOST
    assert load(model_dir).sha256.hex() in done.output


def test_the_json_holds_the_same_and_adds_up(command, write, model_dir, fraud):
    done = command("--model", model_dir, "--transaction", write(fraud), "--json")

    told = json.loads(done.output)
    assert told["bias"] + sum(s["contribution"] for s in told["shares"]) == pytest.approx(told["log_odds"])
    assert told["decision"] == "decline"
    assert {(s["feature"], s["code"]) for s in told["shares"]} >= {("amount", "AMOUNT"), ("V14", "V14")}


def test_the_page_stands_alone_and_escapes_what_the_model_brings(command, write, model_dir, fraud, tmp_path):
    done = command("--model", model_dir, "--transaction", write(fraud), "--html", tmp_path / "why.html")

    page = (tmp_path / "why.html").read_text()
    waterfall = ET.fromstring(re.search(r"<svg.*?</svg>", page, re.DOTALL)[0])
    assert done.exit_code == 0
    assert len(waterfall.findall("rect")) == MOST + 3
    assert [mark.text for mark in waterfall.findall("text[@class='mark']")] == ["review", "decline"]
    assert "the amount &lt;of&gt; the payment" in page
    assert not re.search(r"https?://|<script|<link|@import", page)


def test_what_tail_prints_can_be_explained_as_it_is(command, write, model_dir, fraud):
    plain = command("--model", model_dir, "--transaction", write(fraud), "--json").output
    tailed = command("--model", model_dir, "--transaction", write({"offset": 7, "value": fraud}), "--json").output

    assert json.loads(tailed)["score"] == json.loads(plain)["score"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"amount": None}, "lacks amount, which the model requires"),
        ({"V1": "high"}, "V1 in .* is not a number"),
        ({"V1": True}, "V1 in .* is not a number"),
        ({"V1": 1e300}, "V1 in .* is not a number"),
    ],
)
def test_a_transaction_that_the_worker_would_not_score_is_not_explained(
    command, write, model_dir, fraud, change, complaint
):
    done = command("--model", model_dir, "--transaction", write(fraud | change))

    assert isinstance(done.exception, ConfigurationError)
    assert re.search(complaint, str(done.exception))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [("{", "is not JSON"), ("[]", "is not a JSON object"), ('{"x": 1}', "holds no feature of the model")],
)
def test_a_file_of_something_else_is_named(command, write, model_dir, content, complaint):
    done = command("--model", model_dir, "--transaction", write(content))

    assert isinstance(done.exception, ConfigurationError)
    assert complaint in str(done.exception)


def test_a_published_model_explains_by_its_name(command, model_dir, write, fraud, tmp_path):
    Registry(FolderStore(tmp_path / "store")).publish(read_directory(model_dir))
    version = str(Version(load(model_dir).name, load(model_dir).version))

    by_name = command("--model", version, "--store", "store", "--transaction", write(fraud), "--json")
    by_directory = command("--model", model_dir, "--transaction", write(fraud), "--json")

    assert by_name.exit_code == 0, by_name.output
    assert json.loads(by_name.stdout) == json.loads(by_directory.stdout)


def test_with_public_keys_an_unsigned_model_explains_nothing(command, model_dir, write, fraud, tmp_path, monkeypatch):
    key = Ed25519PrivateKey.generate().public_key()
    (tmp_path / "public.pem").write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    monkeypatch.setenv("FRAUDSTREAM_MODEL_PUBLIC_KEYS", '["public.pem"]')

    result = command("--model", model_dir, "--transaction", write(fraud))

    assert isinstance(result.exception, BadModelError)
    assert "is not signed" in str(result.exception)


def test_one_of_transaction_and_decision_is_asked_for(command, model_dir):
    assert command("--model", model_dir).exit_code == 2
    assert command("--model", model_dir, "--transaction", "x", "--decision", "not-an-id").exit_code == 2
