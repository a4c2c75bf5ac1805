"""Find Prometheus, Alertmanager and what checks their files: on the PATH, or in Debian's packages, unpacked once."""

import shutil
import subprocess
import tempfile
from pathlib import Path

from deploy.jvm import CACHE, locked
from schemas.errors import ConfigurationError

PACKAGES = {
    "prometheus": ("prometheus", "prometheus"),
    "promtool": ("prometheus", "promtool"),
    "alertmanager": ("prometheus-alertmanager", "prometheus-alertmanager"),
    "amtool": ("prometheus-alertmanager", "amtool"),
}
"""Which package has which program, and its name there."""

# Debian's Alertmanager reads its own templates from this place and no other.
_AT_HOME = 'mount --bind "$0" /usr/share && exec "$@"'


def tool(name: str) -> str:
    """The path of a program in PACKAGES. Raises ConfigurationError where it can neither be found nor fetched."""
    package, there = PACKAGES[name]
    return shutil.which(name) or shutil.which(there) or str(_unpacked(package) / "usr" / "bin" / there)


def alertmanager() -> list[str]:
    """How to start Alertmanager: what unpacked it finds its files where it looks, in a mount namespace of its own.

    Raises ConfigurationError where it cannot be fetched, or the machine lets nobody have such a namespace.
    """
    program = Path(tool("alertmanager"))
    share = program.parents[1] / "share"
    if not program.is_relative_to(CACHE):
        return [str(program)]
    alone = ["unshare", "--map-root-user", "--mount", "sh", "-c", _AT_HOME, str(share)]
    if subprocess.run([*alone, "true"], capture_output=True, check=False).returncode != 0:
        raise ConfigurationError("no mount namespace is to be had here: put Alertmanager on the PATH")
    return [*alone, str(program)]


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
