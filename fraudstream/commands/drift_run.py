"""``fraudstream drift run``: watch what workers score, and tell what has drifted."""

import os
from typing import Annotated

import typer

from consumer.settings import WorkerSettings
from consumer.stopping import Stopping
from fraudstream import logs
from fraudstream.commands.connection import connect
from fraudstream.commands.score import STOP_SHARE
from fraudstream.topics import create_reports

SETTINGS = (
    *(
        "application",
        "environment",
        "group",
        "slot",
        "bootstrap_servers",
        "kafka",
        "msk_iam_region",
        "consumer_kafka",
        "producer_kafka",
    ),
    *("input_topic", "samples_topic", "drift_topic", "retrain_topic", "delivery"),
    *("drift_baselines", "model", "challenger", "store", "store_endpoint", "drift_unit", "drift_alarms"),
    *("drift_pane_minutes", "drift_window_minutes", "drift_hop_minutes"),
    *("metrics_host", "drift_metrics_port", "log_format", "log_level", "stop_seconds"),
)


def run(
    settings: WorkerSettings,
    create_topics: Annotated[
        bool,
        typer.Option("--create-topics", help="Create the topics for reports and for requests, if they do not exist."),
    ] = False,
) -> None:
    """Watch what the workers of a group score, and tell what has drifted.

    Reads SAMPLES_TOPIC, which workers write, and compares each window with the baseline of the model that scored it:
    from --drift-baselines, beside --model and --challenger, or from the store. Writes a report a window to DRIFT_TOPIC
    and, on a critical alarm, a request to RETRAIN_TOPIC; /metrics has the newest windows. Several monitors may run,
    each with a --slot of its own: one reads, the others wait for it to end. Runs until SIGTERM or Ctrl-C.

    fraudstream drift run --drift-baselines model --create-topics
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if create_topics:
        create_reports(connect(settings), settings)
    logs.configure(settings.log_format, settings.log_level)
    with Stopping(STOP_SHARE * settings.stop_seconds) as stopping:
        from drift.run import DriftMonitor  # noqa: PLC0415 - SciPy takes a second to load

        DriftMonitor(settings, stopping).run()
