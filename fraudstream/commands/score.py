"""``fraudstream score``: run the worker."""

import os
import sys
from typing import Annotated

import typer

from consumer import core_dumps
from consumer.replay import Plan
from consumer.settings import WorkerSettings
from consumer.stopping import Stopping
from consumer.supervisor import NO_BROKER, Supervisor
from consumer.topics import BrokerUnavailableError
from fraudstream import logs
from fraudstream.commands.connection import connect
from fraudstream.topics import create_outputs
from schemas.errors import FraudstreamError

STOP_SHARE = 0.8
"""Of the time that a worker has to end: after it, it no longer waits for a broker, before it would be killed."""


def score(
    settings: WorkerSettings,
    create_topics: Annotated[
        bool,
        typer.Option(
            "--create-topics",
            help="Create the topics for decisions and dead letters that do not exist, "
            "with as many partitions as the input has, and that for samples with one.",
        ),
    ] = False,
) -> None:
    """Decide each card transaction of a topic, exactly once.

    Reads INPUT_TOPIC, writes DECISIONS_TOPIC, DEAD_LETTERS_TOPIC and, for the drift monitor, SAMPLES_TOPIC; all must
    exist, unless --create-topics makes the outputs. Runs until SIGTERM or Ctrl-C; then the batch in hand is committed
    and the process ends.

    fraudstream score --model model --create-topics
    """
    if create_topics:
        create_outputs(connect(settings), settings)
    sys.exit(run_worker(settings) if settings.workers == 1 else Supervisor(settings, run_slot).run())


def run_slot(settings: WorkerSettings, plan: Plan | None = None) -> int:
    """One worker of a supervisor, which can tell by its exit code that no broker answers."""
    return run_worker(settings, plan, no_broker=NO_BROKER)


def run_worker(
    settings: WorkerSettings, plan: Plan | None = None, no_broker: int = BrokerUnavailableError.exit_code
) -> int:
    """One worker in this process, for a replay with its ``plan``; its exit code."""
    # One batch is scored at a time: threads inside the libraries would only fight for the cores of the workers.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    logs.configure(settings.log_format, settings.log_level)
    logs.guard()
    core_dumps.turn_off()
    try:
        with Stopping(STOP_SHARE * settings.stop_seconds) as stopping:
            # XGBoost takes two seconds to load; `fraudstream --help` should not wait for it.
            from consumer.worker import Worker  # noqa: PLC0415

            Worker(settings, stopping, plan).run()
    except FraudstreamError as error:
        logs.complain(error)
        return no_broker if isinstance(error, BrokerUnavailableError) else error.exit_code
    return 0
