"""Tell an OpenTelemetry collector of each batch, with links to the traces in which its records came."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import structlog
from confluent_kafka import Message

from consumer.headers import headers_of
from consumer.records import RecordBatch
from consumer.redact import redact
from schemas.errors import ConfigurationError

if TYPE_CHECKING:
    from opentelemetry.trace import SpanContext

log = structlog.get_logger()

MOST_LINKS = 128
"""Of one batch, each to another trace: what the SDK keeps of a span unless told otherwise."""

LENGTH = 55
"""Bytes of a header ``traceparent`` of version 00."""

EXPORT_SECONDS = 1.0
"""For one attempt to send, repetitions included."""

WAITING = 1024
"""Spans that are kept until they are sent, half of them at a time: three attempts are what an end can wait for."""

Trace = Callable[[RecordBatch, int, Mapping[str, float], int], None]
"""A batch that is published, when it began (ns since 1970), the seconds of its stages, how many records were bad."""


class Tracing:
    """Spans of published batches; a batch that was abandoned is decided again, and told of then.

    A span is a CONSUMER span as OpenTelemetry's conventions for messaging have it, linked to the contexts that the
    records bear in their header ``traceparent`` (W3C Trace Context). The SDK sends on a thread of its own, and drops
    what the collector does not take. Raises ConfigurationError where the optional packages are not installed.
    """

    def __init__(self, endpoint: str, group: str, slot: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - optional
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        except ImportError as error:
            raise ConfigurationError(
                "otlp_endpoint is set, but OpenTelemetry is not installed: pip install 'fraudstream[otel]'"
            ) from error
        _log_as_we_do(logging.getLogger("opentelemetry"))
        self._provider = TracerProvider(
            resource=Resource({"service.name": "fraudstream", "service.instance.id": redact(slot)}),
            shutdown_on_exit=False,
        )
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_SECONDS)
        self._provider.add_span_processor(BatchSpanProcessor(exporter, WAITING, max_export_batch_size=WAITING // 2))
        self._tracer = self._provider.get_tracer("fraudstream")
        self._group = redact(group)

    def trace(self, records: RecordBatch, begun_at: int, seconds: Mapping[str, float], bad: int) -> None:
        """Tell of a batch that was published just now."""
        from opentelemetry.trace import Link, SpanKind  # noqa: PLC0415

        topic = redact(records.topic)
        span = self._tracer.start_span(
            f"process {topic}",
            kind=SpanKind.CONSUMER,
            links=[Link(context) for context in contexts(records)],
            start_time=begun_at,
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.type": "process",
                "messaging.destination.name": topic,
                "messaging.consumer.group.name": self._group,
                "messaging.batch.message_count": len(records),
                "fraudstream.dead_letters": bad,
                **{f"fraudstream.{stage}.seconds": value for stage, value in seconds.items()},
            },
        )
        span.end(time.time_ns())

    def close(self) -> None:
        """Send what is left, and give up on a collector that does not take it."""
        self._provider.shutdown()


def contexts(records: RecordBatch) -> "Iterator[SpanContext]":
    """The traces of which records of the batch are a part, each once, up to MOST_LINKS of them."""
    from opentelemetry.trace import get_current_span  # noqa: PLC0415
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

    extract = TraceContextTextMapPropagator().extract
    for parent in islice(_parents(records.messages), MOST_LINKS):
        context = get_current_span(extract({"traceparent": parent})).get_span_context()
        if context.is_valid:
            yield context


def _parents(messages: Sequence[Message]) -> Iterator[str]:
    seen: set[bytes] = set()
    for message in messages:
        for name, value in headers_of(message):
            # Of another length it is none, and the SDK would complain of each.
            if name == "traceparent" and isinstance(value, bytes) and len(value) == LENGTH and value not in seen:
                seen.add(value)
                yield value.decode("latin-1")


class _Ours(logging.Handler):
    """The SDK's complaints as lines of our log."""

    def emit(self, record: logging.LogRecord) -> None:
        log.warning("traces_not_sent", reason=record.getMessage())


def _log_as_we_do(theirs: logging.Logger) -> None:
    theirs.handlers, theirs.propagate = [_Ours(logging.WARNING)], False
