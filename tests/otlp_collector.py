"""An HTTP server that takes OpenTelemetry's OTLP, and keeps what it was sent."""

import contextlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass
class Collector:
    url: str = ""
    requests: list = field(default_factory=list)

    @property
    def resources(self):
        return [each for request in self.requests for each in request.resource_spans]

    @property
    def spans(self):
        return [span for each in self.resources for scope in each.scope_spans for span in scope.spans]


@contextlib.contextmanager
def running_collector():
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            known = self.path == "/v1/traces"
            if known:
                collector.requests.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200 if known else 404)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    collector.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield collector
    finally:
        server.shutdown()
        server.server_close()
