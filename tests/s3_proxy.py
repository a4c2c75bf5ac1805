"""A real HTTP proxy between boto3 and moto that misbehaves when it is told to, as networks and S3 do."""

import contextlib
import threading
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Proxy:
    """Requests of a method meet the faults queued for it, one each; the others pass.

    Writes pass one at a time, as S3 judges those to one key: moto looks and then writes, and two threads of it can
    both find that they may.
    """

    def __init__(self, upstream):
        self.upstream = upstream
        self.seen = []
        self._faults = []
        self._writing = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_port}"

    def next(self, method, *faults):
        self._faults += [(method, fault) for fault in faults]

    def take(self, method):
        for at, (of, fault) in enumerate(self._faults):
            if of == method:
                del self._faults[at]
                return fault
        return passing

    def ask(self, method, path, headers, body):
        with self._writing if method == "PUT" else contextlib.nullcontext():
            connection = HTTPConnection("127.0.0.1", self.upstream, timeout=30)
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            return answer, content

    def close(self):
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _any(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.proxy.seen.append((self.command, self.path, dict(self.headers)))
        with contextlib.suppress(ConnectionError):
            self.proxy.take(self.command)(
                self, lambda: self.proxy.ask(self.command, self.path, dict(self.headers), body)
            )

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _any  # noqa: N815 - http.server names them

    def begin(self, answer, length):
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("connection", "transfer-encoding", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", answer.getheader("Content-Length", str(length)))
        self.end_headers()

    def hang_up(self):
        self.close_connection = True

    def wait_for_the_client_to_leave(self):
        """It closes its side when it has given up."""
        self.connection.settimeout(30)
        with contextlib.suppress(OSError):
            self.connection.recv(1)
        self.hang_up()

    def log_message(self, *_):
        pass


def passing(handler, forward):
    answer, content = forward()
    handler.begin(answer, len(content))
    handler.wfile.write(content)


def refusing(status, code):
    """Answer with an error of S3's, without asking S3."""

    def fault(handler, _):
        body = f"<Error><Code>{code}</Code><Message>told to</Message></Error>".encode()
        handler.send_response_only(status)
        handler.send_header("Content-Type", "application/xml")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return fault


def losing_the_answer(handler, forward):
    """The request is carried out, and nobody hears of it."""
    forward()
    handler.hang_up()


def silent(handler, _):
    handler.wait_for_the_client_to_leave()


def cutting(after, meanwhile=lambda: None):
    """Send the beginning of the body; then something happens, and the connection breaks."""

    def fault(handler, forward):
        answer, content = forward()
        handler.begin(answer, len(content))
        handler.wfile.write(content[:after])
        meanwhile()
        handler.hang_up()

    return fault


def trickling(pause):
    """A byte, a pause, a byte: never silent for long, and never done."""

    def fault(handler, forward):
        answer, content = forward()
        handler.begin(answer, len(content))
        left = threading.Event()
        for at in range(len(content)):
            handler.wfile.write(content[at : at + 1])
            left.wait(pause)

    return fault


def damaging(handler, forward):
    """One bit is another on arrival."""
    answer, content = forward()
    handler.begin(answer, len(content))
    handler.wfile.write(bytes([content[0] ^ 1]) + content[1:])
