"""Publish what was measured: a table, a JSON file, a plot, and the table in the docs."""

import os
import platform
import re
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path

import msgspec
import psutil
import xgboost as xgb
from rich.table import Table

from benchmarks.lines import HEADER, sections
from benchmarks.results import Results, bars


def machine() -> dict[str, str]:
    """What a reader must know to compare; never the name of a host or a path."""
    return {
        "cores": str(os.cpu_count()),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.machine()}",
        "Python": platform.python_version(),
        "confluent-kafka": version("confluent-kafka"),
        "NumPy": version("numpy"),
        "XGBoost": xgb.__version__,
    }


def write_json(path: Path, results: Results, command: str) -> None:
    """Everything, run by run, with the bars."""
    judged = [{**msgspec.to_builtins(bar), "reached": bar.reached} for bar in bars(results)]
    document = {"command": command, "machine": machine(), "bars": judged, "results": results}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")


def table(results: Results) -> Table:
    """The table for the terminal."""
    shown = Table(*HEADER)
    for title, lines in sections(results):
        shown.add_row(f"[bold]{title}")
        for line in lines:
            shown.add_row(*line.cells())
        shown.add_section()
    return shown


def update_docs(page: Path, results: Results, command: str) -> None:
    """Put the table into the docs."""
    put_into(page, _markdown(results, command))


def put_into(page: Path, lines: Iterable[str], name: str = "measured") -> None:
    """Put the lines between the markers of this name in ``page``; the text around them stays."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    measured = "\n".join([begin, *lines, end])
    text = re.sub(f"{begin}.*{end}", lambda _: measured, page.read_text(), flags=re.DOTALL)
    page.write_text(text)


def _markdown(results: Results, command: str) -> Iterator[str]:
    yield origin(command)
    yield "![Throughput, batch sizes and latency](benchmarks.svg)\n"
    for title, lines in sections(results):
        rows = [line.cells() for line in lines]
        used = [0, *(at for at in range(1, len(HEADER)) if any(row[at] for row in rows))]
        yield f"### {title}\n"
        yield markdown_row([HEADER[at] for at in used])
        yield markdown_row(["---"] + ["--:"] * (len(used) - 1))
        yield from (markdown_row([row[at] for at in used]) for row in rows)
        yield ""


def origin(command: str) -> str:
    """The line that says where figures come from."""
    facts = ", ".join(f"{name} {value}" for name, value in machine().items())
    return f"\n`{command}`, on: {facts}.\n"


def markdown_row(cells: Iterable[str]) -> str:
    """A row of a table."""
    return f"| {' | '.join(cells)} |"
