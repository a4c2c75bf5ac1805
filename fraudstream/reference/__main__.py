"""``python -m fraudstream.reference docs``: write the pages that are written from the code, into this directory."""

import sys
from pathlib import Path

from fraudstream.reference.schemas_page import schemas_page
from fraudstream.reference.settings_page import settings_page

PAGES = {"configuration.md": settings_page, "schemas.md": schemas_page}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (Path(sys.argv[1]) / name).write_text(page())
