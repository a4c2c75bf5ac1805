"""Clients of Amazon MSK sign tokens with the credentials at hand, show them to brokers, and renew them in time."""

import base64
import sys
import time
from urllib.parse import parse_qs, urlsplit

import pytest
import structlog
from aws_msk_iam_sasl_signer import MSKAuthTokenProvider

from consumer.clients import admin_client, consumer_properties, kafka_properties, make_consumer, producer_maker
from consumer.msk import iam_properties, token_maker
from consumer.settings import WorkerSettings
from fraudstream.commands.connection import connect
from fraudstream.settings import read_settings
from schemas.errors import ConfigurationError

BROKER = "b-1.example.kafka.eu-central-1.amazonaws.com:9098"
SETTINGS = WorkerSettings(bootstrap_servers="127.0.0.1:1", msk_iam_region="eu-central-1", kafka={"log_level": "0"})


@pytest.fixture(autouse=True)
def credentials(monkeypatch, tmp_path):
    """Keys that are as good as any for signing, and none from elsewhere."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))


@pytest.fixture
def short_lived(monkeypatch):
    """Real tokens that say to expire after two seconds; the list of those that were made."""
    made, real = [], MSKAuthTokenProvider.generate_auth_token

    def generate(region):
        token, _ = real(region)
        made.append(token)
        return token, (time.time() + 2) * 1000

    monkeypatch.setattr(MSKAuthTokenProvider, "generate_auth_token", generate)
    return made


def test_a_token_is_a_signed_request_to_connect_to_the_clusters_of_the_region():
    token, expires = token_maker("eu-central-1")()

    signed = urlsplit(base64.urlsafe_b64decode(token + "==").decode())
    asked = {name: values[0] for name, values in parse_qs(signed.query).items()}
    assert signed.netloc == "kafka.eu-central-1.amazonaws.com"
    assert asked["Action"] == "kafka-cluster:Connect"
    assert asked["X-Amz-Credential"].startswith("AKIAEXAMPLE/")
    assert asked["X-Amz-Expires"] == "900"
    assert len(asked["X-Amz-Signature"]) == 64
    assert 800 < expires - time.time() <= 900


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_consumer(SETTINGS),
        lambda: producer_maker(SETTINGS)({}),
        lambda: admin_client(SETTINGS),
        lambda: connect(SETTINGS).reader("g"),
    ],
    ids=["consumer", "producer", "admin client", "consumer of a command"],
)
def test_every_client_signs_a_token_before_it_needs_one(make, short_lived):
    client = make()
    client.poll(0)

    assert len(short_lived) >= 2  # one to know that it can be done, one for the client
    if hasattr(client, "close"):
        client.close()


def test_a_token_is_renewed_before_it_expires(short_lived):
    producer = producer_maker(SETTINGS)({})
    deadline = time.monotonic() + 20
    while len(short_lived) < 4 and time.monotonic() < deadline:
        producer.poll(0.1)

    assert len(short_lived) >= 4


def test_a_token_that_cannot_be_renewed_is_told_and_fails_no_call(short_lived, monkeypatch):
    producer = producer_maker(SETTINGS)({})

    def fail(region):
        raise ValueError("no credentials now")

    monkeypatch.setattr(MSKAuthTokenProvider, "generate_auth_token", fail)
    deadline = time.monotonic() + 20
    with structlog.testing.capture_logs() as lines:
        while not told(lines) and time.monotonic() < deadline:
            producer.poll(0.1)

    assert told(lines)[0] == "msk_iam_region: no token can be signed: no credentials now"


def told(lines):
    """Why, beside what is said of a broker that does not answer."""
    return [line["reason"] for line in lines if line["event"] == "unavailable"]


def test_a_client_is_told_to_speak_tls_and_oauthbearer():
    properties = consumer_properties(SETTINGS)

    assert properties["security.protocol"] == "SASL_SSL"
    assert properties["sasl.mechanism"] == "OAUTHBEARER"


def test_brokers_of_msk_count_as_encrypted_unless_told_otherwise():
    assert read_settings(None, {"bootstrap_servers": BROKER, "msk_iam_region": "eu-central-1"})
    with pytest.raises(ConfigurationError, match="unencrypted"):
        read_settings(
            None,
            {
                "bootstrap_servers": BROKER,
                "msk_iam_region": "eu-central-1",
                "kafka": {"security.protocol": "SASL_PLAINTEXT"},
            },
        )


def test_without_credentials_a_client_is_not_made(monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")

    with pytest.raises(ConfigurationError, match="msk_iam_region: boto3 finds no AWS credentials"):
        connect(SETTINGS)


def test_without_the_extra_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", None)

    with pytest.raises(ConfigurationError, match=r"msk_iam_region needs the extra msk: pip install"):
        iam_properties("eu-central-1")


@pytest.mark.parametrize("region", ["Frankfurt", "eu-central", "kafka.eu-central-1.amazonaws.com"])
def test_what_is_no_region_is_refused(region):
    with pytest.raises(ConfigurationError, match="msk_iam_region"):
        read_settings(None, {"msk_iam_region": region})


def test_elsewhere_nothing_is_signed(short_lived):
    assert kafka_properties(WorkerSettings()) == {}
    assert short_lived == []


def test_the_token_appears_in_no_log(caplog):
    with caplog.at_level("DEBUG"):
        token, _ = token_maker("eu-central-1")()

    assert "X-Amz-Signature" not in caplog.text
    assert token not in caplog.text
