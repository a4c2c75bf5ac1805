"""Show whether the workers keep up, and what they decide."""

from deploy.observability.panels import Page, graph, number
from deploy.observability.queries import WORKERS, quantile, quantiles, rate, share, worker, workers

_DECIDED = 'outcome!="dead_letter"'

PAGE = Page(
    "fraudstream-overview",
    "fraudstream: overview",
    "Does it keep up, and what does it decide?",
    WORKERS,
    {
        "Now": (
            number("Records a second", "Decided or refused, over all workers shown.", rate("records_total"), "cps"),
            number(
                "Latency, p99",
                "From the broker's timestamp to the published decision. The objective: 99 % within 0.5 s.",
                quantile(0.99, "broker_latency_seconds"),
                "s",
                bad_from=0.5,
            ),
            number(
                "Age of what waits",
                "The most that a record which is not decided yet can have waited. The objective: 30 s.",
                workers("lag_seconds"),
                "s",
                bad_from=30,
            ),
            number(
                "Slots that are not ready",
                "Of those that answer: they own no partition, keep their place, or are about to end.",
                f"{workers('ready', 'count')} - {workers('ready', 'sum')}",
                bad_from=1,
            ),
            number(
                "Dead letters",
                "Share of the records that could not be scored.",
                share("outcomes_total", 'outcome="dead_letter"'),
                "percentunit",
                bad_from=0.01,
            ),
            number(
                "Alerts that fire",
                "Each has a section in docs/runbooks.md.",
                'count(ALERTS{alertname=~"Fraudstream.+",alertstate="firing"}) or vector(0)',
                bad_from=1,
            ),
        ),
        "Does it keep up?": (
            graph(
                "Records a second",
                "By what became of them.",
                {"{{outcome}}": rate("outcomes_total", "outcome")},
                "cps",
                stacked=True,
            ),
            graph(
                "Latency from the broker",
                "From the broker's timestamp of a record to its published decision; a sample of each batch.",
                quantiles("broker_latency_seconds", 0.5, 0.99, 0.999),
                "s",
            ),
            graph(
                "Age of what waits",
                "By partition. Where nothing is decided it grows by a second each second.",
                {"partition {{partition}}": worker("lag_seconds", by="partition")},
                "s",
            ),
            graph(
                "Records that wait",
                "By partition, up to the last stable offset.",
                {"partition {{partition}}": worker("lag_records", by="partition")},
            ),
            graph(
                "Latency from the event",
                "From the event time in the record: whatever happened before Kafka is in it.",
                quantiles("event_latency_seconds", 0.5, 0.99, 0.999),
                "s",
            ),
            graph(
                "How fast the error budgets burn",
                "Over the last hour. 1 spends in 30 days what 30 days allow; from 14.4 on somebody is called.",
                {
                    "latency": 'max(job:fraudstream_slow_decisions:ratio_rate1h{job=~"$job"}) / 0.01',
                    "freshness": 'max(job:fraudstream_stale:avg1h{job=~"$job"}) / 0.005',
                    "availability": 'max(job:fraudstream_unavailable:avg1h{job=~"$job"}) / 0.001',
                },
            ),
        ),
        "What does it decide?": (
            graph(
                "Flagged transactions",
                "Reviewed and declined, as shares of what was decided.",
                {
                    "review": share("outcomes_total", 'outcome="review"', _DECIDED),
                    "decline": share("outcomes_total", 'outcome="decline"', _DECIDED),
                },
                "percentunit",
                stacked=True,
            ),
            graph(
                "Where the time of a batch goes",
                "Seconds of work in a second, by stage; `consume` holds the wait for records as well.",
                {"{{stage}}": rate("stage_seconds_sum", "stage")},
                "s",
                stacked=True,
            ),
        ),
    },
)
