"""Show dead letters to a person or a machine: what may leave of them, and the record itself only when asked."""

from base64 import b64encode
from collections import Counter
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from consumer.letter import DeadLetter, Record
from consumer.redrive import Fate
from schemas.printable import printable


def plain(letter: DeadLetter, sent: Collection[bytes]) -> dict[str, Any]:
    """What may leave: never a key, a value or a header of the record."""
    return {
        "letter": letter.place,
        "time": _iso(letter.time),
        "topic": letter.topic,
        "partition": letter.source_partition,
        "offset": letter.source_offset,
        "stage": letter.stage,
        "class": letter.reason,
        "message": letter.message,
        "attempt": letter.attempt,
        "payload": letter.payload,
        "redriven": letter.identity in sent,
    }


def show_list(shown: list[dict[str, Any]], counts: Counter[tuple[str, str]]) -> None:
    """Print letters as ``plain`` gives them, and how many there are by stage and class."""
    table = Table(box=None, pad_edge=False)
    for heading in ("letter", "time", "source", "class", "tries", "sent"):
        table.add_column(heading, overflow="fold")
    for each in shown:
        source = f"{each['topic']} {each['partition']}:{each['offset']}"
        sent = "again" if each["redriven"] else ""
        table.add_row(each["letter"], each["time"], source, each["class"], str(each["attempt"]), sent)
    console = Console()
    console.print(table)
    by_class = ", ".join(f"{count:,} {stage} {reason}" for (stage, reason), count in counts.most_common())
    left = f" ({len(shown):,} shown)" if len(shown) < counts.total() else ""
    console.print(
        f"{counts.total():,} dead letters{left}" + (f": {by_class}" if by_class else ""),
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def summary(counts: Counter[tuple[str, str, Fate]], *, sent: bool) -> dict[str, Any]:
    """What became of letters, counted by stage, class and fate; without ``sent``: what would."""
    return {
        "dry_run": not sent,
        "letters": counts.total(),
        "to_send": sum(count for (_, _, fate), count in counts.items() if fate is Fate.SENT),
        "by_class": [
            {"stage": stage, "class": reason, "fate": fate.name.lower(), "count": count}
            for (stage, reason, fate), count in sorted(counts.items())
        ],
    }


def show_counts(counts: Counter[tuple[str, str, Fate]], *, sent: bool) -> None:
    """Print the same."""
    table = Table(box=None, pad_edge=False)
    for heading in ("stage", "class", "letters", "fate"):
        table.add_column(heading, justify="right" if heading == "letters" else "left", overflow="fold")
    for (stage, reason, fate), count in sorted(counts.items()):
        told = "would be sent" if fate is Fate.SENT and not sent else fate.value
        table.add_row(stage, reason, f"{count:,}", told)
    console = Console()
    if counts:
        console.print(table)
    number = summary(counts, sent=sent)["to_send"]
    told = f"{number:,} sent" if sent else f"{number:,} would be sent; nothing was: --send does it"
    console.print(told, markup=False, highlight=False, soft_wrap=True)


def encoded(record: Record) -> dict[str, Any]:
    """The record for machines: bytes as base64."""

    def text(value: str | bytes | None) -> str | None:
        return None if value is None else b64encode(value.encode() if isinstance(value, str) else value).decode()

    headers = [{"name": name, "value": text(value)} for name, value in record.headers]
    return {"key": text(record.key), "value": text(record.value), "headers": headers}


def dump(record: Record) -> Iterator[str]:
    """The record for people, sixteen bytes a line."""
    for name, content in (("key", record.key), *record.headers, ("value", record.value)):
        data = content.encode() if isinstance(content, str) else content
        yield f"{printable(name)}: " + ("null" if data is None else f"{len(data)} bytes")
        for at in range(0, len(data or b""), 16):
            line = (data or b"")[at : at + 16]
            text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in line)
            yield f"  {at:06x}  {line.hex(' '):47}  {text}"


def _iso(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
