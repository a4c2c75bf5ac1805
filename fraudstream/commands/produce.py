"""``fraudstream produce``: a data set as a stream of transactions."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from consumer.settings import Format, WorkerSettings
from consumer.wire import TRANSACTION_SCHEMA_ID, registry_client
from fraudstream.commands.connection import Bootstrap, Config, Properties, Registry, connect, settings_of
from fraudstream.records import LABEL_SCHEMA_ID
from fraudstream.stopping import stop_signals
from producer import sample_path
from producer.encode import encode_avro, encode_json
from producer.labels import Label, LabelSimulator, avro_label_encoder, encode_label_json
from producer.publish import Pace, Publisher, send_at_pace
from producer.transactions import SEPTEMBER_2013, Transactions, TransactionSource, from_frame
from schemas.errors import FraudstreamError
from schemas.framing import confluent_prefix, single_object_prefix
from schemas.load import load

FLUSH_SECONDS = 60.0
"""As long as one record may take to be delivered (``message.timeout.ms`` of the publisher)."""


class EventTime(StrEnum):
    """Which time a transaction bears."""

    DATA = "data"
    NOW = "now"


def produce(
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    kafka: Properties = None,
    schema_registry_url: Registry = None,
    data: Annotated[
        Path | None, typer.Option(help="Data set, parquet or CSV; the bundled sample of real card data if not given.")
    ] = None,
    topic: Annotated[
        str | None, typer.Option(help="Where the transactions go; the worker's input topic if not given.")
    ] = None,
    rate: Annotated[str, typer.Option(help="Transactions a second, or max.")] = "1000",
    limit: Annotated[
        int | None, typer.Option(min=1, help="Stop after so many; all of the data set, once, if not given.")
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Begin again at the end of the data set, for ever.")] = False,
    event_time: Annotated[
        EventTime, typer.Option(help="data: the times of the data set, from September 2013. now: when each is due.")
    ] = EventTime.DATA,
    format_: Annotated[Format, typer.Option("--format", help="How records are framed.")] = Format.CONFLUENT,
    schema_id: Annotated[
        int, typer.Option(min=0, help="Confluent schema id of transactions, without a registry.")
    ] = TRANSACTION_SCHEMA_ID,
    labels: Annotated[bool, typer.Option("--labels", help="Also write what becomes known later of each.")] = False,
    labels_topic: Annotated[str, typer.Option(help="Where the labels go.")] = "fraud.labels",
    label_delay: Annotated[
        float, typer.Option(min=0, help="Mean seconds of event time from a transaction to its label.")
    ] = 3600,
    create_topics: Annotated[
        bool, typer.Option("--create-topics", help="Create the topics that do not exist.")
    ] = False,
    partitions: Annotated[int, typer.Option(min=1, help="Partitions of a topic created here.")] = 6,
    as_json: Annotated[bool, typer.Option("--json", help="The summary as one JSON object.")] = False,
) -> None:
    """Send a data set of card transactions to a topic.

    The public card data names neither cards nor transactions: both ids are derived from the number of the row, and
    are the same in every run. Ctrl-C stops after what was sent has been delivered.

    fraudstream produce --rate 5000 --topic transactions --create-topics
    """
    from schemas.dataset import read_dataset  # noqa: PLC0415 - pandas takes a second to load

    pace_rate = _rate(rate)
    settings = settings_of(config, bootstrap_servers, kafka, schema_registry_url)
    source = from_frame(read_dataset(data or sample_path()).frame, SEPTEMBER_2013)
    connection = connect(settings)
    topics = [topic or settings.input_topic, *([labels_topic] if labels else [])]
    for name in topics:
        if create_topics:
            connection.create_topic(name, partitions)
        connection.partitions(name)
    wire = _Wire(settings, format_, schema_id)
    transactions = Publisher(connection.properties | settings.producer_kafka, topics[0])
    stream = _Stream(source, event_time, transactions, wire.transaction_encoder(topics[0]))
    if labels:
        stream.labels = LabelStream(
            Publisher(connection.properties | settings.producer_kafka, labels_topic),
            LabelSimulator(round(label_delay * 1000)),
            wire.label_encoder(labels_topic),
        )
    total = limit or (None if loop else len(source))
    summary = _run(stream, Pace(time.time(), pace_rate), total)
    typer.echo(json.dumps(summary) if as_json else _sentence(summary))
    if summary["interrupted"]:
        raise typer.Exit(130)


def _rate(text: str) -> float | None:
    if text == "max":
        return None
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < np.inf:
        raise typer.BadParameter(f"{text!r} is neither a number above 0 nor max", param_hint="--rate")
    return rate


@dataclass(slots=True)
class LabelStream:
    """Labels on their way to their topic."""

    publisher: Publisher
    simulator: LabelSimulator
    encode: Callable[[Label], bytes]

    def send_known_by(self, time_ms: float) -> None:
        """Publish the labels that are known by then (ms since 1970)."""
        known = self.simulator.known_by(time_ms)
        self.publisher.send([label["unit"].encode() for label in known], [self.encode(label) for label in known])


@dataclass(slots=True)
class _Stream:
    """The transactions of a source on their way to their topic."""

    source: TransactionSource
    event_time: EventTime
    publisher: Publisher
    encode: Callable[[Transactions], list[bytes]]
    labels: LabelStream | None = None

    def send(self, first: int, due: NDArray[np.float64]) -> None:
        """Publish transactions from number ``first``; ``due`` (n,) float64 in s since 1970."""
        rows = self.source.stretch(first, len(due))
        if self.event_time is EventTime.NOW:
            rows = rows.happening_at((due * 1000).astype(np.int64))
        self.publisher.send(rows.card_id.tolist(), self.encode(rows))
        if self.labels:
            self.labels.simulator.add(rows)
            self.labels.send_known_by(float(rows.event_time[-1]))


@dataclass(frozen=True, slots=True)
class _Wire:
    """How records are framed: pinned ids, or registered schemas where there is a registry."""

    settings: WorkerSettings
    format: Format
    schema_id: int

    def transaction_encoder(self, topic: str) -> Callable[[Transactions], list[bytes]]:
        if self.format is Format.JSON:
            return encode_json
        return partial(encode_avro, prefix=self._prefix(topic, load("transaction"), self.schema_id))

    def label_encoder(self, topic: str) -> Callable[[Label], bytes]:
        if self.format is Format.JSON:
            return encode_label_json
        schema = load("label")
        return avro_label_encoder(schema, self._prefix(topic, schema, LABEL_SCHEMA_ID))

    def _prefix(self, topic: str, schema: dict[str, Any], schema_id: int) -> bytes:
        if self.format is Format.SINGLE_OBJECT:
            return single_object_prefix(schema)
        if self.settings.schema_registry_url is not None:
            subject = f"{topic}-value"
            schema_id = registry_client(self.settings, [subject]).register(subject, schema)
        return confluent_prefix(schema_id)


def _run(stream: _Stream, pace: Pace, total: int | None) -> dict[str, Any]:
    """Send until the end or a signal, deliver all of it, and say how it went."""
    began = time.monotonic()
    with stop_signals() as stop, _progress(stream.publisher, total) as show:

        def send(first: int, due: NDArray[np.float64]) -> None:
            stream.send(first, due)
            show()

        send_at_pace(pace, total, send, stop.is_set)
        if stream.labels and not stop.is_set():
            stream.labels.send_known_by(np.inf)
        publishers = [stream.publisher, *([stream.labels.publisher] if stream.labels else [])]
        for publisher in publishers:
            publisher.flush(FLUSH_SECONDS)
        show()
    for publisher in publishers:
        if publisher.delivered < publisher.sent:
            counts = f"{publisher.delivered:,} of {publisher.sent:,} records were delivered to {publisher.topic}"
            raise FraudstreamError(f"{counts}; the brokers do not answer")
    seconds = time.monotonic() - began
    return {
        "topic": stream.publisher.topic,
        "delivered": stream.publisher.delivered,
        "seconds": round(seconds, 3),
        "rate": round(stream.publisher.delivered / seconds, 1),
        "labels_delivered": stream.labels.publisher.delivered if stream.labels else 0,
        "interrupted": stop.is_set(),
    }


def _sentence(summary: dict[str, Any]) -> str:
    stopped = "stopped: " if summary["interrupted"] else ""
    labels = f", and {summary['labels_delivered']:,} labels" if summary["labels_delivered"] else ""
    what = f"{summary['delivered']:,} transactions delivered to {summary['topic']}"
    return f"{stopped}{what} in {summary['seconds']:.1f} s ({summary['rate']:,.0f}/s){labels}"


@contextmanager
def _progress(publisher: Publisher, total: int | None) -> Iterator[Callable[[], None]]:
    """A bar on standard error, where that is a terminal; call what is yielded to bring it up to date."""
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]:,.0f}/s"), TimeElapsedColumn())
    began = time.monotonic()
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        task = progress.add_task("", total=total, rate=0.0)

        def show() -> None:
            delivered = publisher.delivered
            rate = delivered / max(1e-9, time.monotonic() - began)
            progress.update(task, completed=delivered, rate=rate)

        yield show
