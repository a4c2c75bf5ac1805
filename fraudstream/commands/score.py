"""``fraudstream score``: run the worker."""

import os
import sys
from typing import Annotated

import typer

from consumer.quarantine import Hand
from consumer.replay import Plan
from consumer.settings import WorkerSettings
from consumer.stopping import Stopping
from consumer.supervisor import Supervisor
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
    if settings.workers == 1 and not settings.supervise:
        sys.exit(run_worker(settings))
    logs.configure(settings.log_format, settings.log_level)
    sys.exit(Supervisor(settings, run_worker).run())


def run_worker(settings: WorkerSettings, hand: Hand | None = None, plan: Plan | None = None) -> int:
    """One worker in this process, for a replay with its ``plan``, below a parent with a ``hand``; its exit code."""
    # One batch is scored at a time: threads inside the libraries would only fight for the cores of the workers.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    logs.configure(settings.log_format, settings.log_level)
    logs.guard()
    try:
        with Stopping(STOP_SHARE * settings.stop_seconds) as stopping:
            # XGBoost takes two seconds to load; `fraudstream --help` should not wait for it.
            from consumer.worker import Worker  # noqa: PLC0415

            Worker(settings, stopping, plan, hand).run()
    except BrokerUnavailableError as error:
        logs.complain(error)
        # A slot that has run before had the right address: the brokers are waited for.
        return error.exit_code if hand is None or not hand.restarted else os.EX_TEMPFAIL
    except FraudstreamError as error:
        logs.complain(error)
        return error.exit_code
    return 0
