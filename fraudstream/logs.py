"""Write what happens to standard error as one line an event, for people or for machines, without card numbers."""

import logging
import sys
import threading
import traceback
from types import TracebackType

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
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


def complain(error: Exception) -> None:
    """The sentence for the person."""
    print(f"fraudstream: {redact(str(error))}", file=sys.stderr)  # noqa: T201 - this is how it is said


def guard() -> None:
    """Have what no code of ours catches told without card numbers too."""

    def tell(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        print(redact("".join(traceback.format_exception(kind, error, trace))), file=sys.stderr, end="")  # noqa: T201

    sys.excepthook = tell
    threading.excepthook = lambda args: tell(args.exc_type, args.exc_value or args.exc_type(), args.exc_traceback)
