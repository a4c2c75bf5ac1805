"""Signatures: made by whoever holds the private key, checked against any of the public ones, and by openssl alike."""

import shutil
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from typer import Typer
from typer.testing import CliRunner

from consumer.loading import load_rollout
from consumer.settings import WorkerSettings
from fraudstream.commands.sign import sign
from models.manifest import MODEL_FILE
from models.signature import private_key, public_keys
from models.train import TrainingSettings, train_to
from producer import sample_path
from schemas.dataset import read_dataset
from schemas.errors import BadModelError, ConfigurationError


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "model"
    train_to(path, read_dataset(sample_path()), TrainingSettings(rounds=5))
    return path


def write_pair(folder, name, secret=None, password=None):
    """Two PEM files, as openssl would write them."""
    secret = secret or Ed25519PrivateKey.generate()
    hidden = BestAvailableEncryption(password) if password else NoEncryption()
    private, public = folder / f"{name}.pem", folder / f"{name}.pub.pem"
    private.write_bytes(secret.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, hidden))
    public.write_bytes(secret.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def run():
    app = Typer(pretty_exceptions_enable=False)
    app.command()(sign)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


def test_a_worker_with_a_key_takes_the_signed_model_and_no_unsigned_one(model, run, tmp_path):
    private, public = write_pair(tmp_path, "new")
    _, retired = write_pair(tmp_path, "old")
    settings = WorkerSettings(model=model, model_public_keys=[retired, public])
    with pytest.raises(BadModelError, match="is not signed, and model_public_keys asks for a signature"):
        load_rollout(settings)

    done = run(model, "--key", private)

    assert done.exit_code == 0
    assert load_rollout(settings).arms[0].lineage.model_name == "card-fraud"
    with pytest.raises(BadModelError, match="was not made for this manifest by any of model_public_keys"):
        load_rollout(settings.model_copy(update={"model_public_keys": [retired]}))


def test_openssl_verifies_the_signature(model, run, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    private, public = write_pair(tmp_path, "key")
    run(model, "--key", private)

    files = ("-rawin", "-in", model / "manifest.json", "-sigfile", model / "manifest.sig")
    done = subprocess.run(
        ["openssl", "pkeyutl", "-verify", "-pubin", "-inkey", public, *files], capture_output=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_a_damaged_model_is_not_signed(model, run, tmp_path):
    shutil.copytree(model, tmp_path / "damaged")
    (tmp_path / "damaged" / MODEL_FILE).write_bytes(b"{}")
    private, _ = write_pair(tmp_path, "key")

    done = run(tmp_path / "damaged", "--key", private)

    assert isinstance(done.exception, BadModelError)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "holds no"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "holds no"),
        (None, "cannot be read"),
    ],
)
def test_a_file_without_a_key_is_named(content, complaint, tmp_path):
    path = tmp_path / "key.pem"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(ConfigurationError, match=f"model_public_keys: .*{complaint}"):
        public_keys([path])
    with pytest.raises(ConfigurationError, match=f"key: .*{complaint}"):
        private_key(path)


def test_a_key_of_another_kind_or_behind_a_password_is_named(tmp_path):
    private, public = write_pair(tmp_path, "other", ec.generate_private_key(ec.SECP256R1()))
    hidden, _ = write_pair(tmp_path, "hidden", password=b"secret")

    with pytest.raises(ConfigurationError, match="another kind than Ed25519"):
        public_keys([public])
    with pytest.raises(ConfigurationError, match="another kind than Ed25519"):
        private_key(private)
    with pytest.raises(ConfigurationError, match="protected by a password"):
        private_key(hidden)
