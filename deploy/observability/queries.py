"""The expressions that panels share, narrowed by the variables at the head of a page."""

_WORKER = 'job=~"$job",instance=~"$instance"'
_WINDOW = 'model=~"$model",version=~"$version",variant=~"$variant",scale=~"$scale"'

WORKERS = {
    "job": "label_values(fraudstream_records_total, job)",
    "instance": 'label_values(fraudstream_records_total{job=~"$job"}, instance)',
}
"""The variables of pages about workers, and the queries of their values."""

WINDOWS = {
    name: f"label_values(fraudstream_drift_window_rows, {name})" for name in ("model", "version", "variant", "scale")
}
"""Those of pages about what the drift monitor found."""

WATCHED = "{{model}} {{version}} {{variant}}, {{scale}}"
"""The legend of what ``window`` gives."""

CLOCK = f"fraudstream_clock_timestamp_seconds{{{_WORKER}}}"


def worker(metric: str, how: str = "max", by: str = "instance") -> str:
    """A gauge of the workers, taken together by labels."""
    return f"{how} by ({by}) (fraudstream_{metric}{{{_WORKER}}})"


def workers(metric: str, how: str = "max") -> str:
    """A gauge of the workers as one figure."""
    return f"{how}(fraudstream_{metric}{{{_WORKER}}})"


def rate(counter: str, by: str = "", only: str = "") -> str:
    """How often a second, of the series that ``only`` matches."""
    matchers = f"{_WORKER},{only}" if only else _WORKER
    grouped = f"sum by ({by})" if by else "sum"
    return f"{grouped}(rate(fraudstream_{counter}{{{matchers}}}[$__rate_interval]))"


def share(counter: str, of: str, total: str = "", by: str = "") -> str:
    """The part of a counter that matches ``of`` in that which matches ``total``."""
    return f"{rate(counter, by, of)} / {rate(counter, by, total)}"


def increase(counter: str, by: str = "instance") -> str:
    """How often within each step of a graph."""
    return f"sum by ({by}) (increase(fraudstream_{counter}{{{_WORKER}}}[$__rate_interval]))"


def quantile(of: float, histogram: str, by: str = "", only: str = "") -> str:
    """A quantile (0 to 1) of a histogram of the workers, by labels, of the series that ``only`` matches."""
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({of}, {rate(f'{histogram}_bucket', labels, only)})"


def quantiles(histogram: str, *of: float) -> dict[str, str]:
    """Several quantiles by their usual names."""
    return {f"p{100 * each:g}": quantile(each, histogram) for each in of}


def process(metric: str) -> str:
    """What the operating system knows of each worker."""
    return f"process_{metric}{{{_WORKER}}}"


def monitor_process(metric: str) -> str:
    """The same of each drift monitor."""
    return f'process_{metric}{{job="fraudstream-monitor"}}'


def window(metric: str, how: str = "max", by: str = "model, version, variant, scale", only: str = "") -> str:
    """A figure of the newest windows of the drift monitor, by labels."""
    matchers = f"{_WINDOW},{only}" if only else _WINDOW
    return f"{how} by ({by}) (fraudstream_drift_{metric}{{{matchers}}})"
