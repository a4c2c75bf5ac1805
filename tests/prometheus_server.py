"""A real Prometheus with our rules, that looks every second, and our expressions as it takes them."""

import contextlib
import json
import re
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import yaml

from deploy.jvm import Server, free_ports, is_listening
from deploy.observability.__main__ import DASHBOARDS

PROMETHEUS = DASHBOARDS.parents[1] / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
_STEP = "10s"
_COMPARISON = re.compile(r'("[^"]*")|(?<![=!<>~])(==|!=|>=|<=|>|<)(?![=~])(?! *bool)(?! *")')


def rules():
    """Every rule of ours, as its file has it."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def alerts():
    return [rule for rule in rules() if "alert" in rule]


def dashboards():
    return {path.stem: json.loads(path.read_text()) for path in sorted(DASHBOARDS.glob("*.json"))}


def panels(dashboard):
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions(dashboard):
    """(panel, expression) with all that Grafana would put into it."""
    for panel in panels(dashboard):
        for target in panel["targets"]:
            yield panel["title"], filled_in(dashboard, target["expr"])


def variables(dashboard):
    """Each variable that asks Prometheus for its values: the series, and the label that it takes them from."""
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            series, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]).groups()
            yield filled_in(dashboard, series), label


def filled_in(dashboard, expression):
    expression = expression.replace("$__rate_interval", _STEP)
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            expression = expression.replace(f"${variable['name']}", variable["allValue"])
    assert "$" not in expression, expression
    return expression


def as_question(condition):
    """The condition of an alert as one that is answered by 0 where it is not met, instead of by nothing at all."""
    return _COMPARISON.sub(lambda found: found[1] or f"{found[2]} bool", condition)


class Answers:
    """What a Prometheus on this port says."""

    def __init__(self, port):
        self.port = port

    def answer(self, expression):
        """The series that it evaluates to: (labels, value)."""
        found = self._get("query", query=expression)
        if found["resultType"] == "scalar":
            return [({}, float(found["result"][1]))]
        return [(each["metric"], float(each["value"][1])) for each in found["result"]]

    def unhealthy_rules(self):
        """Those that it could not evaluate or not yet, and why."""
        groups = self._get("rules")["groups"]
        return {each["name"]: each for group in groups for each in group["rules"] if each["health"] != "ok"}

    def alertmanagers(self):
        """Where it sends alerts."""
        return [each["url"] for each in self._get("alertmanagers")["activeAlertmanagers"]]

    def _get(self, what, **query):
        with urlopen(f"http://127.0.0.1:{self.port}/api/v1/{what}?{urlencode(query)}", timeout=10) as answer:
            told = json.load(answer)
        assert told["status"] == "success", told
        return told["data"]


class Prometheus(Answers):
    """One of our own; ``targets`` are host:port by job."""

    def __init__(self, program, home, targets):
        super().__init__(*free_ports(1))
        self._command = [
            *(program, f"--config.file={_configure(home, targets)}", f"--storage.tsdb.path={home / 'data'}"),
            *(f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn"),
        ]
        self._log = home / "prometheus.log"

    @contextlib.contextmanager
    def running(self):
        server = Server(self._command, self._log)
        try:
            server.wait_until(self._is_ready)
            yield self
        finally:
            server.stop()

    def _is_ready(self):
        """It listens before it has read what it has stored, and answers 503 until then."""
        if not is_listening(self.port):
            return False
        with contextlib.suppress(HTTPError), urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=10):
            return True
        return False


def _configure(home, targets):
    """Our configuration, but for the intervals, where the targets are, and whom to alert."""
    settings = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    del settings["alerting"]
    for job in settings["scrape_configs"]:
        job["static_configs"] = [{"targets": targets[job["job_name"]]}]
    (home / "rules").mkdir()
    for path in RULES:
        (home / "rules" / path.name).write_text(re.sub(r"interval: \w+", "interval: 1s", path.read_text()))
    path = home / "prometheus.yml"
    path.write_text(yaml.safe_dump(settings))
    return path
