"""``fraudstream score``: run the worker."""

import os
import sys

import structlog

from consumer.settings import WorkerSettings
from consumer.supervisor import Supervisor
from consumer.worker import Worker
from fraudstream import logs
from schemas.errors import FraudstreamError


def score(settings: WorkerSettings) -> None:
    """Score a topic of card transactions: one decision for each, exactly once.

    Reads INPUT_TOPIC, writes DECISIONS_TOPIC and DEAD_LETTERS_TOPIC. All three must exist. Runs until SIGTERM or
    Ctrl-C; then the batch in hand is committed and the process ends.

    fraudstream score --model model --bootstrap-servers broker:9092 --input-topic transactions
    """
    sys.exit(run_worker(settings) if settings.workers == 1 else Supervisor(settings, run_worker).run())


def run_worker(settings: WorkerSettings) -> int:
    """One worker in this process; its exit code."""
    # One batch is scored at a time: threads inside the libraries would only fight for the cores of the workers.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    logs.configure(settings.log_format, settings.log_level)
    try:
        Worker(settings).run()
    except FraudstreamError as error:
        structlog.get_logger().error("cannot_continue", slot=settings.slot_id)
        print(f"fraudstream: {error}", file=sys.stderr)  # noqa: T201 - the sentence for the person
        return error.exit_code
    return 0
