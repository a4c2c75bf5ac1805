"""``fraudstream explain``: why one transaction was scored as it was."""

import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import msgspec
import typer
from rich.console import Console

from consumer.settings import WorkerSettings
from fraudstream.commands.connection import connect
from fraudstream.commands.store import load_model
from fraudstream.transaction_file import read_features
from schemas.errors import ConfigurationError, FraudstreamError

if TYPE_CHECKING:
    from models.explain import Explanation

Facts = list[tuple[str, str]]


def explain(
    settings: WorkerSettings,
    transaction: Annotated[
        Path | None, typer.Option(help="A transaction as a JSON object, or as `fraudstream tail --json` prints it.")
    ] = None,
    decision: Annotated[
        UUID | None, typer.Option(help="A decision_id; DECISIONS_TOPIC and INPUT_TOPIC are searched for it.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Also write it as a page with a waterfall.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
) -> None:
    """Explain one score: what each feature added to it, from the mean transaction to this one.

    Contributions are TreeSHAP values in log-odds and add up to those of the score. A decision is explained by scoring
    its transaction again; exits 1 if MODEL is not the model that decided, or comes to another score.

    --model is the directory of a model, or NAME@VERSION of the store. A decision needs none where a store is set: the
    model that decided is taken from there.

    fraudstream explain --model model --decision 6f0c1d2e-...
    """
    if (transaction is None) == (decision is None):
        raise typer.BadParameter("give either --transaction FILE or --decision ID")
    if settings.model is None and (transaction is not None or settings.store is None):
        raise ConfigurationError("model is not set: give the directory of the model that is to explain")
    if transaction is not None:
        explanation, facts, doubts = _of_file(settings, transaction)
    else:
        assert decision is not None
        explanation, facts, doubts = _of_decision(settings, decision)
    _show(explanation, facts, as_json=as_json)
    if html is not None:
        _write(html, explanation, facts)
    for doubt in doubts:
        print(f"fraudstream: {doubt}", file=sys.stderr)  # noqa: T201 - the sentence for the person
    if doubts:
        sys.exit(FraudstreamError.exit_code)


def _of_file(settings: WorkerSettings, file: Path) -> tuple["Explanation", Facts, list[str]]:
    # XGBoost takes a second to load; `fraudstream --help` should not wait for it.
    from models.explain import explain as take_apart  # noqa: PLC0415

    model = load_model(settings, str(settings.model))
    explanation = take_apart(model, read_features(file, model.manifest.features))
    return explanation, [("transaction", str(file)), *_of_model(explanation)], []


def _of_decision(settings: WorkerSettings, identity: UUID) -> tuple["Explanation", Facts, list[str]]:
    from fraudstream.decided import decided  # noqa: PLC0415

    found = decided(connect(settings), settings, identity, partial(load_model, settings))
    record, source = found.record, found.record["source"]
    facts = [
        ("decision", f"{identity}: {record['decision']}, score {record['score']!r}"),
        ("decided at", record["decided_at"]),
        ("transaction", f"{record['transaction_id']} at {record['event_time']}"),
        ("source", f"offset {source['offset']} of partition {source['partition']} of topic {source['topic']}"),
        ("reason codes", ", ".join(f"{r['feature']} {r['contribution']:+.3f}" for r in record["reason_codes"])),
        *_of_model(found.explanation),
    ]
    return found.explanation, facts, found.doubts


def _of_model(explanation: "Explanation") -> Facts:
    return [
        ("model", f"{explanation.model} {explanation.version}, sha256 {explanation.sha256}"),
        ("policy", explanation.policy.version),
    ]


def _show(explanation: "Explanation", facts: Facts, *, as_json: bool) -> None:
    from models.explanation import table  # noqa: PLC0415

    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(_plain(explanation) | {"facts": dict(facts)}) + b"\n")
        return
    console = Console()
    console.print(table(explanation))
    console.print()
    for name, value in facts:
        console.print(f"{name + ':':14}{value}", markup=False, highlight=False, soft_wrap=True)


def _plain(explanation: "Explanation") -> dict[str, Any]:
    return asdict(explanation) | {"log_odds": explanation.log_odds, "decision": explanation.outcome}


def _write(html: Path, explanation: "Explanation", facts: Facts) -> None:
    from models.explanation import page  # noqa: PLC0415

    try:
        html.write_text(page(explanation, "Why this score", facts), encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"--html: {html} cannot be written: {error.strerror}") from None
