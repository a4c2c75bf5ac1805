"""``fraudstream tail``: any of our topics, decoded, in the terminal."""

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from confluent_kafka import OFFSET_BEGINNING as BEGINNING
from confluent_kafka import OFFSET_END as END
from confluent_kafka import Consumer, KafkaException, Message, TopicPartition
from rich.console import Console
from rich.live import Live
from rich.table import Table

from consumer.headers import headers_of
from consumer.settings import WorkerSettings
from fraudstream.commands.connection import Bootstrap, Config, Properties, Registry, connect, settings_of
from fraudstream.conditions import Condition, parse_condition
from fraudstream.kafka import ANSWER_SECONDS, Connection, sentence
from fraudstream.reading import to_the_end
from fraudstream.record_table import make_table
from fraudstream.records import RecordReader, schemas_of
from schemas.errors import InvalidRecordError
from schemas.load import load_file


def tail(
    topic: Annotated[str, typer.Argument(help="The topic to read.")],
    config: Config = None,
    bootstrap_servers: Bootstrap = None,
    kafka: Properties = None,
    schema_registry_url: Registry = None,
    from_: Annotated[
        str, typer.Option("--from", help="beginning, end, an offset, or a time such as 2026-01-31T12:00.")
    ] = "end",
    where: Annotated[
        list[str] | None,
        typer.Option(help="Only records like this: decision=decline, score>=0.5, model.version!=3. All must hold."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="End after so many records.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for more at the end of the topic, or end there.")
    ] = True,
    schema: Annotated[
        list[str] | None, typer.Option(metavar="ID=FILE", help="Avro schema file of a Confluent schema id.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, as where output is no terminal.")
    ] = False,
) -> None:
    """Show the records of a topic, decoded, as they come.

    Decisions, transactions, labels, dead letters and the rest. Only what is committed is shown. Ctrl-C ends it.

    fraudstream tail fraud.decisions --from beginning --where decision=decline
    """
    conditions = [_condition(text) for text in where or ()]
    settings = settings_of(config, bootstrap_servers, kafka, schema_registry_url)
    reader = RecordReader(schemas_of(settings, topic, dict(map(_schema_file, schema or ()))))
    connection = connect(settings)
    partitions = connection.partitions(topic)
    found = (
        record
        for record in map(Reading(reader).read, _messages(connection, settings, topic, partitions, from_, follow))
        if all(condition.holds(record) for condition in conditions)
    )
    table = Console().is_terminal and not as_json
    with _until_unwanted(), _live_table(topic) if table else _json_lines() as show:
        for number, record in enumerate(found, start=1):
            show(record)
            if number == limit:
                break


@dataclass(frozen=True, slots=True)
class Reading:
    """Makes a plain record of a message: where it stands, its key and headers, and its value or why there is none."""

    reader: RecordReader

    def read(self, message: Message) -> dict[str, Any]:
        """The record as plain types, ready for JSON."""
        record: dict[str, Any] = {
            "partition": message.partition(),
            "offset": message.offset(),
            "timestamp": _iso(message.timestamp()[1]),
            "key": _text(message.key()),
        }
        if headers := headers_of(message):
            record["headers"] = {name: _text(value) for name, value in headers}
        try:
            return record | {"value": self.reader.read(message.value())}
        except InvalidRecordError as error:
            return record | {"value": None, "undecodable": str(error)}


def _condition(text: str) -> Condition:
    try:
        return parse_condition(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--where") from None


def _schema_file(text: str) -> tuple[int, dict[str, Any]]:
    number, _, file = text.partition("=")
    if not number.isdecimal() or not file:
        raise typer.BadParameter(f"{text!r} is not of the form ID=FILE", param_hint="--schema")
    return int(number), load_file(Path(file))


def _messages(
    connection: Connection, settings: WorkerSettings, topic: str, partitions: list[int], start: str, follow: bool
) -> Iterator[Message]:
    """The records of a topic from ``start`` on: for ever, or until every partition has been read to its end."""
    # An offset that retention has passed: what is left is shown.
    with closing(connection.reader(settings.group, given=settings.consumer_kafka, reset="earliest")) as consumer:
        consumer.assign(_starts(consumer, topic, partitions, start))
        yield from to_the_end(consumer, len(partitions), follow=follow)


def _starts(consumer: Consumer, topic: str, partitions: list[int], start: str) -> list[TopicPartition]:
    """Where to begin on each partition."""
    if start in ("beginning", "end"):
        return [TopicPartition(topic, each, BEGINNING if start == "beginning" else END) for each in partitions]
    if start.isdecimal():
        return [TopicPartition(topic, each, int(start)) for each in partitions]
    try:
        moment = datetime.fromisoformat(start)
    except ValueError:
        message = f"{start!r} is neither beginning, end, an offset nor a time"
        raise typer.BadParameter(message, param_hint="--from") from None
    since = moment if moment.tzinfo else moment.astimezone()
    asked = [TopicPartition(topic, each, int(since.timestamp() * 1000)) for each in partitions]
    try:
        return list(consumer.offsets_for_times(asked, ANSWER_SECONDS))
    except KafkaException as error:
        raise sentence(error.args[0], f"topic {topic} cannot be read") from None


def _iso(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(value: bytes | str | None) -> str | None:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value


@contextmanager
def _until_unwanted() -> Iterator[None]:
    """Ctrl-C, or a reader of our output that has seen enough, is how one stops watching, not an error."""
    try:
        yield
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        # Python would try to flush the closed pipe once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def _json_lines() -> Iterator[Callable[[dict[str, Any]], None]]:
    def show(record: dict[str, Any]) -> None:
        # Flushed, because whoever reads a pipe wants a record when it comes.
        sys.stdout.buffer.write(msgspec.json.encode(record) + b"\n")
        sys.stdout.flush()

    yield show


@contextmanager
def _live_table(topic: str) -> Iterator[Callable[[dict[str, Any]], None]]:
    """The last records, as many as the terminal has room for."""
    console = Console()
    last: deque[dict[str, Any]] = deque(maxlen=max(3, console.height - 5))
    began = time.monotonic()
    count = 0

    def table() -> Table:
        rate = count / max(1e-9, time.monotonic() - began)
        return make_table(list(last), f"{topic}: {count:,} records, {rate:,.0f}/s")

    with Live(console=console, get_renderable=table, refresh_per_second=4):

        def show(record: dict[str, Any]) -> None:
            nonlocal count
            count += 1
            last.append(record)

        yield show
