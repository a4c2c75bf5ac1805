"""Show whether the data is what it should be, and who would have to mend it."""

from deploy.observability.panels import Page, graph, number
from deploy.observability.queries import WATCHED, WINDOWS, WORKERS, rate, share, window, worker, workers

_FEATURE = "model, version, variant, scale, subject"


def _largest(kind: str) -> dict[str, str]:
    changes = window("statistic", by=_FEATURE, only=f'kind="{kind}"')
    return {"{{subject}}, {{variant}}, {{scale}}": f"topk(10, {changes})"}


PAGE = Page(
    "fraudstream-quality",
    "fraudstream: data quality",
    "Is the data what it should be, and who would have to mend it?",
    WORKERS | WINDOWS,
    {
        "Now": (
            number(
                "Dead letters",
                "Share of the records that could not be scored.",
                share("outcomes_total", 'outcome="dead_letter"'),
                "percentunit",
                bad_from=0.01,
                width=6,
            ),
            number(
                "Flat schemas",
                "0 once a worker has met a nested schema: its records are walked one by one.",
                workers("columnar", "min"),
                width=6,
            ),
            number(
                "Keep their place",
                "Workers that met nearly nothing but bad records and try them again.",
                workers("halted", "sum"),
                bad_from=1,
                width=6,
            ),
            number(
                "Unreadable samples",
                "Records of the sample topic within a day that are none of ours.",
                "sum(increase(fraudstream_drift_unreadable_samples_total[1d]))",
                bad_from=1,
                width=6,
            ),
        ),
        "What could not be scored": (
            graph(
                "Dead letters a second",
                "By the stage that refused them, and why; `fraudstream dead-letters list` shows them.",
                {"{{stage}}: {{reason}}": rate("dead_letters_total", "stage, reason")},
                "cps",
                stacked=True,
            ),
            graph(
                "Dead letters by window",
                "As the drift monitor counts them by event time.",
                {WATCHED: window("window_dead_letters")},
            ),
        ),
        "What the features hold": (
            graph(
                "Missing values, the ten largest changes",
                "Difference to the share of missing values in the baseline.",
                _largest("missing"),
                "percentunit",
            ),
            graph(
                "Infinite values, the ten largest changes",
                "Difference to the share of infinite values in the baseline.",
                _largest("infinite"),
                "percentunit",
            ),
            graph(
                "Out of range, the ten largest changes",
                "Difference to the share of values outside the range in the model's manifest.",
                _largest("range"),
                "percentunit",
            ),
            graph(
                "Events by window",
                "All that were scored, sampled or not.",
                {WATCHED: window("window_scored")},
            ),
        ),
        "When it comes": (
            graph(
                "Events out of their time",
                "Sampled, since the monitor's start: they revised a window, came too late, or claim a time to come.",
                {"{{how}}": "sum by (how) (fraudstream_drift_untimely_events)"},
            ),
            graph(
                "Columnar decoding",
                "1 while all schemas met are flat.",
                {"{{instance}}": worker("columnar")},
            ),
        ),
    },
)
