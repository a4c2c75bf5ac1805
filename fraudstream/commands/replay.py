"""``fraudstream replay``: decide a range of transactions again."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

import msgspec
import typer
from confluent_kafka import KafkaException
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from consumer.ranges import GRAMMAR, Point
from consumer.replay import Plan
from consumer.settings import WorkerSettings
from consumer.supervisor import Supervisor
from consumer.wire import decider_of
from fraudstream import logs
from fraudstream.commands.connection import connect
from fraudstream.commands.options import with_settings
from fraudstream.commands.points import point
from fraudstream.commands.replay_diff import diff
from fraudstream.commands.score import run_worker
from fraudstream.replaying import Replaying

LOOK_SECONDS = 0.5
INTERRUPTED = 130

replay = typer.Typer(invoke_without_command=True, rich_markup_mode=None)


def run(
    ctx: typer.Context,
    settings: WorkerSettings,
    name: Annotated[
        str | None, typer.Option(help="Name of the replay: small letters, digits, dashes.", show_default=False)
    ] = None,
    from_: Annotated[str, typer.Option("--from", help=f"Where the range begins: {GRAMMAR}")] = "beginning",
    to: Annotated[
        str, typer.Option("--to", help="Where it ends, likewise, and not beyond what is committed now.")
    ] = "end",
    rollout: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="Decide as this rollout of the store did.", show_default=False)
    ] = None,
    compare: Annotated[
        bool,
        typer.Option("--diff", help="Then compare with the live decisions, as `replay diff NAME` does."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Decide a range of transactions again, by a model or a rollout, into topics of their own.

    --model is the directory of a model, or NAME@VERSION of the store; --rollout the number of a rollout of the store,
    as it was when it served, or current.

    The decisions go to DECISIONS_TOPIC.replay.NAME and what cannot be scored to DEAD_LETTERS_TOPIC.replay.NAME; both
    are created. The workers form the group GROUP.replay.NAME: the live group is never touched. Stopped or killed, the
    same command goes on where it was, and nothing is lost or decided twice. --workers N runs N at once, up to the
    number of partitions.

    fraudstream replay --name new-model --from 2026-01-01 --to 2026-02-01 --model candidate
    """
    if ctx.invoked_subcommand is not None:
        return
    if name is None:
        raise typer.BadParameter("a replay needs a name", param_hint="--name")
    logs.configure(settings.log_format, "warning")
    points = point("--from", from_), point("--to", to)
    replaying = Replaying(connect(settings), settings, name)
    plan = _plan(replaying, settings, rollout, from_, to, points)
    began = time.monotonic()
    done, before = _run(replaying, plan)
    _report(replaying, plan, done, done - before, time.monotonic() - began, as_json=as_json)
    if compare:
        diff(settings, name, as_json=as_json)


replay.callback()(with_settings(run))
replay.command()(with_settings(diff))


def _plan(
    replaying: Replaying,
    settings: WorkerSettings,
    rollout: str | None,
    first: str,
    last: str,
    points: tuple[Point, Point],
) -> Plan:
    # XGBoost takes two seconds to load; `fraudstream --help` should not wait for it.
    from consumer.pinned import load_pinned, pin  # noqa: PLC0415

    decider = pin(settings, rollout)
    by = decider_of(settings, load_pinned(settings, decider).rollout).digest
    plan = replaying.found()
    if plan is None:
        return replaying.begun(first, last, points, decider, by)
    plan.check(first, last, decider, by)
    return plan


def _run(replaying: Replaying, plan: Plan) -> tuple[int, int]:
    """Run the workers until all is done or somebody stops them; how many offsets are done, and were before."""
    with replaying.watched(plan) as look:
        done = before = look()
        if before < plan.size:
            with _progress(plan, before) as show:
                watch = _Watch(look, show, plan.size)
                worker = replaying.settings.model_copy(update={"log_level": "warning"})
                code = Supervisor(worker, partial(run_worker, plan=plan)).run(watch.finished)
                done = look()
                show(done)
            if code in (77, 78):
                sys.exit(code)  # the worker has said why
    return done, before


class _Watch:
    """Looks now and then how far it is."""

    def __init__(self, look: Callable[[], int], show: Callable[[int], None], size: int) -> None:
        self._look = look
        self._show = show
        self._size = size
        self._next = 0.0

    def finished(self) -> bool:
        """Whether all is done, as far as it was looked."""
        if time.monotonic() < self._next:
            return False
        self._next = time.monotonic() + LOOK_SECONDS
        try:
            done = self._look()
        except KafkaException:  # the workers wait for the brokers, and so do we
            return False
        self._show(done)
        return done == self._size


class _Rate(TextColumn):
    """Offsets a second of this run."""

    def render(self, task: Task) -> Text:
        """As in ``12,345/s``."""
        return Text(f"{task.finished_speed or task.speed or 0:,.0f}/s")


@contextmanager
def _progress(plan: Plan, before: int) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, where that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), _Rate(""), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(plan.name, total=plan.size, completed=before)
        yield lambda done: progress.update(task, completed=done)


def _report(replaying: Replaying, plan: Plan, done: int, new: int, seconds: float, *, as_json: bool) -> None:
    result: dict[str, Any] = {
        "name": plan.name,
        "complete": done == plan.size,
        "offsets": plan.size,
        "done": done,
        "offsets_a_second": round(new / seconds) if new else 0,
        "decisions_topic": replaying.settings.decisions_topic,
        "dead_letters_topic": replaying.settings.dead_letters_topic,
        "partitions": [{"partition": span.partition, "from": span.start, "to": span.stop} for span in plan.spans],
    }
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(result) + b"\n")
    elif done == plan.size:
        told = f"{new:,} offsets in {seconds:,.1f} s" if new else "it was complete already"
        typer.echo(f"replay {plan.name}: all of it is in {replaying.settings.decisions_topic} ({told})")
    if done < plan.size:
        print(  # noqa: T201 - the sentence for the person
            f"replay {plan.name}: {done:,} of {plan.size:,} offsets are done; the same command goes on from there",
            file=sys.stderr,
        )
        sys.exit(INTERRUPTED)
