"""The command line: one command a module, errors as one sentence with an exit code."""

import sys

import typer

from consumer import core_dumps, memory
from consumer.settings import WorkerSettings
from fraudstream import logs
from fraudstream.commands.audit import audit
from fraudstream.commands.batch import BATCH_SETTINGS, batch
from fraudstream.commands.config import config
from fraudstream.commands.dead_letters import dead_letters
from fraudstream.commands.demo import demo
from fraudstream.commands.doctor import doctor
from fraudstream.commands.drift import drift
from fraudstream.commands.explain import explain
from fraudstream.commands.models import models
from fraudstream.commands.options import with_settings
from fraudstream.commands.produce import produce
from fraudstream.commands.replay import replay
from fraudstream.commands.retrain import SETTINGS as RETRAIN_SETTINGS
from fraudstream.commands.retrain import retrain
from fraudstream.commands.rollout import rollout
from fraudstream.commands.sagemaker import sagemaker
from fraudstream.commands.score import score
from fraudstream.commands.tail import tail
from fraudstream.commands.topics import SETTINGS as TOPICS_SETTINGS
from fraudstream.commands.topics import topics
from fraudstream.commands.train import train
from schemas.errors import FraudstreamError

app = typer.Typer(
    name="fraudstream",
    help="Score card transactions on Kafka with an XGBoost model: one decision for each, exactly once.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command()(demo)
app.command()(train)
app.add_typer(models, name="models")
app.add_typer(rollout, name="rollout")
app.add_typer(sagemaker, name="sagemaker")
app.command()(with_settings(topics, TOPICS_SETTINGS))
app.command()(produce)
app.command()(tail)
app.command()(with_settings(explain))
app.command()(with_settings(score))
app.command()(with_settings(batch, BATCH_SETTINGS))
app.add_typer(dead_letters, name="dead-letters")
app.add_typer(replay, name="replay")
app.command()(with_settings(audit))
app.command()(with_settings(doctor))
app.command()(with_settings(config, WorkerSettings.model_fields))
app.add_typer(drift, name="drift")
app.command()(with_settings(retrain, RETRAIN_SETTINGS))


def main() -> None:
    """Run the command line. Exit codes: 0 done, 1 the check says no, 2 usage, 77 not permitted, 78 configuration."""
    logs.guard()
    core_dumps.turn_off()
    memory.limit_arenas()
    try:
        app()
    except FraudstreamError as error:
        logs.complain(error)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
