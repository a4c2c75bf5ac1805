"""Read the body of an answer of AWS as it arrives, so that whoever reads decides how long it may take."""

from collections.abc import Iterator
from typing import Any

_PIECE = 2**18


def pieces(body: Any) -> Iterator[bytes]:
    """What has arrived of a StreamingBody, again and again until its end; it is closed then, or when left.

    Its own ``read`` waits until its buffer is full, however slowly that goes. ``read1`` of the response beneath returns
    what is there. Raises urllib3's HTTPError or OSError where the connection breaks.
    """
    stream = body._raw_stream  # noqa: SLF001 - the public methods all wait
    try:
        while piece := stream.read1(_PIECE):
            yield piece
    finally:
        body.close()
