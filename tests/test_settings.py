"""Settings come from flags over environment over file; a wrong one is named before anything starts."""

import pytest

from consumer.settings import Delivery, WorkerSettings
from fraudstream.settings import read_settings
from schemas.errors import ConfigurationError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """No settings file and no settings variables but those of the test."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder, text):
    path = folder / "fraudstream.toml"
    path.write_text(text)
    return path


def test_the_defaults_stand_alone():
    assert read_settings(None, {}) == WorkerSettings()
    assert WorkerSettings().delivery is Delivery.EXACTLY_ONCE


def test_flags_win_over_environment_and_environment_over_file(elsewhere, monkeypatch):
    write(elsewhere, 'group = "file"\nbatch_size = 7\ninput_topic = "file"\n')
    monkeypatch.setenv("FRAUDSTREAM_GROUP", "environment")
    monkeypatch.setenv("FRAUDSTREAM_BATCH_SIZE", "8")

    settings = read_settings(None, {"group": "flag", "slot": None})

    assert (settings.group, settings.batch_size, settings.input_topic) == ("flag", 8, "file")


def test_any_librdkafka_property_passes_through(elsewhere, monkeypatch):
    write(elsewhere, '[kafka]\n"ssl.ca.location" = "ca.pem"\n')
    monkeypatch.setenv("FRAUDSTREAM_PRODUCER_KAFKA", '{"linger.ms": "1"}')

    settings = read_settings(None, {})

    assert settings.kafka == {"ssl.ca.location": "ca.pem"}
    assert settings.producer_kafka == {"linger.ms": "1"}


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"batch_size": 0}, "batch_size: Input should be greater than or equal to 1"),
        ({"delivery": "twice"}, "delivery: Input should be 'exactly_once' or 'at_least_once'"),
        ({"kafka": {"enable.auto.commit": "true"}}, "kafka: enable.auto.commit cannot be set: offsets are committed"),
        ({"decisions_topic": "transactions"}, "drift_topic and retrain_topic must differ"),
        ({"challenger_share": 0.5}, "challenger_share needs a challenger"),
        ({"output_schema_id": 2**32}, "output_schema_id: Input should be less than or equal to 4294967295"),
        ({"input_schema_ids": {"-1": "a.avsc"}}, "input_schema_ids.-1.*: Input should be greater than or equal to 0"),
        ({"event_time_lead_seconds": "inf"}, "event_time_lead_seconds: Input should be less than"),
        ({"event_time_lead_seconds": "nan"}, "event_time_lead_seconds: Input should be"),
        ({"earliest_event_time": 2**70}, "earliest_event_time: Input should be less than"),
        ({"metrics_port": 65_530, "slot": 4, "workers": 3}, "metrics_port: slot 6 would listen on 65536, no port"),
    ],
)
def test_a_wrong_setting_is_named(flags, sentence):
    with pytest.raises(ConfigurationError, match=sentence.replace("(", r"\(")):
        read_settings(None, flags)


@pytest.mark.parametrize(
    ("pane", "hop", "window"), [(7, 60, 1440), (10, 65, 1440), (10, 50, 1440), (60, 30, 1440), (60, 60, 60)]
)
def test_a_pane_divides_a_hop_and_a_hop_a_longer_window(pane, hop, window):
    lengths = {"drift_pane_minutes": pane, "drift_hop_minutes": hop, "drift_window_minutes": window}

    with pytest.raises(ConfigurationError) as error:
        read_settings(None, lengths)
    assert str(error.value) == (
        f"settings: drift_pane_minutes ({pane}) must divide drift_hop_minutes ({hop}), that must divide "
        f"drift_window_minutes ({window}), and a window must be longer than a pane"
    )


def test_a_misspelt_setting_in_the_file_is_named(elsewhere):
    with pytest.raises(ConfigurationError, match="batchsize: Extra inputs are not permitted"):
        read_settings(write(elsewhere, "batchsize = 7\n"), {})


def test_a_misspelt_variable_is_named(monkeypatch):
    monkeypatch.setenv("FRAUDSTREAM_BATCHSIZE", "7")

    with pytest.raises(ConfigurationError, match="FRAUDSTREAM_BATCHSIZE is no setting"):
        read_settings(None, {})


def test_a_settings_file_that_is_missing_or_broken_is_named(elsewhere):
    with pytest.raises(ConfigurationError, match=r"nowhere\.toml is not a file"):
        read_settings(elsewhere / "nowhere.toml", {})
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        read_settings(write(elsewhere, "group = \n"), {})


def test_a_wrong_secret_is_not_repeated_in_the_error():
    with pytest.raises(ConfigurationError) as caught:
        read_settings(None, {"kafka": {"sasl.password": ["hunter2"]}})

    assert "hunter2" not in str(caught.value)


def test_secrets_are_masked():
    settings = WorkerSettings(
        kafka={
            "sasl.password": "hunter2",
            "sasl.username": "ann",
            "ssl.key.password": "hunter2",
            "x.passphrase": "hunter2",
        },
        schema_registry={"basic.auth.user.info": "ann:hunter2"},
        schema_registry_url="https://ann:hunter2@registry:8081",
    )

    masked = settings.masked()

    assert "hunter2" not in str(masked)
    assert masked["kafka"]["sasl.username"] == "ann"
    assert masked["schema_registry_url"] == "https://****@registry:8081"


def test_a_slot_has_one_name():
    settings = WorkerSettings(application="a", environment="prod", group="g", slot=3)

    assert settings.slot_id == "a.prod.g.3"


@pytest.mark.parametrize(
    "servers", ["127.0.0.1:9092", "localhost:9092", "[::1]:9092", "127.0.0.1:9092,localhost:9093", "127.8.8.8:1"]
)
def test_on_this_machine_nothing_need_be_encrypted(servers):
    assert read_settings(None, {"bootstrap_servers": servers}).bootstrap_servers == servers


@pytest.mark.parametrize(
    "servers",
    ["broker:9092", "127.0.0.1:9092, 10.0.0.1:9092", "PLAINTEXT://broker:9092", "[2001:db8::1]:9092", "broker"],
)
@pytest.mark.parametrize("protocol", [None, "PLAINTEXT", "sasl_plaintext"])
def test_transactions_do_not_travel_in_plaintext_unless_that_is_said(servers, protocol):
    flags = {"bootstrap_servers": servers, "kafka": {"security.protocol": protocol} if protocol else {}}

    with pytest.raises(ConfigurationError, match=r"unencrypted; set security.protocol of kafka .* or allow_plaintext"):
        read_settings(None, flags)
    assert read_settings(None, flags | {"allow_plaintext": True}).allow_plaintext


def test_what_is_encrypted_may_travel_and_each_client_counts():
    encrypted = {"bootstrap_servers": "broker:9093", "kafka": {"security.protocol": "SASL_SSL"}}

    assert read_settings(None, encrypted).bootstrap_servers == "broker:9093"
    with pytest.raises(ConfigurationError, match="travel to broker:9093"):
        read_settings(None, encrypted | {"producer_kafka": {"security.protocol": "PLAINTEXT"}})
