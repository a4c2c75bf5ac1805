"""Keep card numbers, and all that nobody has allowed, out of what leaves this process: the last line, not the first.

The first line is that nothing of a record is put into a log, a metric or an error at all.
"""

import re
from collections.abc import Mapping, MutableMapping
from typing import Any

CARD_NUMBER = "[card number]"
NOT_ALLOWED = "[not allowed]"

ALLOWED = frozenset(
    {
        *("event", "level", "timestamp", "exception"),
        *("slot", "seconds", "exit_code", "restart_in", "metrics_port", "in_hand"),
        *("topic", "partition", "partitions", "offset", "next_offset", "first_offset", "end_offset"),
        *("largest", "code", "count", "fault"),
        *("reason", "error", "why", "report", "since"),
        *("model", "models", "name", "version", "role", "shadow", "shadows", "missing", "epoch", "epoch_serving"),
    }
)
"""The fields of a log line that may leave. One that is new is added here, by somebody who has thought about it."""

_RUN = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?P<digits>\d(?:[\s\-]{0,2}\d){12,})")
"""A UUID, which is what it is, or digits in a row."""
_LENGTHS = {"2": (16,), "3": (14, 15, 16), "4": (13, 16, 19), "5": (16,), "6": (16, 17, 18, 19), "8": (16,), "9": (16,)}
"""How long card numbers are by their first digit (ISO/IEC 7812). None begins as the milliseconds of our days do."""


def redact(text: str) -> str:
    """The text without any run of digits in which a card number could stand, with spaces or dashes or without.

    >>> redact("card 4111-1111 1111 1111 is not 1700000000000")
    'card [card number] is not 1700000000000'
    """
    return _RUN.sub(lambda run: CARD_NUMBER if _holds_card_number(run["digits"] or "") else run[0], text)


def _holds_card_number(run: str) -> bool:
    digits = [int(letter) for letter in run if letter.isdecimal()]
    return any(
        _passes_luhn(digits[start : start + length])
        for start in range(len(digits) - 12)
        for length in _LENGTHS.get(str(digits[start]), ())
        if start + length <= len(digits)
    )


def _passes_luhn(digits: list[int]) -> bool:
    """ISO/IEC 7812-1, annex B: from the right, every second digit counts double, crosswise."""
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def redact_value(value: Any) -> Any:
    """A value of a log line without card numbers; what is no plain value is told by its text."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return CARD_NUMBER if redact(str(value)) == CARD_NUMBER else value
    if isinstance(value, Mapping):
        return {redact(str(name)): redact_value(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact_value(inner) for inner in value]
    if isinstance(value, bytes):
        return redact(value.decode("latin-1"))
    return redact(str(value))


def redactor(_logger: object, _method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A processor of structlog: only the fields that are allowed leave, and none with a card number."""
    for name, value in line.items():
        line[name] = redact_value(value) if name in ALLOWED else NOT_ALLOWED
    return line
