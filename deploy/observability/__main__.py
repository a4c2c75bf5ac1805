"""Write the dashboards for Grafana: ``python -m deploy.observability``, or ``make dashboards``."""

from pathlib import Path

from deploy.observability.pages import PAGES
from deploy.observability.panels import to_json

DASHBOARDS = Path(__file__).resolve().parent / "grafana" / "dashboards"


def main() -> None:
    """Write one file for each page, and remove those of pages that are gone."""
    for old in DASHBOARDS.glob("*.json"):
        old.unlink()
    for page in PAGES:
        (DASHBOARDS / f"{page.uid}.json").write_text(to_json(page), encoding="utf-8")


if __name__ == "__main__":
    main()
