"""A real Alertmanager tells by our configuration: what arrives at Slack, PagerDuty, SNS and the mail server."""

import contextlib
import json
import os
import re
import socketserver
import threading
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs
from urllib.request import Request, urlopen

import pytest
import yaml
from prometheus_server import PROMETHEUS
from worker_stream import wait_until

from deploy.jvm import Server, free_ports, is_listening
from deploy.observability.tools import alertmanager as how_to_start_it
from schemas.errors import ConfigurationError

OURS = PROMETHEUS.parent / "alertmanager"
SITE = PROMETHEUS.parents[2] / "mkdocs.yml"
SECRETS = {"slack_url": "slack", "pagerduty_key": "a-key-of-pagerduty", "smtp_password": "a-password"}


@dataclass
class Outside:
    """The services that Alertmanager speaks to, and what they were told."""

    http: int
    smtp: int
    requests: list = field(default_factory=list)
    mails: list = field(default_factory=list)

    def to(self, path):
        return [body for told, body in self.requests if told == path]


@pytest.fixture
def outside():
    made = Outside(0, 0)

    class Web(BaseHTTPRequestHandler):
        def do_POST(self):
            made.requests.append((self.path, self.rfile.read(int(self.headers["Content-Length"])).decode()))
            self.send_response(202 if self.path == "/pagerduty" else 200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_):
            pass

    class Mail(socketserver.StreamRequestHandler):
        def handle(self):
            self.wfile.write(b"220 here\r\n")
            for line in self.rfile:
                word = line.split()[0].upper()
                if word == b"DATA":
                    self.wfile.write(b"354 go on\r\n")
                    lines = iter(self.rfile.readline, b".\r\n")
                    made.mails.append(b"".join(lines).decode())
                answers = {b"EHLO": b"250-here\r\n250 AUTH PLAIN\r\n", b"AUTH": b"235 yes\r\n", b"QUIT": b"221 bye\r\n"}
                self.wfile.write(answers.get(word, b"250 ok\r\n"))

    class Threading(socketserver.ThreadingTCPServer):
        daemon_threads = True

    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Web), Threading(("127.0.0.1", 0), Mail)]
    made.http, made.smtp = (server.server_address[1] for server in servers)
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    yield made
    for server in servers:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def alertmanager(program, home, outside):
    """Ours, but for the addresses of the services, where the secrets lie, and how long it waits for others."""
    text = (OURS / "alertmanager.yml").read_text().replace("/etc/alertmanager/templates", str(OURS / "templates"))
    text = re.sub(r"group_wait: \w+", "group_wait: 0s", text).replace("/etc/alertmanager/secrets", str(home))
    settings = yaml.safe_load(text)
    for name, secret in SECRETS.items():
        (home / name).write_text(f"http://127.0.0.1:{outside.http}/slack" if secret == "slack" else secret)
    settings["global"] |= {
        "smtp_smarthost": f"127.0.0.1:{outside.smtp}",
        "smtp_require_tls": False,
        "pagerduty_url": f"http://127.0.0.1:{outside.http}/pagerduty",
    }
    for receiver in settings["receivers"]:
        for sns in receiver.get("sns_configs", ()):
            sns["api_url"] = f"http://127.0.0.1:{outside.http}/sns"
    (home / "alertmanager.yml").write_text(yaml.safe_dump(settings))
    (port,) = free_ports(1)
    keys = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_EC2_METADATA_DISABLED": "true"}
    server = Server(
        [
            *(*program, f"--config.file={home / 'alertmanager.yml'}", f"--storage.path={home / 'data'}"),
            *(f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address="),
        ],
        home / "alertmanager.log",
        os.environ | keys,
    )
    try:
        server.wait_until(lambda: is_listening(port))
        yield port
    finally:
        server.stop()


def fire(port, **labels):
    runbook = f"docs/runbooks.md#{labels['alertname'].lower()}"
    alert = {
        "labels": labels,
        "annotations": {"summary": f"{labels['alertname']} says this", "runbook_url": runbook},
        "startsAt": datetime.now(UTC).isoformat(),
    }
    url, body = f"http://127.0.0.1:{port}/api/v2/alerts", json.dumps([alert]).encode()
    with urlopen(Request(url, body, {"Content-Type": "application/json"}), timeout=10) as answer:
        assert answer.status == 200


@pytest.fixture
def program(tool):
    tool("alertmanager")
    try:
        return how_to_start_it()
    except ConfigurationError as error:  # where namespaces are forbidden not even REQUIRE_KAFKA could bring it
        pytest.skip(str(error))


def test_who_is_told_reads_what_happened_and_where_to_read_on(program, outside, tmp_path):
    with alertmanager(program, tmp_path, outside) as port:
        fire(port, alertname="FraudstreamHalted", severity="critical", job="fraudstream-worker")
        fire(port, alertname="FraudstreamDrift", severity="warning", team="models", model="m")
        fire(port, alertname="FraudstreamNoData", severity="warning", job="fraudstream-worker")
        wait_until(
            lambda: (
                len(outside.to("/slack")) == 3
                and outside.to("/pagerduty")
                and any(path.startswith("/sns") for path, _ in outside.requests)
                and outside.mails
            )
        )

    slack = {told["channel"]: told["attachments"][0] for told in map(json.loads, outside.to("/slack"))}
    assert set(slack) == {"#fraud-on-call", "#fraud-models", "#fraud-alerts"}
    assert slack["#fraud-on-call"]["title"] == "[FIRING 1] FraudstreamHalted"
    assert "FraudstreamHalted says this" in slack["#fraud-on-call"]["text"]
    site = yaml.safe_load(SITE.read_text())
    assert site.get("use_directory_urls", True)  # so mkdocs puts runbooks.md at runbooks/
    links = re.findall(r"https:\S+", slack["#fraud-on-call"]["text"])
    assert links == ["https://docs.example.com/fraudstream/runbooks/#fraudstreamhalted"]
    (paged,) = map(json.loads, outside.to("/pagerduty"))
    assert paged["routing_key"] == SECRETS["pagerduty_key"]
    assert paged["payload"]["summary"] == "[FIRING 1] FraudstreamHalted"
    (published,) = (parse_qs(body) for path, body in outside.requests if path.startswith("/sns"))
    assert published["Subject"] == ["[FIRING 1] FraudstreamHalted"]
    assert "#fraudstreamhalted" in published["Message"][0]
    (mail,) = outside.mails
    assert "FraudstreamDrift says this" in mail.replace("=\r\n", "")
    assert "To: fraud-models@example.com" in mail
