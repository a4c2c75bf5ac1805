"""``python -m deploy.probe livez``: whether the worker of this container lives, for images without curl.

The port is that of its settings: a worker listens on FRAUDSTREAM_METRICS_PORT plus its FRAUDSTREAM_SLOT.
"""

import argparse
import os
import sys
from urllib.error import URLError
from urllib.request import urlopen


def main() -> int:
    """Ask, and exit 0 where the answer is yes. The settings are not imported: it is asked every few seconds."""
    parser = argparse.ArgumentParser(prog="deploy.probe", description="Ask a worker or a monitor of this machine.")
    parser.add_argument("probe", choices=("livez", "readyz"))
    parser.add_argument("--port", type=int, help="where it listens; what the environment says if not given")
    given = parser.parse_args()
    port = given.port or int(os.environ["FRAUDSTREAM_METRICS_PORT"]) + int(os.environ.get("FRAUDSTREAM_SLOT", "0"))
    try:
        urlopen(f"http://127.0.0.1:{port}/{given.probe}", timeout=3).close()  # nosec B310
    except (URLError, TimeoutError) as error:
        print(f"port {port}: {error}", file=sys.stderr)  # noqa: T201 - what `docker inspect` then shows
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
