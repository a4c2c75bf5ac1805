"""``fraudstream rollout``: what serves which cards, and every change of it."""

import re
from pathlib import Path
from typing import Annotated

import typer

from fraudstream.commands.connection import Config
from fraudstream.commands.rollout_change import Request, Rollouts, change, existing
from fraudstream.commands.rollout_text import print_document, print_history, print_json, print_lines
from fraudstream.commands.store import AsJson, Endpoint, Store
from models import rollout_changes, rollout_file
from models.registry import Version
from models.rollout import Changed, Document, first
from models.rollout_changes import By
from models.rollout_difference import difference, sentences
from schemas.errors import ConfigurationError

Why = Annotated[str, typer.Option(help="The reason, for the history.", show_default=False)]
Who = Annotated[str | None, typer.Option("--by", help="Who changes it. [default: $USER]", show_default=False)]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would change, load the models, write nothing.")]

rollout = typer.Typer(
    help="Say which model versions serve which cards: show, change, and go back.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@rollout.command()
def show(
    epoch: Annotated[int | None, typer.Option("--at", metavar="N", help="Another one than that in force.")] = None,
    config: Config = None,
    store: Store = None,
    store_endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Show the rollout that is in force. What --json prints can be edited and given to `set`."""
    rollouts = Rollouts.open(config, store, store_endpoint)
    document = rollouts.kept.current()[0] if epoch is None else rollouts.kept.at(epoch)
    if as_json:
        print_json(document)
    else:
        print_document(document)


@rollout.command("set")
def set_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What is to serve, as JSON.")],
    why: Why = "",
    by: Who = None,
    dry_run: DryRun = False,
    config: Config = None,
    store: Store = None,
    store_endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Make the rollout say what a file says; the fewest cards move.

    A small one: {"variants": [{"name": "champion", "version": "card-fraud@1"},
    {"name": "challenger", "version": "card-fraud@2", "share": 0.05}]}. The first variant has what the others leave.
    """
    wanted = rollout_file.read_wanted(_content(file), str(file))
    rollouts = Rollouts.open(config, store, store_endpoint)
    unit = rollouts.settings.unit_field
    change(rollouts, lambda now, by: rollout_file.apply(wanted, now, by, unit), Request(by, why, dry_run, as_json))


@rollout.command()
def promote(
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="NAME@VERSION, or the name of a variant or shadow.")
    ],
    why: Why = "",
    by: Who = None,
    dry_run: DryRun = False,
    config: Config = None,
    store: Store = None,
    store_endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Make a version the champion: it scores every card that no other challenger has.

    fraudstream rollout promote card-fraud@2 --why 'caught 3 % more in shadow'
    """
    rollouts = Rollouts.open(config, store, store_endpoint)

    def promoted(now: Document | None, by: By) -> Document:
        if now is None:
            made = Changed(by.who, by.when, by.why, f"promote {version}")
            return first(Version.parse(version), made, rollouts.settings.unit_field)
        return rollout_changes.promote(now, rollout_changes.version_of(now, version), by)

    change(rollouts, promoted, Request(by, why, dry_run, as_json))


@rollout.command()
def ramp(
    challenger: Annotated[str, typer.Argument(help="Name of a variant or a shadow, or any NAME@VERSION.")],
    share: Annotated[str, typer.Argument(help="Share of the cards: 5% or 0.05. At 0% it leaves.")],
    why: Why = "",
    by: Who = None,
    dry_run: DryRun = False,
    config: Config = None,
    store: Store = None,
    store_endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Give a challenger a share of the cards. On the way up it keeps every card that it has.

    fraudstream rollout ramp card-fraud@2 5% --why 'looks good in shadow'
    """
    wanted = parse_share(share)
    change(
        Rollouts.open(config, store, store_endpoint),
        lambda now, by: rollout_changes.ramp(existing(now), challenger, wanted, by),
        Request(by, why, dry_run, as_json),
    )


@rollout.command()
def shadow(
    version: Annotated[str, typer.Argument(metavar="VERSION", help="NAME@VERSION, or with --stop its name.")],
    stop: Annotated[bool, typer.Option("--stop", help="Let it shadow no more.")] = False,
    why: Why = "",
    by: Who = None,
    dry_run: DryRun = False,
    config: Config = None,
    store: Store = None,
    store_endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Let a version score every card beside the others without deciding any.

    fraudstream rollout shadow card-fraud@2
    """

    def shadowed(now: Document | None, by: By) -> Document:
        current = existing(now)
        meant = rollout_changes.version_of(current, version)
        return (rollout_changes.unshadow if stop else rollout_changes.shadow)(current, meant, by)

    change(Rollouts.open(config, store, store_endpoint), shadowed, Request(by, why, dry_run, as_json))


@rollout.command()
def rollback(
    to: Annotated[
        int | None, typer.Option(metavar="N", help="Which one to go back to. Default: the one before.")
    ] = None,
    why: Why = "",
    by: Who = None,
    dry_run: DryRun = False,
    config: Config = None,
    store: Store = None,
    store_endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Go back to what an earlier rollout said. Done twice it goes back further, never forth again.

    fraudstream rollout rollback --why 'declines doubled'
    """
    rollouts = Rollouts.open(config, store, store_endpoint)

    def rolled_back(now: Document | None, by: By) -> Document:
        current = existing(now)
        target = rollouts.kept.at(to) if to is not None else rollout_changes.before(rollouts.kept.history())
        return rollout_changes.rollback(current, target, by)

    change(rollouts, rolled_back, Request(by, why, dry_run, as_json))


@rollout.command()
def history(
    config: Config = None, store: Store = None, store_endpoint: Endpoint = None, as_json: AsJson = False
) -> None:
    """List every rollout there ever was: when, by whom, what and why."""
    documents = Rollouts.open(config, store, store_endpoint).kept.history()
    if as_json:
        print_json(documents)
    else:
        print_history(documents)


@rollout.command()
def diff(
    one: Annotated[int, typer.Argument(metavar="A", help="Number of a rollout.")],
    other: Annotated[
        int | None, typer.Argument(metavar="B", help="Of another one. Default: that in force.", show_default=False)
    ] = None,
    config: Config = None,
    store: Store = None,
    store_endpoint: Endpoint = None,
    as_json: AsJson = False,
) -> None:
    """Say what B changes about A: which share of the cards goes from whom to whom."""
    kept = Rollouts.open(config, store, store_endpoint).kept
    changes = difference(kept.at(one), kept.current()[0] if other is None else kept.at(other))
    if as_json:
        print_json(changes)
    else:
        print_lines(sentences(changes) or ["nothing"])


def parse_share(text: str) -> float:
    """The share that ``5%`` or ``0.05`` means; ``5`` could mean either, and is refused."""
    found = re.fullmatch(r"(\d+(?:\.\d*)?|\.\d+)(%?)", text.strip())
    share = float(found[1]) / (100 if found[2] else 1) if found else -1
    if not 0 <= share <= 1:
        raise typer.BadParameter(f"{text!r} is no share of the cards: write 5% or 0.05", param_hint="SHARE")
    return share


def _content(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror}") from error
