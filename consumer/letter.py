"""Read a dead letter back: which record it is about, why it could not be scored, and what the letter holds of it."""

from collections.abc import Collection
from dataclasses import dataclass

from confluent_kafka import Message

from consumer.dead_letters import ATTEMPT, PAYLOAD, PAYLOAD_LENGTH, PAYLOAD_SHA256, TOO_LARGE, source_of
from consumer.headers import UNREADABLE, Headers, headers_of
from consumer.settings import Payload

PREFIX = "__connect.errors."
_OURS = (ATTEMPT, PAYLOAD, PAYLOAD_LENGTH, PAYLOAD_SHA256, TOO_LARGE, UNREADABLE)


@dataclass(frozen=True, slots=True)
class Record:
    """The key, the value and the headers of a record, as they were sent."""

    key: bytes | None
    value: bytes | None
    headers: Headers


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A letter at ``offset`` of ``partition`` of its topic since ``time`` (ms since 1970), about a source record.

    ``attempt`` counts how often the record has failed. ``record`` is whole where ``payload`` is original, else it has
    no value and no headers; a redacted one has the digest of the value, unless there was none.
    """

    partition: int
    offset: int
    time: int
    topic: str
    source_partition: int
    source_offset: int
    stage: str
    reason: str
    message: str
    attempt: int
    payload: Payload
    sha256: str | None
    record: Record

    @property
    def place(self) -> str:
        """Where the letter stands, as one names it on the command line."""
        return f"{self.partition}:{self.offset}"

    @property
    def identity(self) -> bytes:
        """A name that no other letter has, even if the topic is deleted and made anew."""
        return f"{self.place}:{self.time}".encode()


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which letters are asked for; a criterion that is empty or None takes all."""

    stages: Collection[str] = ()
    reasons: Collection[str] = ()
    partition: int | None = None

    def takes(self, letter: DeadLetter) -> bool:
        """Whether a letter is one of these; ``partition`` is that of the source record."""
        return (
            (not self.stages or letter.stage in self.stages)
            and (not self.reasons or letter.reason in self.reasons)
            and self.partition in (None, letter.source_partition)
        )


def read_letter(message: Message) -> DeadLetter | None:
    """The letter in a message of a dead-letter topic; None where its headers are not ours."""
    headers = headers_of(message)
    source = source_of(headers)
    if source is None:
        return None
    found = dict(headers)
    payload = _text(found, PAYLOAD)
    return DeadLetter(
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        time=message.timestamp()[1],
        topic=source[0],
        source_partition=source[1],
        source_offset=source[2],
        stage=_text(found, f"{PREFIX}stage"),
        reason=_text(found, f"{PREFIX}class.name"),
        message=_text(found, f"{PREFIX}exception.message"),
        attempt=_number(_text(found, ATTEMPT)),
        payload=Payload(payload) if payload in set(Payload) else Payload.ORIGINAL,
        sha256=_text(found, PAYLOAD_SHA256) or None,
        record=Record(message.key(), message.value(), without_ours(headers)),
    )


def without_ours(headers: Headers) -> Headers:
    """The headers that the record had before it became a dead letter."""
    return [(name, value) for name, value in headers if not name.startswith(PREFIX) and name not in _OURS]


def _text(headers: dict[str, str | bytes | None], name: str) -> str:
    value = headers.get(name) or b""
    text = value if isinstance(value, str) else value.decode(errors="replace")
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)


def _number(text: str) -> int:
    """The attempt; 1 where it is forged or absent, as the worker counts."""
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 10 else 1
