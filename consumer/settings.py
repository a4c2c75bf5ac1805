"""Say what a worker can be told, with the defaults that are safe."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from consumer.exposure import exposed
from schemas.secrets import without_credentials

OURS = {
    "transactional.id": "the slot decides it",
    "enable.idempotence": "delivery depends on it",
    "group.id": "use `group`",
    "group.instance.id": "the slot decides it",
    "bootstrap.servers": "use `bootstrap_servers`",
    "enable.auto.commit": "offsets are committed with the decisions",
    "enable.auto.offset.store": "offsets are committed with the decisions",
    "isolation.level": "reading uncommitted input switches off the check for pending offsets",
    "partition.assignment.strategy": "the worker speaks cooperative-sticky",
    "auto.offset.reset": "use `start`",
    "group.protocol": "static membership needs the classic protocol",
}
"""librdkafka properties that the worker sets itself, and why a user may not."""

SECRET = re.compile(
    r"pass(word|phrase)|secret|\.key$|key\.pem|token|jaas|user\.info|oauthbearer\.config", re.IGNORECASE
)


LARGEST_PORT = 65_535
MOST_MILLISECONDS = 2**53
"""Beyond it a time in ms is no exact float, and no date that anybody means."""

SchemaId = Annotated[int, Field(ge=0, le=2**32 - 1)]
"""What Confluent's wire format has four bytes for."""


class Delivery(StrEnum):
    """What a crash may do to a decision: nothing, or repeat it."""

    EXACTLY_ONCE = "exactly_once"
    AT_LEAST_ONCE = "at_least_once"


class Format(StrEnum):
    """How a record is framed on the wire."""

    CONFLUENT = "confluent"
    SINGLE_OBJECT = "single_object"
    JSON = "json"


class Start(StrEnum):
    """Where a group begins on a partition for which it has never committed an offset."""

    EARLIEST = "earliest"
    LATEST = "latest"


class Payload(StrEnum):
    """How much of a record its dead letter holds: the bytes, their digest and length, or only where it stands."""

    ORIGINAL = "original"
    REDACTED = "redacted"
    POINTER = "pointer"


class MissingUnit(StrEnum):
    """What becomes of a transaction that names no card, so that none of the variants can be drawn for it."""

    DEAD_LETTER = "dead_letter"
    CONTROL = "control"


class WorkerSettings(BaseModel):
    """Everything a worker can be told. Read once, at the edge; frozen from then on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    application: str = Field("fraudstream", description="First part of every transactional id.")
    environment: str = Field("dev", description="Second part of every transactional id: dev, prod, ...")
    group: str = Field("fraudstream", description="The consumer group.")
    slot: int = Field(0, ge=0, description="Number of the first worker; each slot is one running process, ever.")
    workers: int = Field(1, ge=1, le=64, description="Processes to run, one slot each.")

    supervise: bool = Field(
        default=False,
        description="Run even a single worker under a parent: it restarts it and quarantines a record that crashes it.",
    )

    bootstrap_servers: str = Field("127.0.0.1:9092", description="Kafka brokers, host:port,host:port.")
    kafka: dict[str, str] = Field(
        default_factory=dict, description="Any librdkafka property, for TLS, SASL and tuning alike."
    )
    msk_iam_region: str | None = Field(
        None,
        pattern=r"^[a-z]{2}(-[a-z]+)+-\d$",
        description="AWS region of an Amazon MSK cluster that knows us by IAM (extra msk), over TLS; unset elsewhere.",
    )
    allow_plaintext: bool = Field(
        default=False, description="Speak unencrypted to brokers beyond this machine; where the network is your own."
    )
    consumer_kafka: dict[str, str] = Field(default_factory=dict, description="librdkafka properties of the consumer.")
    producer_kafka: dict[str, str] = Field(default_factory=dict, description="librdkafka properties of the producers.")

    input_topic: str = Field("transactions", description="Where transactions come from.")
    decisions_topic: str = Field("fraud.decisions", description="Where decisions go.")
    dead_letters_topic: str = Field("fraud.dead-letters", description="Where records go that cannot be scored.")
    samples_topic: str = Field("fraud.feature-samples", description="Where samples for the drift monitor go.")
    sample_rate: float = Field(0.05, ge=0, le=1, description="Share of the events that are sampled; 0: none, no topic.")
    dead_letter_payload: Payload = Field(
        Payload.ORIGINAL,
        description="What a dead letter holds of its record: original, redacted (digest and length) or pointer.",
    )
    bad_records_limit: int = Field(
        100, ge=0, le=1_000_000, description="Bad records in a row at which the worker keeps its place; 0: never."
    )
    bad_records_share: float = Field(
        0.95, gt=0, le=1, description="Share of them that must be bad: with 1.0 each of bad_records_limit in a row."
    )
    duplicate_window_seconds: float = Field(
        0,
        ge=0,
        le=604_800,
        description="A transaction that comes in so soon after the same id was decided is a duplicate; 0: none is.",
    )
    duplicate_window_records: int = Field(
        200_000, ge=1, le=50_000_000, description="Records of its partition over which an id is remembered at most."
    )
    drift_topic: str = Field("fraud.drift", description="Where the drift monitor writes its reports.")
    retrain_topic: str = Field("fraud.retrain-requests", description="Where it asks for a model to be trained again.")
    drift_baselines: list[Path] = Field(
        default_factory=list,
        description="Baselines, before those of the store: files, or directories of models.",
    )
    drift_unit: Literal["event", "card"] = Field(
        "event", description="What is independent of its kind: event, or card where one card makes many events."
    )
    drift_alarms: float = Field(
        1.0,
        gt=0,
        le=1000,
        description="False alarms to be expected in 90 days of each variant of a model, where nothing drifts.",
    )
    drift_pane_minutes: int = Field(
        10, ge=1, le=1440, description="Event time (minutes) of a pane, the shortest window; divides drift_hop_minutes."
    )
    drift_window_minutes: int = Field(
        1440, ge=2, le=10_080, description="Event time (minutes) of the long windows, which are made of panes."
    )
    drift_hop_minutes: int = Field(
        60, ge=1, le=1440, description="Minutes from the start of one to the next; divides drift_window_minutes."
    )
    drift_metrics_port: int = Field(
        9564, ge=0, le=LARGEST_PORT, description="Port of the drift monitor's /metrics; each next slot takes the next."
    )
    delivery: Delivery = Field(Delivery.EXACTLY_ONCE, description="exactly_once or at_least_once.")
    start: Start = Field(Start.EARLIEST, description="Where a group without an offset begins: earliest or latest.")
    batch_size: int = Field(5000, ge=1, le=100_000, description="Most records in one batch and one transaction.")
    poll_seconds: float = Field(0.5, gt=0, le=5, description="Longest wait for the first record of a batch.")

    input_format: Format = Field(Format.CONFLUENT, description="Framing of the input.")
    input_schema: Path | None = Field(
        None, description="Avro schema file of the input; the shipped transaction if unset."
    )
    input_schema_ids: dict[SchemaId, Path] = Field(
        default_factory=dict,
        description="Pinned schema files by Confluent schema id, where there is no registry.",
    )
    output_format: Format = Field(Format.CONFLUENT, description="Framing of the decisions.")
    output_schema_id: SchemaId = Field(
        2, description="Pinned Confluent schema id of decisions, where there is no registry."
    )
    schema_registry_url: str | None = Field(None, description="Schema Registry; pinned schemas if unset.")
    schema_registry: dict[str, str] = Field(
        default_factory=dict,
        description="Properties of the Schema Registry client, such as basic.auth.user.info.",
    )
    schema_subjects: list[str] = Field(
        default_factory=list,
        description="Registry subjects whose schemas are accepted; INPUT_TOPIC-value if empty.",
    )

    id_field: str = Field("transaction_id", description="Input field that identifies the transaction.")
    unit_field: str = Field("card_id", description="Input field that is routed as one: the card.")
    missing_unit: MissingUnit = Field(
        MissingUnit.DEAD_LETTER,
        description="A transaction without one: dead_letter, or control to let the control decide it as degraded.",
    )
    event_time_field: str = Field("event_time", description="Input field with the event time in ms since 1970.")
    amount_field: str = Field("amount", description="Input field with the amount.")
    earliest_event_time: int = Field(
        946_684_800_000,
        ge=-MOST_MILLISECONDS,
        le=MOST_MILLISECONDS,
        description="Older event times (ms since 1970) are refused; default 2000-01-01.",
    )
    event_time_lead_seconds: float = Field(
        86_400, ge=0, le=MOST_MILLISECONDS / 1000, description="Event times further ahead of the clock are refused."
    )

    model: Path | None = Field(
        None, description="Directory of the model (model.ubj and manifest.json); the rollout in `store` if unset."
    )
    model_public_keys: list[Path] = Field(
        default_factory=list,
        description="Ed25519 public keys (PEM); if any is given, a model must be signed by one of them.",
    )
    challenger: Path | None = Field(None, description="Directory of a second model, tried on a share of the cards.")
    challenger_share: float = Field(0.0, ge=0, le=1, description="Share of the cards that the challenger scores.")
    experiment: str = Field("default", description="Id of the experiment that splits the cards.")
    salt_id: str = Field("default-1", description="Salt of the split: another salt, another split.")
    reason_codes: int = Field(3, ge=0, le=20, description="Most reason codes on one decision.")
    reasons_for: list[Literal["approve", "review", "decline"]] = Field(
        ["review", "decline"], description="Outcomes that carry reason codes."
    )

    store: str | None = Field(
        None, description="Where models and the rollout are kept: s3://bucket/prefix or a directory."
    )
    store_endpoint: str | None = Field(
        None, description="Address of an S3-compatible service; AWS, or what boto3's own settings say, if unset."
    )
    sagemaker_url: str | None = Field(
        None, description="Where SageMaker endpoints are called, such as a VPC endpoint; AWS's own address if unset."
    )
    rollout_poll_seconds: float = Field(
        5, gt=0, le=3600, description="Time between two looks at the rollout in `store`."
    )
    shadow_budget_seconds: float = Field(
        0.05, ge=0, le=10, description="Longest wait of a batch for the scores of the rollout's shadows."
    )

    metrics_host: str = Field("127.0.0.1", description="Where /metrics, /livez and /readyz listen.")
    metrics_port: int = Field(
        9464,
        ge=0,
        le=LARGEST_PORT,
        description="Their port for the first slot; each next slot takes the next port.",
    )
    otlp_endpoint: str | None = Field(
        None,
        description="OTLP/HTTP collector to which each batch is a span; needs the extra `otel`; none if unset.",
    )
    emf_seconds: float = Field(
        0,
        ge=0,
        le=3600,
        description="Seconds between two lines of metrics for CloudWatch (EMF) on standard output; 0: none.",
    )
    log_format: Annotated[str, Field(pattern="^(console|json)$", description="console or json.")] = "console"
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$", description="Least level logged.")] = "info"
    stop_seconds: float = Field(10, gt=0, le=3600, description="Time that a worker has to end after SIGTERM.")

    @field_validator("kafka", "consumer_kafka", "producer_kafka")
    @classmethod
    def _leave_ours_alone(cls, properties: dict[str, str]) -> dict[str, str]:
        for name in properties:
            if name in OURS:
                raise ValueError(f"{name} cannot be set: {OURS[name]}")
        return properties

    @model_validator(mode="after")
    def _topics_differ(self) -> "WorkerSettings":
        names = [name for name in type(self).model_fields if name.endswith("_topic")]
        if len({getattr(self, name) for name in names}) < len(names):
            raise ValueError(f"{', '.join(names[:-1])} and {names[-1]} must differ")
        if self.challenger_share and not self.challenger:
            raise ValueError("challenger_share needs a challenger")
        return self

    @model_validator(mode="after")
    def _windows_are_made_of_panes(self) -> "WorkerSettings":
        pane, hop, window = self.drift_pane_minutes, self.drift_hop_minutes, self.drift_window_minutes
        if hop % pane or window % hop or window == pane:
            raise ValueError(
                f"drift_pane_minutes ({pane}) must divide drift_hop_minutes ({hop}), that must divide "
                f"drift_window_minutes ({window}), and a window must be longer than a pane"
            )
        return self

    @model_validator(mode="after")
    def _every_slot_has_a_port(self) -> "WorkerSettings":
        last = self.metrics_port + self.slot + self.workers - 1
        if self.metrics_port and last > LARGEST_PORT:
            raise ValueError(f"metrics_port: slot {self.slot + self.workers - 1} would listen on {last}, no port")
        return self

    @model_validator(mode="after")
    def _encrypted_beyond_loopback(self) -> "WorkerSettings":
        by_iam = {"security.protocol": "SASL_SSL"} if self.msk_iam_region else {}
        for own in ({}, self.consumer_kafka, self.producer_kafka):
            server = exposed(self.bootstrap_servers, by_iam | self.kafka | own)
            if server is not None and not self.allow_plaintext:
                raise ValueError(
                    f"transactions would travel to {server} (bootstrap_servers) unencrypted; set security.protocol "
                    "of kafka to SSL or SASL_SSL, or allow_plaintext where the network is your own"
                )
        url = self.sagemaker_url or ""
        server = exposed(url, {}) if url.startswith("http://") else None
        if server is not None and not self.allow_plaintext:
            raise ValueError(
                f"features would travel to {server} (sagemaker_url) unencrypted; use https, or allow_plaintext where "
                "the network is your own"
            )
        return self

    @field_validator("sagemaker_url")
    @classmethod
    def _is_address(cls, url: str | None) -> str | None:
        if url is not None and not re.fullmatch(r"https?://[^/@?#\s]+", url):
            raise ValueError("must be of the form https://host:port")
        return url

    @property
    def installation(self) -> str:
        """What all slots of this group have in common in their names, wherever else a group is called the same."""
        return f"{self.application}.{self.environment}.{self.group}"

    @property
    def slot_id(self) -> str:
        """The name of this slot, the same after every restart."""
        return f"{self.installation}.{self.slot}"

    def masked(self) -> dict[str, Any]:
        """Every setting as plain values, with secrets replaced by stars."""
        plain: dict[str, Any] = self.model_dump(mode="json")
        return {name: _mask(name, value) for name, value in plain.items()}


def _mask(name: str, value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _mask(key, inner) for key, inner in value.items()}
    if isinstance(value, str) and "://" in value:
        value = without_credentials(value)
    return "****" if SECRET.search(name) and value else value
