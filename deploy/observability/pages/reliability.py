"""Show what goes wrong, how often, and whether it mends itself."""

from deploy.observability.panels import Page, graph, number, states
from deploy.observability.queries import CLOCK, WORKERS, increase, process, quantile, quantiles, rate, worker, workers

_UNOWNED = f"clamp_min({workers('input_partitions')} - {workers('assigned_partitions', 'sum')}, 0)"

PAGE = Page(
    "fraudstream-reliability",
    "fraudstream: reliability",
    "What goes wrong, how often, and does it mend itself?",
    WORKERS,
    {
        "Now": (
            number(
                "Keep their place",
                "Workers that try the same records again: nearly all are bad, or something that they need is away.",
                f"{workers('halted', 'sum')} + {workers('held', 'sum')}",
                bad_from=1,
            ),
            number(
                "Partitions that stand still",
                "Their next record was deleted before it was decided.",
                workers("stopped_partitions", "sum"),
                bad_from=1,
            ),
            number(
                "Slots with two processes",
                "Each cuts the other off.",
                f"count({worker('slot_info', 'count', 'slot')} > 1) or vector(0)",
                bad_from=1,
            ),
            number(
                "Slowest loop",
                "Time since a loop last came round; after two minutes /livez fails.",
                workers("loop_age_seconds"),
                "s",
                bad_from=60,
            ),
            number(
                "Clock off",
                "The largest difference between a worker's clock and that of Prometheus.",
                f"max(abs({CLOCK} - timestamp({CLOCK})))",
                "s",
                bad_from=2,
            ),
            number(
                "Starts within an hour",
                "Of the worker that started most often.",
                f"max(changes({process('start_time_seconds')}[1h]))",
                bad_from=3,
            ),
        ),
        "Slots": (
            states(
                "Ready",
                "Red: the slot answers and does not decide. No bar: it does not answer.",
                {"{{instance}}": worker("ready")},
                {0: "red", 1: "green"},
            ),
            graph(
                "Partitions by worker",
                "A partition that nobody owns is decided by nobody.",
                {"{{instance}}": worker("assigned_partitions"), "nobody": _UNOWNED},
                stacked=True,
            ),
            graph(
                "Rebalances",
                "Partitions given or taken away; a rolling restart moves nothing.",
                {"{{instance}}": increase("rebalances_total")},
            ),
            graph(
                "Time since the loop came round",
                "Long where a batch or a call does not end.",
                {"{{instance}}": worker("loop_age_seconds")},
                "s",
            ),
        ),
        "Transactions": (
            graph(
                "Aborted: producers replaced",
                "After any failed or doubtful commit; the batch is decided again.",
                {"{{instance}}": increase("producer_replacements_total")},
            ),
            graph(
                "Fenced by another process",
                "An outage may cost a slot three; more mean that two processes run as one slot.",
                {"{{instance}}": increase("producer_fences_total")},
            ),
            graph(
                "Rewinds",
                "Returns to what the brokers say is committed.",
                {"{{instance}}": increase("rewinds_total")},
            ),
            graph(
                "Commit",
                "Time that the brokers take to commit, by batch.",
                {
                    "p50": quantile(0.5, "stage_seconds", only='stage="commit"'),
                    "p99": quantile(0.99, "stage_seconds", only='stage="commit"'),
                },
                "s",
            ),
            graph(
                "Stages of a batch, p99",
                "`consume` holds the wait for records as well.",
                {"{{stage}}": quantile(0.99, "stage_seconds", "stage")},
                "s",
            ),
            graph(
                "Records in a batch",
                "Small when quiet, large when busy.",
                quantiles("batch_records", 0.5, 0.99),
            ),
        ),
        "What was not decided as it should be": (
            graph(
                "Dead letters a second",
                "What could not be scored; by stage and reason on the page of data quality.",
                {"{{stage}}": rate("dead_letters_total", "stage")},
                "cps",
            ),
            graph(
                "Degraded decisions a second",
                "Made by the control for want of a model or of a card.",
                {"{{variant}}": rate("degraded_decisions_total", "variant")},
                "cps",
            ),
        ),
        "Processes": (
            graph(
                "Memory",
                "Resident; it should be flat.",
                {"{{instance}}": process("resident_memory_bytes")},
                "bytes",
            ),
            graph(
                "CPU",
                "Cores in use.",
                {"{{instance}}": f"rate({process('cpu_seconds_total')}[$__rate_interval])"},
                "none",
            ),
            graph("Open files", "It should be flat.", {"{{instance}}": process("open_fds")}),
        ),
    },
)
