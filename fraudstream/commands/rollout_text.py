"""How a rollout, its history and a change of it look in a terminal."""

import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import Console
from rich.table import Table

from models.rollout import Document, Variant, served
from models.rollout_changes import percent
from models.rollout_difference import difference, introduction, policy_in_words, sentences

RANGES_SHOWN = 4


def print_document(document: Document) -> None:
    """What serves, and who said so."""
    table = Table(box=None, pad_edge=False)
    for heading in ("", "model", "backend", "cards", "buckets"):
        table.add_column(heading, justify="right" if heading == "cards" else "left", overflow="fold")
    for each in served(document):
        cards, buckets = (percent(each.share), _ranges(each)) if isinstance(each, Variant) else ("shadow", "")
        backend = each.backend if each.endpoint is None else f"{each.backend}: {each.endpoint.name}"
        table.add_row(each.name, each.version, backend, cards, buckets)
    facts = Table(box=None, pad_edge=False, show_header=False)
    changed = document.changed
    for label, text in (
        ("rollout", f"{document.epoch} ({changed.what})"),
        ("changed", f"{_utc(changed.when)} UTC by {changed.who}"),
        ("why", changed.why or "no reason given"),
        ("policy", policy_in_words(document.policy)),
        ("experiment", f"{document.experiment_id}, drawn by {document.unit} with salt {document.salt_id}"),
    ):
        facts.add_row(label, text)
    _console().print(table, "", facts)


def print_history(documents: Sequence[Document]) -> None:
    """A line for each rollout, the last one first."""
    table = Table(box=None, pad_edge=False)
    for heading in ("rollout", "when (UTC)", "who", "what", "why", "cards"):
        table.add_column(heading, overflow="fold")
    for each in reversed(documents):
        cards = ", ".join(f"{variant.version} {percent(variant.share)}" for variant in each.variants)
        changed = each.changed
        table.add_row(str(each.epoch), _utc(changed.when), changed.who, changed.what, changed.why, cards)
    _console().print(table if documents else "there is no rollout yet")


def print_change(now: Document | None, document: Document) -> None:
    """What is about to change."""
    if document is now:
        return
    changed = document.changed
    step = f"{now.epoch} → {document.epoch}" if now else str(document.epoch)
    print_lines([f"Rollout {step}: {changed.what}, by {changed.who}" + (f": {changed.why}" if changed.why else "")])
    lines = sentences(difference(now, document)) if now else introduction(document)
    print_lines(f"  {line}" for line in lines or ["no card moves"])


def print_lines(lines: Iterable[str]) -> None:
    """Sentences, a line each."""
    for line in lines:
        _console().print(line, soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON value; dataclasses as objects."""
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")


def _console() -> Console:
    # Names and reasons are text, whatever brackets stand in them.
    return Console(markup=False, highlight=False)


def _utc(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def _ranges(variant: Variant) -> str:
    shown = ", ".join(f"{start}-{end - 1}" for start, end in variant.ranges[:RANGES_SHOWN])
    return shown + (", ..." if len(variant.ranges) > RANGES_SHOWN else "")
