"""Draw what was measured: throughput, batch sizes and latency beside each other."""

from pathlib import Path

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from benchmarks.latency import typical
from benchmarks.results import NAIVE, Results, Spread, warm

OURS, OTHERS = "#1f6f8b", "#b8b8b8"


def draw(path: Path, results: Results) -> None:
    """An SVG with one panel for each part that was measured; nothing if there is none."""
    panels = [
        panel
        for panel, measured in (
            (_throughput, results.throughput),
            (_batches, results.batches),
            (_latency, results.latency),
        )
        if measured
    ]
    if not panels:
        return
    with plt.rc_context({"svg.hashsalt": "fraudstream", "font.size": 9, "axes.spines.top": False}):
        figure, axes = plt.subplots(1, len(panels), figsize=(5.2 * len(panels), 3.6), squeeze=False)
        for panel, place in zip(panels, axes[0], strict=True):
            panel(place, results)
            place.spines["right"].set_visible(False)
        figure.tight_layout()
        figure.savefig(path, format="svg", bbox_inches="tight", metadata={"Date": None})
        plt.close(figure)


def _colour(contender: str) -> str:
    return OURS if contender.startswith("fraudstream") else OTHERS


def _throughput(place: Axes, results: Results) -> None:
    names = [name for name in dict.fromkeys(run.contender for run in results.throughput) if name != NAIVE][::-1]
    spreads = [Spread.of([warm(run) for run in results.throughput if run.contender == name]) for name in names]
    medians = [spread.median / 1000 for spread in spreads]
    reach = (
        [(spread.median - spread.least) / 1000 for spread in spreads],
        [(spread.largest - spread.median) / 1000 for spread in spreads],
    )
    place.barh(names, medians, xerr=reach, color=[_colour(name) for name in names], ecolor="#444", capsize=2)
    place.set_title("Throughput, thousand events/s")


def _batches(place: Axes, results: Results) -> None:
    sizes = list(results.batches)
    for name in dict.fromkeys(run.contender for run in results.batches[sizes[0]]):
        rates = [
            Spread.of([warm(run) for run in results.batches[size] if run.contender == name]).median / 1000
            for size in sizes
        ]
        place.plot(sizes, rates, marker="o", label=name.removeprefix("fraudstream "))
    place.set_xscale("log")
    place.set_xticks(sizes, [f"{size:,}" for size in sizes])
    place.minorticks_off()
    place.set_ylim(bottom=0)
    place.legend(frameon=False)
    place.set_title("Thousand events/s by batch size")


def _latency(place: Axes, results: Results) -> None:
    for latency in typical(results.latency):
        points = [latency.p50, latency.p90, latency.p99, latency.p999]
        place.plot(["p50", "p90", "p99", "p99.9"], points, marker="o", label=latency.contender)
    place.set_ylim(bottom=0)
    place.legend(frameon=False)
    place.set_title("Latency at 10,000 events/s, ms")
