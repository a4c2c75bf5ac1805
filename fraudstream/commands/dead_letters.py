"""``fraudstream dead-letters``: what could not be scored, why, and once more."""

import sys
from collections import Counter
from typing import Annotated, Any

import msgspec
import typer
from rich.console import Console

from consumer.letter import DeadLetter, Record, Wanted
from consumer.ranges import GRAMMAR, Offsets, Point
from consumer.redrive import Fate, Policy
from consumer.settings import Payload, WorkerSettings
from fraudstream.commands.bars import reading_bars
from fraudstream.commands.connection import connect
from fraudstream.commands.options import with_settings
from fraudstream.commands.points import point
from fraudstream.dead_letters import DeadLetters
from fraudstream.letter_table import dump, encoded, plain, show_counts, show_list, summary
from schemas.errors import FraudstreamError

SHOWN = 50

From = Annotated[str, typer.Option("--from", help=f"Where to begin in DEAD_LETTERS_TOPIC: {GRAMMAR}")]
To = Annotated[str, typer.Option("--to", help="Where to end, likewise.")]
Stage = Annotated[list[str] | None, typer.Option(help="Only of this stage: decode or validate. May be repeated.")]
Class = Annotated[
    list[str] | None, typer.Option("--class", help="Only of this class, such as UNKNOWN_SCHEMA. May be repeated.")
]
Partition = Annotated[
    int | None, typer.Option(min=0, help="Only about records of this partition of INPUT_TOPIC.", show_default=False)
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON, one object a line.")]

dead_letters = typer.Typer(
    help="Look at what could not be scored, and send it again.", no_args_is_help=True, rich_markup_mode=None
)


def list_(
    settings: WorkerSettings,
    from_: From = "beginning",
    to: To = "end",
    stage: Stage = None,
    class_: Class = None,
    partition: Partition = None,
    limit: Annotated[int, typer.Option(min=0, help="Show so many of them; all are counted.")] = SHOWN,
    as_json: AsJson = False,
) -> None:
    """List dead letters: where each stands, what it is about and why; never what is in the record.

    With --json all of them, one a line.

    fraudstream dead-letters list --from -1d --stage decode
    """
    letters = DeadLetters(connect(settings), settings)
    sent = letters.sent()
    shown: list[dict[str, Any]] = []
    counts = Counter[tuple[str, str]]()
    with reading_bars() as tell:
        for letter in letters.read(*_points(from_, to), _wanted(stage, class_, partition), tell):
            if as_json:
                _print_json(plain(letter, sent))
            elif len(shown) < limit:
                shown.append(plain(letter, sent))
            counts[letter.stage, letter.reason] += 1
    if not as_json:
        show_list(shown, counts)


def show(
    settings: WorkerSettings,
    place: Annotated[str, typer.Argument(metavar="PARTITION:OFFSET", help="A letter, as `list` names it.")],
    payload: Annotated[
        bool,
        typer.Option("--payload", help="Also the record: key, headers and value, which may hold card data."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show one dead letter. What is in the record is shown only with --payload.

    fraudstream dead-letters show 3:1042
    """
    letters = DeadLetters(connect(settings), settings)
    letter = _at(letters, place)
    facts = plain(letter, letters.sent())
    record = _record(letters, letter) if payload else None
    if as_json:
        _print_json(facts | (encoded(record) if record else {}))
        return
    console = Console()
    for name, value in facts.items():
        console.print(f"{name + ':':16}{value}", markup=False, highlight=False, soft_wrap=True)
    if record:
        for line in dump(record):
            console.print(line, markup=False, highlight=False, soft_wrap=True)


def redrive(
    settings: WorkerSettings,
    from_: From = "beginning",
    to: To = "end",
    stage: Stage = None,
    class_: Class = None,
    partition: Partition = None,
    schema_id: Annotated[
        int | None,
        typer.Option(min=0, max=(1 << 32) - 1, help="Send under this Confluent schema id.", show_default=False),
    ] = None,
    bare: Annotated[
        bool, typer.Option("--bare", help="The values have no frame: put the schema id before them.")
    ] = False,
    attempts: Annotated[int, typer.Option(min=1, help="Leave what has failed more often.")] = 3,
    send: Annotated[bool, typer.Option("--send", help="Send; without it, only say what would be.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send dead letters back to INPUT_TOPIC, each once: with the key, the headers and the partition that they had.

    First says what would happen; --send does it. Left out is what was sent before (DEAD_LETTERS_TOPIC.redriven tells,
    whatever the filter was), what has failed too often, and what any worker would refuse again.
    Letters that hold no record (dead_letter_payload) have it fetched from INPUT_TOPIC, if it is still there.

    fraudstream dead-letters redrive --class UNKNOWN_SCHEMA --schema-id 7 --send
    """
    if bare and schema_id is None:
        raise typer.BadParameter("--bare needs the --schema-id to put before the values", param_hint="--bare")
    letters = DeadLetters(connect(settings), settings)
    counts = Counter[tuple[str, str, Fate]]()
    with reading_bars() as tell:
        asked = letters.read(*_points(from_, to), _wanted(stage, class_, partition), tell)
        for judged in letters.redrive(asked, Policy(attempts, schema_id, bare), send=send):
            counts.update((each.letter.stage, each.letter.reason, each.fate) for each in judged)
    if as_json:
        _print_json(summary(counts, sent=send))
    else:
        show_counts(counts, sent=send)


dead_letters.command("list")(with_settings(list_))
dead_letters.command()(with_settings(show))
dead_letters.command()(with_settings(redrive))


def _wanted(stage: list[str] | None, class_: list[str] | None, partition: int | None) -> Wanted:
    return Wanted(stage or (), class_ or (), partition)


def _points(first: str, last: str) -> tuple[Point, Point]:
    return point("--from", first), point("--to", last)


def _at(letters: DeadLetters, place: str) -> DeadLetter:
    partition, _, offset = place.partition(":")
    if not (partition.isdecimal() and offset.isdecimal()):
        raise typer.BadParameter(f"{place!r} is not of the form PARTITION:OFFSET", param_hint="PLACE")
    here, after = (Offsets({int(partition): int(offset) + step}) for step in (0, 1))
    found = next(letters.read(here, after, Wanted(), lambda *_: None), None)
    if found is None:
        raise FraudstreamError(f"there is no dead letter of ours at {place}")
    return found


def _record(letters: DeadLetters, letter: DeadLetter) -> Record:
    """What the letter is about. Raises FraudstreamError where it is nowhere any more."""
    record = letter.record if letter.payload is Payload.ORIGINAL else letters.fetch([letter])[0]
    if record is None:
        raise FraudstreamError(f"the letter holds no record ({letter.payload}), and it is no longer where it was")
    print("fraudstream: what follows may hold card data", file=sys.stderr)  # noqa: T201 - for the person
    return record


def _print_json(value: Any) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
