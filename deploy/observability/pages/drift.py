"""Show whether what is scored is still what the models were trained for."""

from deploy.observability.panels import Page, graph, listing, number, states
from deploy.observability.queries import WATCHED, WINDOWS, monitor_process, window

_SUBJECT = "model, version, variant, scale, subject"
_TEST = f"{_SUBJECT}, kind"
_TOLD = "sum by (scale, severity) (rate(fraudstream_drift_reports_total[1h])) * 3600"
_LEVELS: dict[float, str] = {-1: "#777777", 0: "green", 1: "orange", 2: "red"}
_CHANGE = f"{window('statistic', by=_TEST)} / {window('threshold', by=_TEST)}"

PAGE = Page(
    "fraudstream-drift",
    "fraudstream: drift",
    "Is what is scored still what the models were trained for? docs/drift.md says what is tested.",
    WINDOWS,
    {
        "Now": (
            number(
                "Worst window",
                "-1 too few rows to say, 0 ok, 1 warn, 2 critical.",
                f"max({window('window_severity')})",
                bad_from=1,
            ),
            number(
                "What drifts",
                "Features, score and rates beyond their threshold, in all windows shown.",
                f"count({window('severity', by='subject')} >= 1) or vector(0)",
                bad_from=1,
            ),
            number(
                "Monitors that read",
                "One reads the samples; others wait for it to end.",
                "sum(fraudstream_drift_active)",
            ),
            number(
                "Models without a baseline",
                "They serve, and nobody can say whether what they see has changed.",
                "sum(fraudstream_drift_unjudged) or vector(0)",
                bad_from=1,
            ),
            number(
                "Windows end",
                "Event time up to which windows are complete.",
                "max(fraudstream_drift_watermark_timestamp_seconds) * 1000",
                "dateTimeFromNow",
            ),
            number(
                "Retrainings asked for",
                "Within the last day.",
                "sum(increase(fraudstream_drift_retrain_requests_total[1d]))",
            ),
        ),
        "What has changed?": (
            states(
                "Windows",
                "Grey: too few rows to say. Green: as usual. Orange: warn. Red: critical.",
                {WATCHED: window("window_severity")},
                _LEVELS,
            ),
            listing(
                "Severity",
                "Of each feature, the score and the rates: -1 too few rows to say, 0 ok, 1 warn, 2 critical.",
                f"sort_desc({window('severity', by=_SUBJECT)})",
            ),
            graph(
                "The largest changes",
                "Size of a change as a multiple of its threshold: an alarm needs more than 1, and that chance is out.",
                {"{{subject}} {{kind}}, {{variant}}, {{scale}}": f"topk(10, {_CHANGE} > 0)"},
                "none",
            ),
            graph(
                "PSI, the ten largest",
                "For whoever is used to it; it decides nothing.",
                {"{{subject}}, {{variant}}, {{scale}}": f"topk(10, {window('psi', by=_SUBJECT)})"},
                "none",
            ),
            graph(
                "Alert rate",
                "Share of all events, sampled or not, that were reviewed or declined.",
                {WATCHED: f"{window('window_alerts')} / ({window('window_scored')} > 0)"},
                "percentunit",
            ),
            graph(
                "Distance of the scores",
                "Between the scores of the window and those of the baseline.",
                {WATCHED: window("statistic", only='kind="score"')},
                "none",
            ),
        ),
        "Does the monitor see enough?": (
            graph(
                "Rows compared",
                "Sampled rows of the window; with less than 500 nothing can be said.",
                {WATCHED: window("window_rows")},
            ),
            graph(
                "Windows told an hour",
                "By kind of window and severity; revisions are counted as well.",
                {"{{scale}} {{severity}}": _TOLD},
            ),
            graph(
                "Samples read a second",
                "Records of the sample topic, each of a batch of a worker.",
                {"samples": "sum(rate(fraudstream_drift_samples_total[$__rate_interval]))"},
                "cps",
            ),
            graph(
                "Watermark",
                "How far event time stands behind the clock. A replay of old events stands far behind.",
                {"behind": "time() - max(fraudstream_drift_watermark_timestamp_seconds)"},
                "s",
            ),
        ),
        "Processes": (
            graph(
                "Memory",
                "Resident, of each monitor; it should be flat.",
                {"{{instance}}": monitor_process("resident_memory_bytes")},
                "bytes",
                width=8,
            ),
            graph(
                "CPU",
                "Cores in use.",
                {"{{instance}}": f"rate({monitor_process('cpu_seconds_total')}[$__rate_interval])"},
                "none",
                width=8,
            ),
            graph("Open files", "It should be flat.", {"{{instance}}": monitor_process("open_fds")}, width=8),
        ),
    },
)
