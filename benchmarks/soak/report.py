"""Tell what came of a run: a table, the same in the docs, and memory over time as a plot."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("svg")
from matplotlib import pyplot as plt
from rich.table import Table

from benchmarks.report import markdown_row, origin, put_into
from benchmarks.soak.judge import HOUR, MEMORY_BAR, MINUTE, Life, Trend, Verdict, levels
from benchmarks.soak.play import MONITOR, NAMES, SURVIVOR, VICTIM, Soaked

HEADER = ("process", "lived", "looked at", "least memory, MB", "MB an hour (95 %)", "threads", "open files", "verdict")
COLOURS = {NAMES[SURVIVOR]: "#1f6f8b", NAMES[VICTIM]: "#d1885c", MONITOR: "#7a7a7a"}


def table(soaked: Soaked) -> Table:
    """The table for the terminal."""
    shown = Table(*HEADER)
    for verdict in soaked.verdicts:
        shown.add_row(*_cells(verdict))
    return shown


def sentences(soaked: Soaked) -> Iterator[str]:
    """What is said beside the table."""
    faults = "; ".join(f"{what}, {count} times" for what, count in soaked.faults.items())
    yield (
        f"{soaked.seconds / HOUR:.2f} hours, {soaked.records:,} records at {soaked.rate:,.0f} a second "
        f"(as fast as can be {soaked.capacity:,.0f} were sent, decided and audited); "
        f"the first {soaked.warm_seconds / MINUTE:.1f} minutes of each process are not looked at"
    )
    yield f"faults: {faults or 'none'}"
    yield f"workers that ended by themselves: {_counts(soaked.ended, 'with exit code ') or 'none'}"
    yield f"audit, in {soaked.audits} stretches: {_counts(soaked.anomalies) or '0 anomalies'}"
    for complaint in (*soaked.problems, *(each for verdict in soaked.verdicts for each in verdict.complaints)):
        yield f"not clean: {complaint}"
    if not any(verdict.judged for verdict in soaked.verdicts):
        yield "too short: whether memory, threads and files grow is not judged"


def update(page: Path, soaked: Soaked, command: str) -> None:
    """Put the table into the docs, with the plot of the same name beside it."""
    put_into(page, _markdown(soaked, command, page.with_suffix(".svg").name), "soak")


def draw(path: Path, lives: Sequence[Life], faults: Sequence[tuple[float, str]]) -> None:
    """An SVG: the memory of each process over the hours, and a line where something was broken."""
    with plt.rc_context({"svg.hashsalt": "fraudstream", "font.size": 9, "axes.spines.top": False}):
        figure, place = plt.subplots(figsize=(9, 3.6))
        for at, _what in faults:
            place.axvline(at / HOUR, color="#e6e6e6", linewidth=0.8, zorder=0)
        for life in lives:
            times, memory = levels(life.at, life.memory, np.median, MINUTE / 4)
            place.plot(times / HOUR, memory, color=COLOURS[life.name], linewidth=1.2, label=life.name)
        handles, names = place.get_legend_handles_labels()
        known = dict(zip(names, handles, strict=True))
        place.legend(known.values(), known.keys(), frameon=False, loc="lower right")
        place.set_ylim(bottom=0)
        place.set_xlabel("hours")
        place.set_title("Resident memory, MB")
        place.spines["right"].set_visible(False)
        figure.tight_layout()
        figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)


def _markdown(soaked: Soaked, command: str, plot: str) -> Iterator[str]:
    yield origin(command)
    yield from (f"- {sentence}" for sentence in sentences(soaked))
    yield f"\n![Memory of each process over time]({plot})\n"
    yield markdown_row(HEADER)
    yield markdown_row(["---"] + ["--:"] * (len(HEADER) - 2) + ["---"])
    yield from (markdown_row(_cells(verdict)) for verdict in soaked.verdicts)
    yield ""


def _cells(verdict: Verdict) -> tuple[str, ...]:
    lived = f"{verdict.lived_hours * HOUR / MINUTE:.0f} min"
    if verdict.memory is None:
        return verdict.name, lived, "", f"most {verdict.most_memory:.0f}", "", "", "", "too short to judge"
    memory = verdict.memory
    slope = f"{memory.per_hour:+.2f} ({memory.low:+.2f} to {memory.high:+.2f})"
    return (
        verdict.name,
        lived,
        f"{verdict.hours * HOUR / MINUTE:.0f} min",
        f"{memory.first:.0f} → {memory.last:.0f}, most {verdict.most_memory:.0f}",
        slope,
        _moved(verdict.threads),
        _moved(verdict.files),
        "grows" if verdict.complaints else f"flat (below {MEMORY_BAR:g} MB an hour)",
    )


def _moved(trend: Trend | None) -> str:
    return "" if trend is None else f"{trend.first:.0f} → {trend.last:.0f}"


def _counts(counts: Mapping[str, int] | Mapping[int, int], what: str = "") -> str:
    return ", ".join(f"{count:,} {what}{name}" for name, count in counts.items())
