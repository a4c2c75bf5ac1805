"""What Prometheus, Alertmanager and Grafana are given is what these programs take, and leads a reader somewhere."""

import re
import shlex
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import yaml
from click import UsageError
from composed import services
from prometheus_server import (
    PROMETHEUS,
    RULES,
    alerts,
    as_question,
    dashboards,
    expressions,
    panels,
    rules,
)
from typer.main import get_command

from deploy.observability.__main__ import DASHBOARDS
from deploy.observability.pages import PAGES
from deploy.observability.panels import to_json
from fraudstream.__main__ import app

ROOT = Path(__file__).resolve().parents[1]
RULE_TESTS = sorted((ROOT / "tests" / "rules").glob("*.yml"))
ALERTMANAGER = ROOT / "deploy" / "observability" / "alertmanager"
RUNBOOKS = (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
SECTIONS = {
    section.split("\n", 1)[0].lower(): section for section in re.split(r"^### ", RUNBOOKS, flags=re.MULTILINE)[1:]
}


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def test_the_dashboards_are_those_that_the_code_makes():
    made = {f"{page.uid}.json": to_json(page) for page in PAGES}

    assert made == {path.name: path.read_text(encoding="utf-8") for path in DASHBOARDS.glob("*.json")}, (
        "run `make dashboards`"
    )


def test_every_panel_says_what_it_shows_and_lies_on_no_other():
    for name, page in dashboards().items():
        places = Counter()
        for panel in page["panels"]:
            at = panel["gridPos"]
            across, down = range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])
            places.update((x, y) for x in across for y in down)
            assert at["x"] + at["w"] <= 24, (name, panel["title"])
        assert max(places.values()) == 1, name
        for panel in panels(page):
            assert panel["description"].endswith("."), (name, panel["title"])
            assert panel["targets"], (name, panel["title"])
            assert panel["datasource"]["uid"] == "${datasource}"


def test_promtool_takes_the_configuration_and_the_rules(tool):
    checked = run(tool("promtool"), "check", "config", PROMETHEUS / "prometheus.yml")

    assert checked.returncode == 0, checked.stderr
    assert all(path.name in checked.stdout for path in RULES)


def test_promtool_takes_every_expression_of_a_dashboard(tool, tmp_path):
    asked = {expression for page in dashboards().values() for _, expression in expressions(page)}
    asked |= {as_question(rule["expr"]) for rule in alerts()}
    group = {"name": "dashboards", "rules": [{"record": f"a:b{n}", "expr": each} for n, each in enumerate(asked)]}
    (tmp_path / "rules.yml").write_text(yaml.safe_dump({"groups": [group]}))

    checked = run(tool("promtool"), "check", "rules", tmp_path / "rules.yml")

    assert checked.returncode == 0, checked.stderr
    assert f"{len(asked)} rules found" in checked.stdout


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_each_alert_fires_when_it_should_and_not_otherwise(tool, path):
    tested = run(tool("promtool"), "test", "rules", path)

    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_each_alert_has_a_case_in_which_it_fires_and_one_in_which_it_is_silent():
    tests = [test for path in RULE_TESTS for test in yaml.safe_load(path.read_text())["tests"]]
    cases = [(case["alertname"], bool(case["exp_alerts"])) for test in tests for case in test["alert_rule_test"]]

    names = [rule["alert"] for rule in alerts()]
    assert len(names) == len(set(names))
    assert {(name, fires) for name in names for fires in (True, False)} == set(cases)


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_each_alert_says_how_grave_it_is_and_what_to_do(rule):
    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"]
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert (ROOT / page).samefile(ROOT / "docs" / "runbooks.md")
    assert anchor == rule["alert"].lower()
    for part in ("**Means.**", "**Look.**", "**Do.**"):
        assert SECTIONS[anchor].count(part) == 1, part


def test_there_is_no_runbook_for_what_never_fires():
    assert set(SECTIONS) == {rule["alert"].lower() for rule in alerts()}


def commands():
    blocks = re.findall(r"```sh\n(.*?)```", RUNBOOKS, re.DOTALL)
    lines = {line.split("  #")[0].strip() for block in blocks for line in block.splitlines()}
    lines |= set(re.findall(r"^\| .* \| `(fraudstream .+)` \|$", RUNBOOKS, re.MULTILINE))
    return sorted(lines)


def test_a_runbook_calls_what_is_in_the_image_or_comes_with_the_machine_or_with_kafka():
    called = {line.partition(" ")[0] for line in commands()}

    assert called == {"fraudstream", "python", "timedatectl", "kafka-consumer-groups.sh"}


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("fraudstream ")])
def test_the_commands_of_the_runbooks_exist(line):
    command, words = get_command(app), shlex.split(line)[1:]
    while hasattr(command, "commands") and words and words[0] in command.commands:
        command, words = command.commands[words[0]], words[1:]

    try:
        command.make_context("fraudstream", words)
    except UsageError as error:
        pytest.fail(f"{line}: {error.format_message()}")


def test_links_within_the_runbooks_lead_somewhere():
    headings = re.findall(r"^#+ (.+)$", RUNBOOKS, re.MULTILINE)
    anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    assert set(re.findall(r"\]\(#([^)]+)\)", RUNBOOKS)) <= anchors


def test_every_recorded_series_is_used():
    used = " ".join(
        [rule["expr"] for rule in rules()] + [each for page in dashboards().values() for _, each in expressions(page)]
    )

    for rule in rules():
        if "record" in rule:
            assert re.search(rf"{rule['record']}\b", used), rule["record"]


def test_amtool_takes_the_configuration(tool):
    checked = run(tool("amtool"), "check-config", ALERTMANAGER / "alertmanager.yml")

    assert checked.returncode == 0, checked.stderr
    assert "3 receivers" in checked.stdout


@pytest.mark.parametrize(
    ("labels", "receiver"),
    [
        (("severity=critical",), "on-call"),
        (("severity=warning",), "working-day"),
        (("severity=critical", "team=models"), "models"),
        (("severity=warning", "team=models"), "models"),
    ],
)
def test_an_alert_reaches_whoever_can_do_something_about_it(tool, labels, receiver):
    routed = run(
        *(tool("amtool"), "config", "routes", "test", f"--config.file={ALERTMANAGER / 'alertmanager.yml'}", *labels),
        f"--verify.receivers={receiver}",
    )

    assert routed.returncode == 0, routed.stdout + routed.stderr


def test_every_way_to_tell_somebody_is_in_use_and_its_secrets_are_files():
    text = (ALERTMANAGER / "alertmanager.yml").read_text()
    settings = yaml.safe_load(text)

    ways = {way for receiver in settings["receivers"] for way in receiver if way.endswith("_configs")}
    assert ways == {"slack_configs", "email_configs", "pagerduty_configs", "sns_configs"}
    assert not re.search(r"^\s*\w*(password|api_url|key|secret|token):", text, re.MULTILINE)


def test_grafana_finds_the_dashboards_and_the_data_where_they_are_put():
    provisioning = DASHBOARDS.parent / "provisioning"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "fraudstream.yml").read_text())["providers"]
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]

    assert provider["type"] == "file"
    assert not provider["allowUiUpdates"]
    assert source["type"] == "prometheus"
    scraped = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["global"]["scrape_interval"]
    assert source["jsonData"]["timeInterval"] == scraped


def test_grafana_of_the_composition_is_given_these_pages_and_that_prometheus():
    provisioning = DASHBOARDS.parent / "provisioning"
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "fraudstream.yml").read_text())["providers"]
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yml").read_text())["datasources"]
    mounts = {mount["target"]: Path(mount["source"]) for mount in services()["grafana"]["volumes"]}
    name, port = re.fullmatch(r"http://(.+):(\d+)", source["url"]).groups()

    assert mounts["/etc/grafana/provisioning"] == provisioning
    assert mounts[provider["options"]["path"]] == DASHBOARDS
    assert int(port) in [each["target"] for each in services()[name]["ports"]]
