"""What runs elsewhere is pinned, may do little, and calls only what exists here."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))

USES = re.compile(r"uses: *(\S+)(.*)")
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")


def test_every_action_is_pinned_by_its_digest_and_says_its_version():
    pins = {}
    for workflow in WORKFLOWS:
        for action, comment in USES.findall(workflow.read_text()):
            assert PINNED.fullmatch(action), action
            assert re.fullmatch(r" # v\d+\.\d+\.\d+", comment), action
            pins.setdefault(action.partition("@")[0], set()).add(action + comment)

    assert pins
    assert all(len(versions) == 1 for versions in pins.values()), pins


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.name)
def test_a_workflow_makes_only_what_can_be_made(workflow):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    made = re.findall(r"run: make ([a-z-]+)", workflow.read_text())

    assert made
    assert set(made) <= targets


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda workflow: workflow.name)
def test_a_job_is_given_its_rights_one_by_one_and_leaves_no_credentials_behind(workflow):
    content = yaml.safe_load(workflow.read_text())

    assert content["permissions"] == {}
    for job in content["jobs"].values():
        assert job["permissions"]
        checkouts = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")]
        assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_zizmor_finds_nothing():
    zizmor = Path(sys.executable).parent / "zizmor"

    found = subprocess.run(
        [zizmor, "--offline", "--quiet", ROOT / ".github"], capture_output=True, text=True, check=False
    )

    assert found.returncode == 0, found.stdout
