"""Decide whether a change of the rollout may be made, tell what it changes, and make it or say who was quicker."""

import getpass
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Self

from consumer.settings import WorkerSettings
from consumer.wire import input_fields
from fraudstream.commands.rollout_text import print_change, print_json, print_lines
from fraudstream.commands.store import store_settings, trusted_models
from models.endpoint import check_servable
from models.manifest import Manifest
from models.registry import Registry, Version, registry_at
from models.rollout import Document, check, served
from models.rollout_changes import By
from models.rollout_difference import difference
from models.rollout_store import RolloutStore
from models.store import ConflictError, NotStoredError, StoreUnavailableError
from schemas.errors import BadModelError, ConfigurationError

Decide = Callable[[Document | None, By], Document]
"""The next rollout, out of the one in force (None: there is none) and of who changes it."""


@dataclass(frozen=True, slots=True)
class Rollouts:
    """The rollouts of the settings, and the models that they may name."""

    kept: RolloutStore
    registry: Registry
    settings: WorkerSettings

    @classmethod
    def open(cls, config: Path | None, store: str | None, endpoint: str | None) -> Self:
        """Raises ConfigurationError where the settings name no store."""
        return cls.of(store_settings(config, store, endpoint))

    @classmethod
    def of(cls, settings: WorkerSettings) -> Self:
        """Raises ConfigurationError where the settings name no store."""
        registry = registry_at(settings.store, settings.store_endpoint)
        return cls(RolloutStore(registry.store), registry, settings)


@dataclass(frozen=True, slots=True)
class Request:
    """What the options of every change say."""

    who: str | None
    why: str
    dry_run: bool
    as_json: bool

    def by(self) -> By:
        """Who changes the rollout, now, and why. Raises ConfigurationError where nobody knows who that is."""
        return By(self.who or _user(), datetime.now(UTC).replace(microsecond=0), self.why)


@dataclass(frozen=True, slots=True)
class Change:
    """From the rollout ``now`` in force (None: there was none) to ``document``, and whether that was written."""

    now: Document | None
    document: Document
    written: bool


def change(rollouts: Rollouts, decide: Decide, request: Request) -> None:
    """Make the change, and tell what came of it. Raises as ``make`` does."""
    made = make(rollouts, decide, request)
    if request.as_json:
        changes = difference(made.now, made.document) if made.now else None
        print_json({"written": made.written, "rollout": made.document, "difference": changes})
    else:
        print_lines([outcome(rollouts, made)])


def make(rollouts: Rollouts, decide: Decide, request: Request) -> Change:
    """Decide, tell what changes unless that is asked for as JSON, load what is new, and write.

    Raises ConflictError where somebody else was quicker, and what loading and writing raise.
    """
    now, etag = current(rollouts.kept)
    by = request.by()
    document = check(decide(now, by))
    is_new = document is not now
    if not request.as_json:
        print_change(now, document)
    if is_new:
        _check_endpoints(rollouts.registry, document)
        _load_what_is_new(rollouts, now, document)
    if is_new and not request.dry_run:
        _write(rollouts.kept, document, etag)
    return Change(now, document, written=is_new and not request.dry_run)


def existing(now: Document | None) -> Document:
    """The rollout in force. Raises ConfigurationError where there is none to change."""
    if now is None:
        raise ConfigurationError("there is no rollout yet: begin with `fraudstream rollout promote NAME@VERSION`")
    return now


def current(kept: RolloutStore) -> tuple[Document | None, str | None]:
    """The rollout in force and its etag, None where there is none."""
    try:
        return kept.current()
    except NotStoredError:
        return None, None


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError) as error:
        raise ConfigurationError("nobody knows who you are here: say who changes the rollout, with --by") from error


def _check_endpoints(registry: Registry, document: Document) -> None:
    """Raise ConfigurationError where an endpoint could not score as the version does that it is to serve."""
    for each in served(document):
        if each.endpoint is not None:
            check_servable(registry.manifest(each.model))


def _load_what_is_new(rollouts: Rollouts, now: Document | None, document: Document) -> None:
    """Load the versions that do not serve yet, as a worker will.

    Those that serve are not asked for again: what is in the workers' memory must not stand in the way of a change that
    takes another version out.
    """
    serving = now.models if now else ()
    if set(document.models) <= set(serving):
        return
    fields = input_fields(rollouts.settings)
    with trusted_models(rollouts.settings, rollouts.registry) as trusted:

        def load(version: Version) -> None:
            if version not in serving:
                _warn_of_input(trusted.version(version).manifest, fields)

        check(document, load)


def _warn_of_input(described: Manifest, fields: frozenset[str] | None) -> None:
    """Say which features the input lacks. It is a warning, as the settings here may not be those of the workers."""
    from models.artifact import check_features  # noqa: PLC0415

    if fields is None:
        return
    try:
        check_features(described, fields, f"{described.name}@{described.version}")
    except BadModelError as error:
        print(f"fraudstream: {error}; a worker with these settings refuses it", file=sys.stderr)  # noqa: T201


def _write(kept: RolloutStore, document: Document, etag: str | None) -> None:
    try:
        kept.write(document, etag)
    except ConflictError as error:
        quicker, _ = current(kept)
        if quicker is None or quicker.epoch < document.epoch:
            raise
        raise ConflictError(
            f"{quicker.changed.who} made rollout {quicker.epoch} meanwhile ({quicker.changed.what}): "
            "nothing was written; look at it with `fraudstream rollout show`, and try again"
        ) from error
    except StoreUnavailableError as error:
        raise StoreUnavailableError(
            f"{error}; whether the rollout was written is not known: see `fraudstream rollout show`"
        ) from error


def outcome(rollouts: Rollouts, made: Change) -> str:
    """What came of a change, as a sentence."""
    url, epoch = rollouts.kept.store.url, made.document.epoch
    if made.written:
        return f"Rollout {epoch} is in force in {url}: each worker takes it up when it next looks."
    if made.document is not made.now:
        return "Nothing was written: --dry-run."
    return f"Nothing was written: rollout {epoch} in {url} says so already."
