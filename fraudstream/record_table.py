"""Show records as a table: the columns that matter for each kind of record."""

from typing import Any

import msgspec
from rich.table import Table
from rich.text import Text

from fraudstream.conditions import ABSENT, look_up
from schemas.printable import printable

COLUMNS: dict[str, tuple[str, ...]] = {
    "headers.__connect.errors.stage": (
        "headers.__connect.errors.topic",
        "headers.__connect.errors.partition",
        "headers.__connect.errors.offset",
        "headers.__connect.errors.stage",
        "headers.__connect.errors.exception.message",
    ),
    "decision_id": ("event_time", "transaction_id", "unit", "decision", "score", "model.version", "reason_codes"),
    "is_fraud": ("label_time", "transaction_id", "unit", "is_fraud", "source"),
    "card_id": ("event_time", "transaction_id", "card_id", "amount"),
}
"""What the table shows of a record that has the field on the left, the first that fits; of any other, its first fields.

A dead letter comes first: its value may well be a transaction."""


def make_table(records: list[dict[str, Any]], title: str) -> Table:
    """The records as a table, with the columns of the last one."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    names = _columns(records[-1]) if records else ()
    for name in ("partition", "offset", *names):
        table.add_column(name.removeprefix("headers.__connect.errors."), no_wrap=True, overflow="ellipsis")
    for record in records:
        cells = [look_up(record, name) for name in names]
        place = [record["partition"], record["offset"]]
        table.add_row(*(Text(printable("" if cell is ABSENT else _cell(cell))) for cell in place + cells))
    return table


def _columns(record: dict[str, Any]) -> tuple[str, ...]:
    for mark, names in COLUMNS.items():
        if look_up(record, mark) is not ABSENT:
            return names
    if "undecodable" in record:
        return ("key", "undecodable")
    return tuple(record["value"])[:6] if isinstance(record["value"], dict) else ("key", "value")


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list) and value and isinstance(value[0], dict) and "feature" in value[0]:
        return " ".join(f"{reason['feature']} {reason['contribution']:+.2f}" for reason in value)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
