"""``python deploy/image_requirements.py``: the part of requirements.lock that the image needs, with pins and hashes.

The lock pins what tests and tools need as well. Each of its entries says which others asked for it, so the part is
what can be reached from the dependencies of the project and the extras that a cluster uses, or from the names given.
"""

import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

EXTRAS = ("mlflow", "msk", "otel")
_ENTRY = re.compile(r"^(?=[A-Za-z0-9])", re.MULTILINE)
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_ASKED_BY = re.compile(r"^    #(?: via)? +([A-Za-z0-9._-]+)", re.MULTILINE)


def reachable(lock: str, roots: Iterable[str]) -> str:
    """The entries of the lock for these requirements and all that they ask for."""
    entries = [(_name(entry), entry) for entry in _ENTRY.split(lock) if entry.strip()]
    found, new = set[str](), {_name(root) for root in roots}
    while new:
        found |= new
        new = {name for name, entry in entries if found & set(_ASKED_BY.findall(entry))} - found
    return "".join(entry for name, entry in entries if name in found)


def of_project(pyproject: str) -> list[str]:
    """What the image installs, as requirements."""
    project = tomllib.loads(pyproject)["project"]
    return [*project["dependencies"], *(each for extra in EXTRAS for each in project["optional-dependencies"][extra])]


def _name(requirement: str) -> str:
    match = _NAME.match(requirement)
    assert match is not None
    return re.sub(r"[-_.]+", "-", match[0].lower())


if __name__ == "__main__":
    asked = sys.argv[1:] or of_project(Path("pyproject.toml").read_text())
    sys.stdout.write(reachable(Path("requirements.lock").read_text(), asked))
