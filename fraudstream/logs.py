"""Write what happens to standard error as one line an event, for people or for machines, without card numbers."""

import contextlib
import logging
import sys
import threading
import traceback
from types import TracebackType
from typing import TextIO

import structlog

from consumer.redact import redact, redactor


def configure(log_format: str, level: str) -> None:
    """``log_format`` is console or json; ``level`` is debug, info, warning or error."""
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        # Its own tracebacks show local variables: a record may be among them.
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
    )
    stderr = sys.stderr
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redactor,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: _Log(stderr),
    )


def _write(line: str, file: TextIO) -> None:
    """A line that cannot be written (a full disk, a closed pipe) is lost, and nothing else."""
    with contextlib.suppress(OSError):
        print(line, file=file, flush=True)


class _Log:
    """What structlog hands its lines to."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def msg(self, line: str) -> None:
        _write(line, self._file)

    debug = info = warning = error = critical = exception = msg


def complain(error: Exception) -> None:
    """The sentence for the person."""
    _write(f"fraudstream: {redact(str(error))}", sys.stderr)


def guard() -> None:
    """Have what no code of ours catches told without card numbers too."""

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        print(redact("".join(traceback.format_exception(kind, error, trace))), file=sys.stderr, end="")  # noqa: T201

    sys.excepthook = tell
    threading.excepthook = lambda args: tell(args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)
