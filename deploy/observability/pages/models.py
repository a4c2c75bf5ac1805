"""Show which model decides, and how the variants differ."""

from deploy.observability.panels import Page, buckets, graph, listing, number, states
from deploy.observability.queries import WORKERS, increase, quantiles, rate, share, worker, workers

_FLAGGED = 'decision!="approve"'

PAGE = Page(
    "fraudstream-models",
    "fraudstream: models and variants",
    "Which model decides, how do the variants differ, and does what the rollout says arrive?",
    WORKERS,
    {
        "Now": (
            number("Rollout", "The number of the newest rollout that serves anywhere.", workers("rollout_epoch")),
            number(
                "Rollouts behind it",
                "0 where all workers serve the same.",
                f"{workers('rollout_epoch', 'max')} - {workers('rollout_epoch', 'min')}",
                bad_from=1,
            ),
            number(
                "Held back",
                "Workers whose store holds a rollout that cannot serve; the one before it still does.",
                workers("rollout_held_back", "sum"),
                bad_from=1,
            ),
            number(
                "Store last answered",
                "So long ago, to the worker that has waited longest: a rollback takes at least this long to arrive.",
                workers("rollout_age_seconds"),
                "s",
                bad_from=600,
            ),
            number(
                "Cards without their model",
                "Share of the cards that the control decides because their variant has no model.",
                workers("degraded_share"),
                "percentunit",
                bad_from=1e-9,
            ),
            number(
                "Models in force",
                "Different versions, over all variants.",
                f"count({worker('model_info', by='name, version')})",
            ),
        ),
        "Which model?": (
            listing(
                "What serves",
                "The value is the number of workers. `sha256` is that of the model's file, as in each decision.",
                worker("model_info", "sum", "variant, name, version, sha256"),
            ),
            states(
                "Rollout by worker",
                "A worker takes over a new rollout between two batches.",
                {"{{instance}}": worker("rollout_epoch")},
                {0: "blue"},
            ),
        ),
        "How do the variants differ?": (
            graph(
                "Decisions a second by variant",
                "As the shares of the rollout have it.",
                {"{{variant}}": rate("decisions_total", "variant")},
                "cps",
                stacked=True,
            ),
            graph(
                "Flagged by variant",
                "Share of a variant's decisions that are reviewed or declined.",
                {"{{variant}}": share("decisions_total", _FLAGGED, by="variant")},
                "percentunit",
            ),
            buckets("Scores", "How the scores are distributed.", rate("score_bucket", "le")),
            graph("Quantiles of the scores", "Of all variants.", quantiles("score", 0.5, 0.9, 0.99), "none"),
        ),
        "Does what the rollout says arrive?": (
            graph(
                "Decided by the control for want of a model",
                "By the variant that should have decided.",
                {"{{variant}}": rate("degraded_decisions_total", "variant")},
                "cps",
            ),
            graph(
                "Failures to load",
                "By what could not be loaded: a rollout, the model of a variant, or that of a shadow.",
                {"{{part}}": increase("rollout_load_failures_total", "part")},
            ),
            graph(
                "Shadows",
                "Batches by what became of them: scored, late (beyond shadow_budget_seconds) or failed.",
                {"{{shadow}} {{result}}": rate("shadow_batches_total", "shadow, result")},
                "cps",
            ),
            graph(
                "Age of the rollout",
                "Time since the store last told which rollout is in force.",
                {"{{instance}}": worker("rollout_age_seconds")},
                "s",
            ),
        ),
    },
)
