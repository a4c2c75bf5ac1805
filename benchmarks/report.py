"""Show what was measured: one table, one JSON file."""

import os
import platform
from pathlib import Path
from typing import Any

import confluent_kafka
import msgspec
import numpy
import xgboost
from rich.table import Table

from benchmarks.results import Results, Spread, bars

MACHINE_FACTS = ("model name", "MemTotal")


def machine() -> dict[str, str]:
    """What a reader must know to compare: never the name of a host or a path."""
    return {
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "confluent-kafka": confluent_kafka.__version__,
        "librdkafka": confluent_kafka.libversion()[0],
        "numpy": numpy.__version__,
        "xgboost": xgboost.__version__,
    }


def write(path: Path, results: Results) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {"machine": machine(), "results": results, "bars": [_bar(bar) for bar in bars(results)]}
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")


def _bar(bar: Any) -> dict[str, Any]:
    return {**msgspec.to_builtins(bar), "reached": bar.reached}


def table(results: Results) -> Table:
    shown = Table("", "measured", "least to largest", "CPU, µs", "broker, µs", "memory, MB", "bar", "reached")
    for name in dict.fromkeys(run.contender for run in results.throughput):
        runs = results.of(name)
        rate = Spread.of([run.warm_rate for run in runs])
        shown.add_row(
            name,
            f"{rate.median:,.0f}/s",
            f"{rate.least:,.0f} to {rate.largest:,.0f}",
            f"{Spread.of([run.cpu for run in runs]).median:,.1f}",
            f"{Spread.of([run.broker_cpu for run in runs]).median:,.1f}",
            f"{max(run.memory for run in runs):,.0f}",
        )
    shown.add_section()
    for stage, cost in results.stages.items():
        shown.add_row(f"stage: {stage}", f"{cost['wall']:.2f} µs", "", f"{cost['cpu']:.2f}")
    shown.add_section()
    for bar in bars(results):
        spread = bar.measured
        shown.add_row(
            bar.claim,
            f"{spread.median:.2f} {bar.unit}",
            f"{spread.least:.2f} to {spread.largest:.2f}",
            "",
            "",
            "",
            f"{'≥' if bar.at_least else '≤'} {bar.bar:g}",
            "yes" if bar.reached else "no",
        )
    return shown
