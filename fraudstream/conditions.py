"""Decide which records a person asked to see: ``decision=decline``, ``score>=0.5``, ``model.version!=3``."""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

ABSENT = object()
"""What stands where a record has no such field."""

_OPERATORS: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_CONDITION = re.compile(r"([\w.\-]+)\s*(!=|>=|<=|=|>|<)\s*(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Condition:
    """A field of the value (or ``key``, ``partition``, ``headers.NAME``, ...) compared with what the user wrote."""

    field: str
    operator: str
    text: str

    def holds(self, record: dict[str, Any]) -> bool:
        """Whether the record has the field and it compares so; numbers as numbers, anything else as text."""
        value = look_up(record, self.field)
        if value is ABSENT:
            return False
        compare = _OPERATORS[self.operator]
        if isinstance(value, int | float) and not isinstance(value, bool):
            try:
                return compare(value, float(self.text))
            except ValueError:
                return self.operator == "!="
        return compare(value if isinstance(value, str) else msgspec.json.encode(value).decode(), self.text)


def parse_condition(text: str) -> Condition:
    """``field=value`` as a condition. Raises ValueError for anything else."""
    match = _CONDITION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not of the form field=value")
    return Condition(match[1], match[2], match[3])


def look_up(record: dict[str, Any], path: str) -> Any:
    """What stands at ``a.b`` in the value, else in the record around it. Header names keep their own dots."""
    if path.startswith("headers."):
        return record.get("headers", {}).get(path.removeprefix("headers."), ABSENT)
    for place in (record["value"], record):
        inner = place
        for name in path.split("."):
            inner = inner.get(name, ABSENT) if isinstance(inner, dict) else ABSENT
        if inner is not ABSENT:
            return inner
    return ABSENT
