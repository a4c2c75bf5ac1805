"""What runs elsewhere is pinned, may do little, and calls only what exists here."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
RELEASE = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
CI = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]

USES = re.compile(r"uses: *(\S+)(.*)")
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}")


def test_every_action_is_pinned_by_its_digest_and_says_its_version():
    pins = {}
    for workflow in WORKFLOWS:
        for action, comment in USES.findall(workflow.read_text()):
            if action.startswith("./"):
                assert (ROOT / action).is_file()
                continue
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
        checkouts = [step for step in job.get("steps", []) if step.get("uses", "").startswith("actions/checkout@")]
        assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_a_released_image_is_called_as_the_chart_calls_it(tmp_path):
    version = yaml.safe_load((ROOT / "deploy/helm/fraudstream/Chart.yaml").read_text())["appVersion"]
    steps = RELEASE["image"]["steps"]
    (name,) = [step for step in steps if step.get("id") == "name"]
    (push,) = [step["with"] for step in steps if step.get("id") == "push"]
    variables = {"GITHUB_REPOSITORY": "Owner/Fraudstream", "GITHUB_REF_NAME": f"v{version}"}
    output = tmp_path / "output"

    subprocess.run(
        ["bash", "-ec", name["run"]], env=os.environ | variables | {"GITHUB_OUTPUT": str(output)}, check=True
    )

    told = dict(line.split("=", 1) for line in output.read_text().splitlines())
    tag = re.sub(r"\$\{\{ steps.name.outputs.(\w+) }}", lambda found: told[found[1]], push["tags"])
    assert tag == f"ghcr.io/owner/fraudstream:{version}"
    assert told["version"] == version
    assert "VERSION=${{ steps.name.outputs.version }}" in push["build-args"].splitlines()


def test_nothing_is_released_that_was_not_tested_and_scanned():
    order = [step.get("uses", "").partition("@")[0] for step in RELEASE["image"]["steps"]]
    built, pushed = [step["with"] for step in RELEASE["image"]["steps"] if "build-push" in step.get("uses", "")]
    (scan, *_) = [step["with"] for step in RELEASE["image"]["steps"] if "trivy" in step.get("uses", "")]

    assert (built["load"], built["tags"], built["build-args"]) == (True, scan["image-ref"], pushed["build-args"])
    assert scan["exit-code"] == "1"
    assert order.index("aquasecurity/trivy-action") < order.index("docker/login-action")
    assert RELEASE["ci"]["uses"] == "./.github/workflows/ci.yml"
    assert [RELEASE[job]["needs"] for job in ("package", "image", "publish")] == ["ci", "package", "package"]


def test_every_dockerfile_is_built_scanned_and_kept_up_to_date():
    files = {str(path.relative_to(ROOT)) for path in [ROOT / "Dockerfile", *ROOT.glob("deploy/*/Dockerfile")]}
    updates = yaml.safe_load((ROOT / ".github/dependabot.yml").read_text())["updates"]
    (docker,) = [each for each in updates if each["package-ecosystem"] == "docker"]

    assert {each["file"] for each in CI["image"]["strategy"]["matrix"]["include"]} == files
    assert {f"{folder}/Dockerfile".strip("/") for folder in docker["directories"]} == files


def test_zizmor_finds_nothing():
    zizmor = Path(sys.executable).parent / "zizmor"

    found = subprocess.run(
        [zizmor, "--offline", "--quiet", ROOT / ".github"], capture_output=True, text=True, check=False
    )

    assert found.returncode == 0, found.stdout
