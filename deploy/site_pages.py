"""Put README.md and CHANGELOG.md into the site of docs/, with their links as they are from there (a hook of mkdocs)."""

import re
from pathlib import Path
from typing import Any

ROOT_PAGES = {"README.md": "index.md", "CHANGELOG.md": "CHANGELOG.md"}
"""Pages beside docs/, and their names in the site."""

LINK = re.compile(r"\[([^\]]*)\]\((?!https?:|#)([^)]+)\)")


def on_files(files: Any, config: Any) -> Any:
    """Called by mkdocs with the pages that it found."""
    from mkdocs.structure.files import File  # noqa: PLC0415 - mkdocs is only where the site is built

    for source, name in ROOT_PAGES.items():
        files.append(File.generated(config, name, content=moved(Path(source).read_text())))
    return files


def moved(page: str) -> str:
    """A page of the root as it reads from docs/: what is not in the site is named instead of linked."""

    def link(match: re.Match[str]) -> str:
        text, target = match.groups()
        target = ROOT_PAGES.get(target, target)
        if target.startswith("docs/"):
            return f"[{text}]({target.removeprefix('docs/')})"
        return match.group() if target in ROOT_PAGES.values() else text

    return LINK.sub(link, page)
