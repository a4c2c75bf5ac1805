"""The documentation says what the code does, and every link in it leads somewhere."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from confluent_kafka import Consumer
from prometheus_client import CollectorRegistry

from consumer.clients import consumer_properties, make_client
from consumer.metrics import WorkerMetrics
from consumer.settings import WorkerSettings
from deploy.site_pages import ROOT_PAGES, moved
from drift.metrics import MonitorMetrics
from fraudstream.reference.__main__ import PAGES
from fraudstream.reference.settings_page import SECTIONS
from schemas.load import load
from schemas.registry import RegistryClient

ROOT = Path(__file__).parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
PROSE = [*sorted(ROOT.glob("*.md")), *DOCS]

FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def prose(page):
    return FENCE.sub("", page.read_text())


def anchors(page):
    """Of the headings, as GitHub makes them."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(prose(page))}


def pages_of(nav):
    for entry in nav:
        yield from [entry] if isinstance(entry, str) else (page for inner in entry.values() for page in pages_of(inner))


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_what_the_code_says_now(name):
    written = (ROOT / "docs" / name).read_text()

    assert written == PAGES[name](), "run `make docs`"


def test_every_setting_and_every_section_is_on_the_page():
    page = PAGES["configuration.md"]()

    for name in WorkerSettings.model_fields:
        assert f"| `--{name.replace('_', '-')}` | `FRAUDSTREAM_{name.upper()}` |" in page
    assert re.findall(r"^## (.*)", page, re.MULTILINE) == list(SECTIONS.values())


@pytest.mark.parametrize("page", PROSE, ids=lambda page: page.name)
def test_every_relative_link_leads_to_a_file_and_a_heading(page):
    for target in LINK.findall(prose(page)):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        linked = page.parent / name if name else page
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_every_page_stands_once_in_the_site():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]

    assert sorted(pages_of(nav)) == sorted([*(page.name for page in DOCS), *ROOT_PAGES.values()])


def test_a_page_of_the_root_links_from_the_site_what_is_in_it_and_names_the_rest():
    page = (
        "[a](docs/drift.md#b), [CHANGELOG.md](CHANGELOG.md), [NOTICE](NOTICE), [c](https://example.org/docs/d), [e](#f)"
    )

    assert moved(page) == (
        "[a](drift.md#b), [CHANGELOG.md](CHANGELOG.md), NOTICE, [c](https://example.org/docs/d), [e](#f)"
    )


def test_the_settings_for_encryption_are_taken_by_the_clients_as_they_stand(tmp_path):
    page = (ROOT / "docs" / "security.md").read_text().replace("/etc/fraudstream/files", str(tmp_path))
    files = ["-keyout", tmp_path / "client.key", "-out", tmp_path / "client.pem"]
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=a", *files],
        check=True,
        capture_output=True,
    )
    (tmp_path / "ca.pem").write_bytes((tmp_path / "client.pem").read_bytes())
    with_certificate, with_password = map(
        tomllib.loads, re.findall(r"^```toml\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    )
    with_password["kafka"]["sasl.password"] = "secret"

    for told in (with_certificate, with_password):
        settings = WorkerSettings(**{"bootstrap_servers": "broker-1:9093", **told})
        make_client(Consumer, {**consumer_properties(settings), "log_level": 0}).close()
    RegistryClient(with_certificate["schema_registry_url"], [], with_certificate["schema_registry"])


def test_every_metric_that_a_page_names_is_told_under_that_name():
    registry, told = CollectorRegistry(), set()
    WorkerMetrics(registry), MonitorMetrics(registry)
    endings = {"counter": ["_total"], "histogram": ["", "_bucket", "_count", "_sum"], "info": ["_info"]}
    for metric in registry.collect():
        told |= {metric.name + ending for ending in endings.get(metric.type, [""])}

    for page in DOCS:
        assert set(re.findall(r"\bfraudstream_\w+", page.read_text())) <= told, page.name


def test_what_scaling_says_was_measured_is_what_benchmarks_says():
    page = (ROOT / "docs" / "scaling.md").read_text()
    measured = (ROOT / "docs" / "benchmarks.md").read_text()
    rows = {
        workers: re.search(rf"^\| {re.escape(name)} \| (.+) \|$", measured, re.MULTILINE)[1].split(" | ")
        for workers, name in enumerate(("fraudstream exactly-once", "fraudstream exactly-once, 2 workers"))
    }
    said = [line.split(" | ")[1:] for line in re.findall(r"^\| (.+) \|$", page, re.MULTILINE)[1:5]]

    for workers, (rate, _, cpu, broker, memory) in rows.items():
        assert [each[workers].removesuffix(" each") for each in said] == [rate, cpu, broker, memory]


def test_the_contracts_name_every_topic_and_every_schema():
    page = (ROOT / "docs" / "data-contracts.md").read_text()
    topics = [name for name in WorkerSettings.model_fields if name.endswith("_topic")]
    schemas = [load(file.stem)["name"] for file in (ROOT / "schemas").glob("*.avsc")]

    for name in topics:
        assert f"| `{WorkerSettings.model_fields[name].default}` (`{name}`) |" in page
    for name in schemas:
        assert f"[{name}](schemas.md#{name.lower()})" in page
        assert f"## {name}\n" in PAGES["schemas.md"]()
