"""A SageMaker endpoint as a worker meets it: a real HTTP server, the XGBoost container's contract, a real XGBoost.

The contract is that of github.com/aws/sagemaker-xgboost-container (algorithm_mode/serve.py, encoder.py) behind the
runtime of botocore's service model: what the container refuses comes back as 424 ModelError with the original status.

As a program it prints its address, and takes faults by POST /control: {"fault": ..., "latency": ..., "times": ...}.
"""

import csv
import json
import socket
import struct
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote

import numpy as np
import xgboost as xgb

LARGEST = 6_291_456
ACCEPTED = ("text/csv", "application/json", "application/jsonlines", "application/x-recordio-protobuf")
SLOW_SECONDS = 3.0
OFFENDING = 777.0
"""A row with this in its first feature is refused, as a container with a check of its own would."""


class ContainerError(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class FakeEndpoint:
    """``fault`` holds for the next ``times`` invocations, for all if None. ``requests``: (headers, lines, fault)."""

    def __init__(self, model_file, name="fraud", variants=("blue", "green")):
        self.booster = xgb.Booster()
        self.booster.load_model(bytearray(model_file))
        self.booster.set_param({"nthread": 1})
        self.features = self.booster.num_features()
        self.name, self.variants, self.components = name, variants, ("one",)
        self.latency, self.lines = 0.0, False
        self.requests, self.lock = [], threading.Lock()
        self.open_now = self.most_open = 0
        self.break_with(None)
        self.server = _Server(("127.0.0.1", 0), _Handler)
        self.server.fake = self
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server.server_port}"

    def break_with(self, fault, times=None):
        self.fault, self.times = fault, times

    def next_fault(self):
        with self.lock:
            if self.times == 0:
                self.fault = None
            elif self.times is not None:
                self.times -= 1
            return self.fault

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """A client that has gone away is what these tests are about."""


def parse(body, content_type):
    """The matrix of a request, as the container reads it."""
    kind = (content_type or "text/csv").lower().partition(";")[0].strip()
    if kind not in ("text/csv", "text/libsvm", "text/x-libsvm"):
        raise ContainerError(415, f"Content-type {kind} not supported")
    try:
        lines = body.strip().decode().split("\n")
        if kind != "text/csv":
            return _libsvm(lines)
        sniffed = csv.Sniffer().sniff(lines[0][:512]).delimiter
        separator = "," if sniffed.isalnum() else sniffed
        return np.array([["nan" if x == "" else x for x in line.split(separator)] for line in lines]).astype(float)
    except Exception as error:
        raise ContainerError(415, f"Loading csv data failed with Exception: {type(error).__name__}") from error


def _libsvm(lines):
    rows = [dict(item.split(":") for item in line.split(" ") if ":" in item) for line in lines]
    width = 1 + max(int(column) for row in rows for column in row)
    matrix = np.full((len(rows), width), np.nan)
    for at, row in enumerate(rows):
        for column, value in row.items():
            matrix[at, int(column)] = float(value)
    return matrix


def encode(scores, accept, *, lines):
    numbers = [float(score) for score in scores]
    if accept == "application/json":
        return json.dumps({"predictions": [{"score": score} for score in numbers]}), accept
    if accept == "application/jsonlines":
        return "".join(json.dumps({"score": score}) + "\n" for score in numbers), accept
    texts = map(str, numbers)
    return ("\n".join(texts) + "\n" if lines else ",".join(texts)), "text/csv; charset=utf-8"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    @property
    def fake(self):
        return self.server.fake

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/control":
            wanted = json.loads(body)
            self.fake.latency = wanted.get("latency", self.fake.latency)
            if "fault" in wanted:
                self.fake.break_with(wanted["fault"], wanted.get("times"))
            facts = {"requests": len(self.fake.requests), "most_open": self.fake.most_open}
            return self.answer(200, json.dumps(facts))
        with self.fake.lock:
            self.fake.open_now += 1
            self.fake.most_open = max(self.fake.most_open, self.fake.open_now)
        try:
            return self.invoke(body)
        finally:
            with self.fake.lock:
                self.fake.open_now -= 1

    def invoke(self, body):
        fault = self.fake.next_fault()
        with self.fake.lock:
            self.fake.requests.append((dict(self.headers), body.count(b"\n"), fault))
        latency = self.fake.latency
        time.sleep(latency() if callable(latency) else latency)
        missing = self.missing()
        if missing or fault in self.ERRORS:
            self.error(*(("ValidationError", missing, 400) if missing else self.ERRORS[fault]))
        elif fault == "down":
            self.hang_up()
        else:
            self.run_model(body, fault)

    def missing(self):
        """What is named in the request and not there, in SageMaker's words."""
        if self.path != f"/endpoints/{self.fake.name}/invocations":
            return f"Endpoint {unquote(self.path.split('/')[2])} of account 123456789012 not found."
        if self.variant not in self.fake.variants:
            return f"Variant {self.variant} not found for Request"
        component = self.headers.get("X-Amzn-SageMaker-Inference-Component")
        known = component is None or component in self.fake.components
        return None if known else f"Inference Component {component} not found"

    @property
    def variant(self):
        return self.headers.get("X-Amzn-SageMaker-Target-Variant", self.fake.variants[0])

    def run_model(self, body, fault):
        if fault == "slow":
            time.sleep(SLOW_SECONDS)
        if fault == "500 of the model":
            self.model_error(500, "Unable to load model")
            return
        try:
            answer, kind = self.score(body, fault)
        except ContainerError as error:
            self.model_error(error.status, str(error))
        else:
            self.deliver(fault, answer, kind)

    ERRORS = {  # noqa: RUF012 - a constant
        "throttled": ("ThrottlingException", "Rate exceeded", 400),
        "429": ("ModelNotReadyException", "The model is not ready", 429),
        "503": ("ServiceUnavailable", "Service is unavailable", 503),
        "500": ("InternalFailure", "Internal failure", 500),
        "530": ("InternalDependencyException", "A dependency failed", 530),
        "403": ("AccessDeniedException", "User is not authorized to perform: sagemaker:InvokeEndpoint", 403),
        "400": ("ValidationError", "1 validation error detected", 400),
    }

    def score(self, body, fault):
        if len(body) > LARGEST:
            raise ContainerError(413, "Request Entity Too Large")
        if not body:
            return "", None
        matrix = parse(body, self.headers.get("Content-Type"))
        accept = self.headers.get("Accept", "text/csv").partition(";")[0].strip()
        if accept not in ACCEPTED:
            raise ContainerError(406, f"Accept type {accept} is not supported.")
        if matrix.shape[1] != self.fake.features:
            raise ContainerError(400, "Unable to evaluate payload provided: Feature size is not consistent")
        if (matrix[:, 0] == OFFENDING).any():
            raise ContainerError(400, "Unable to evaluate payload provided")
        scores = self.fake.booster.predict(xgb.DMatrix(matrix), validate_features=False)
        return encode(self.spoilt(scores, fault), accept, lines=self.fake.lines)

    def spoilt(self, scores, fault):
        scores = scores.astype(object)
        if fault == "NaN":
            scores[len(scores) // 2] = float("nan")
        elif fault == "no probability":
            scores[0] = 1.5
        elif fault == "short":
            return scores[:-1]
        elif fault == "wrong order":
            return scores[::-1]
        return scores

    def deliver(self, fault, answer, kind):
        if kind is None:
            return self.answer(204, "")
        if fault == "garbage":
            answer = "<html>It works!</html>"
        headers = {"Content-Type": kind, "x-Amzn-Invoked-Production-Variant": self.variant}
        attributes = self.headers.get("X-Amzn-SageMaker-Custom-Attributes")
        if attributes is not None:
            headers["X-Amzn-SageMaker-Custom-Attributes"] = attributes
        if fault == "cut":
            return self.cut(answer, headers)
        if fault == "drip":
            return self.drip(answer, headers)
        return self.answer(200, answer, headers)

    def cut(self, answer, headers):
        self.begin(200, len(answer), headers)
        self.wfile.write(answer.encode()[: len(answer) // 2])
        self.wfile.flush()
        self.hang_up()

    def drip(self, answer, headers):
        self.begin(200, len(answer), headers)
        for letter in answer:
            self.wfile.write(letter.encode())
            self.wfile.flush()
            time.sleep(0.1)

    def hang_up(self):
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def model_error(self, status, message):
        more = {"OriginalStatusCode": status, "OriginalMessage": message, "LogStreamArn": ""}
        self.error("ModelError", f"Received client error ({status}) from model", 424, more)

    def error(self, kind, message, status, more=None):
        body = json.dumps({"Message": message, **(more or {})})
        self.answer(status, body, {"x-amzn-ErrorType": kind, "Content-Type": "application/json"})

    def begin(self, status, length, headers):
        self.send_response(status)
        self.send_header("x-amzn-RequestId", "fake")
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def answer(self, status, body, headers=None):
        data = body.encode()
        self.begin(status, len(data), headers or {})
        self.wfile.write(data)
        self.wfile.flush()


if __name__ == "__main__":
    with open(sys.argv[1], "rb") as file:  # noqa: PTH123 - a program of three lines
        fake = FakeEndpoint(file.read())
    print(fake.url, flush=True)  # noqa: T201 - the address is what it is asked for
    sys.stdin.read()  # until whoever started it is gone
