"""Read the headers of a message, whatever their names are made of."""

from operator import methodcaller
from typing import cast

from confluent_kafka import Message

Headers = list[tuple[str, str | bytes | None]]

UNREADABLE = "fraudstream.headers"
"""Header that stands in the place of those that could not be read."""

_read = methodcaller("headers")
"""Asked by C: a call that CPython has specialised after some repetitions does not look whether it failed."""


def headers_of(message: Message) -> Headers:
    """The headers of a message; only UNREADABLE where the name of one is no UTF-8."""
    try:
        headers = _read(message)
    except (SystemError, UnicodeDecodeError):
        # Asked again, confluent-kafka 2.16.0 gives tuples that hold a NULL, and whoever looks at one crashes.
        headers = [(UNREADABLE, b"unreadable")]
        message.set_headers(headers)
    return cast("Headers", headers or [])
