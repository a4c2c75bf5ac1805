"""Decide what becomes of a dead letter that is to be sent again: the record to send, or why it is not sent."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256

from consumer.dead_letters import ATTEMPT
from consumer.decide import is_overlong
from consumer.letter import DeadLetter, Record
from consumer.settings import Payload
from schemas.framing import CONFLUENT_MAGIC, confluent_prefix


class Fate(StrEnum):
    """What becomes of a letter; the value is for people."""

    SENT = "sent"
    ALREADY_SENT = "sent before"
    EXHAUSTED = "has failed too often"
    GONE = "the original record is no longer there"
    CHANGED = "what stands in the place of the record is not the record"
    UNFRAMED = "has no schema id to correct"
    UNDECODABLE = "would fail again: it cannot be decoded"
    INVALID = "would fail again: what it says is refused"


@dataclass(frozen=True, slots=True)
class Judged:
    """A letter with its fate, and the record that is sent if it is."""

    letter: DeadLetter
    fate: Fate
    record: Record | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """How letters are sent again: after at most ``attempts`` failures, if set under the Confluent id ``schema_id``.

    ``bare`` says that the values have no frame at all, and the id is put before them.
    """

    attempts: int
    schema_id: int | None = None
    bare: bool = False


def judge(
    letters: Sequence[DeadLetter],
    sent: Collection[bytes],
    policy: Policy,
    fetch: Callable[[Sequence[DeadLetter]], Sequence[Record | None]],
    expect: Callable[[Sequence[bytes | None]], Sequence[Fate]],
) -> list[Judged]:
    """The fate of each letter, in order.

    ``sent`` holds the identities of the letters that were sent before. ``fetch`` finds the original records of letters
    that do not hold them, None for what is no longer there. ``expect`` says of values that are to be sent which are
    refused by any worker now, and SENT of the others.
    """
    fates: dict[int, Judged] = {}
    for at, letter in enumerate(letters):
        if letter.identity in sent:
            fates[at] = Judged(letter, Fate.ALREADY_SENT)
        elif letter.attempt > policy.attempts:
            fates[at] = Judged(letter, Fate.EXHAUSTED)
    left = [at for at in range(len(letters)) if at not in fates]
    for at, original in zip(left, _originals([letters[at] for at in left], fetch), strict=True):
        fates[at] = _corrected(letters[at], original, policy)
    _leave_what_would_fail(fates, expect)
    return [fates[at] for at in range(len(letters))]


def _originals(
    letters: Sequence[DeadLetter], fetch: Callable[[Sequence[DeadLetter]], Sequence[Record | None]]
) -> list[Record | None]:
    """The record of each letter as it was sent, found where the letter does not hold it."""
    elsewhere = [letter for letter in letters if letter.payload is not Payload.ORIGINAL]
    fetched = iter(fetch(elsewhere) if elsewhere else ())
    return [letter.record if letter.payload is Payload.ORIGINAL else next(fetched) for letter in letters]


def _corrected(letter: DeadLetter, original: Record | None, policy: Policy) -> Judged:
    if original is None:
        return Judged(letter, Fate.GONE)
    if letter.sha256 is not None and sha256(original.value or b"").hexdigest() != letter.sha256:
        return Judged(letter, Fate.CHANGED)
    if is_overlong(original.key):
        return Judged(letter, Fate.INVALID)
    value = original.value
    if policy.schema_id is not None:
        if value is None or not (policy.bare or (value.startswith(CONFLUENT_MAGIC) and len(value) >= 5)):
            return Judged(letter, Fate.UNFRAMED)
        value = confluent_prefix(policy.schema_id) + (value if policy.bare else value[5:])
    headers = [(name, content) for name, content in original.headers if name != ATTEMPT]
    return Judged(letter, Fate.SENT, Record(original.key, value, [*headers, (ATTEMPT, str(letter.attempt).encode())]))


def _leave_what_would_fail(
    fates: dict[int, Judged], expect: Callable[[Sequence[bytes | None]], Sequence[Fate]]
) -> None:
    to_send = [(at, judged) for at, judged in fates.items() if judged.record is not None]
    values = [judged.record.value for _, judged in to_send if judged.record is not None]
    for (at, judged), fate in zip(to_send, expect(values) if values else (), strict=True):
        if fate is not Fate.SENT:
            fates[at] = replace(judged, fate=fate, record=None)
