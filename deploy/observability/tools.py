"""Find Prometheus, Alertmanager and what checks their files: on the PATH, or in Debian's packages, unpacked once."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from deploy.jvm import CACHE, locked
from schemas.errors import ConfigurationError

PACKAGES = {"prometheus": "prometheus", "promtool": "prometheus", "amtool": "prometheus-alertmanager"}
"""Which package has which program."""


def tool(name: str) -> str:
    """The path of a program in PACKAGES. Raises ConfigurationError where it can neither be found nor fetched."""
    return shutil.which(name) or str(_unpacked(PACKAGES[name]) / "usr" / "bin" / name)


def _unpacked(package: str) -> Path:
    """The directory in which a package lies as it would below the root; nothing is installed."""
    home = CACHE / "observability"
    made = home / package
    home.mkdir(parents=True, exist_ok=True)
    with locked(home / f"{package}.lock"):
        if not made.is_dir():
            for needed in ("apt-get", "dpkg-deb"):
                if shutil.which(needed) is None:
                    raise ConfigurationError(f"{package} is not on the PATH, nor is {needed}, which could fetch it")
            partial = Path(tempfile.mkdtemp(prefix="fetching-", dir=home))
            try:
                _fetch(package, partial)
                partial.rename(made)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
    return made


def _fetch(package: str, into: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="fraudstream-apt-") as name:
        home = Path(name)
        # Lists of our own: those of the machine may be old or absent, and only root may update them.
        lists = ["-o", f"Dir::State::Lists={home}/lists", "-o", f"Dir::Cache={home}/cache"]
        for directory in ("lists/partial", "cache/archives/partial"):
            (home / directory).mkdir(parents=True)
        own = [*lists, "-o", "APT::Sandbox::User="]  # apt's own user cannot write to a directory of ours
        _run(package, ["apt-get", "-qq", *own, "update"], home)
        _run(package, ["apt-get", "-qq", *own, "download", package], home)
        (archive,) = home.glob("*.deb")
        _run(package, ["dpkg-deb", "--extract", str(archive), str(into)], home)


def _run(package: str, command: list[str], home: Path) -> None:
    result = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        reason = (result.stderr.strip().splitlines() or ["no reason given"])[-1]
        raise ConfigurationError(f"{package} could not be fetched: {reason}")
