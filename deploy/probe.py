"""``python -m deploy.probe livez``: whether the worker or the monitor of this container lives, for images without curl.

The settings say where: a worker listens on FRAUDSTREAM_METRICS_PORT, a monitor on FRAUDSTREAM_DRIFT_METRICS_PORT, each
plus its FRAUDSTREAM_SLOT.
"""

import argparse
import os
import sys
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

PORTS = ("FRAUDSTREAM_METRICS_PORT", "FRAUDSTREAM_DRIFT_METRICS_PORT")


def main() -> int:
    """Ask, and exit 0 where the answer is yes. The settings are not imported: it is asked every few seconds."""
    parser = argparse.ArgumentParser(prog="deploy.probe", description="Ask a worker or a monitor of this machine.")
    parser.add_argument("probe", choices=("livez", "readyz"))
    parser.add_argument("--port", type=int, help="where it listens; what the environment says if not given")
    given = parser.parse_args()
    slot = int(os.environ.get("FRAUDSTREAM_SLOT", "0"))
    ports = [given.port] if given.port else [int(os.environ[name]) + slot for name in PORTS]
    for port in ports:
        try:
            urlopen(f"http://127.0.0.1:{port}/{given.probe}", timeout=3).close()  # nosec B310
        except (URLError, TimeoutError) as error:
            print(f"port {port}: {error}", file=sys.stderr)  # noqa: T201 - what `docker inspect` then shows
            if isinstance(error, HTTPError):
                return 1
        else:
            return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
