"""Show a run to a person: a live picture on a terminal, a line now and then anywhere else, and the summary."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from drift.times import Times
from fraudstream.demo.tally import LAST_DECLINED, RECENT, Declined, Drift, Summary, Tally

FRAME_SECONDS = 0.125
LINE_SECONDS = 2.0

_DELIVERY = {
    "exactly_once": "exactly once: decisions and offsets in one transaction",
    "at_least_once": "at least once: the built-in broker knows no transactions",
}


@contextmanager
def step(console: Console, text: str) -> Iterator[None]:
    """Say what takes a while, and how long it took."""
    began = time.monotonic()
    with console.status(f"{text} ..."):
        yield
    console.print(f"[green]✓[/] {text} [dim]{time.monotonic() - began:.1f} s[/]", highlight=False)


@contextmanager
def watching(console: Console, tally: Tally) -> Iterator[Callable[[], None]]:
    """What is yielded may be called at any rate; it shows the tally when that is due."""
    if not console.is_terminal:
        yield _at_intervals(LINE_SECONDS, lambda: console.print(_line(tally), highlight=False, soft_wrap=True))
        return
    with Live(_picture(tally), console=console, auto_refresh=False) as live:
        yield _at_intervals(FRAME_SECONDS, lambda: live.update(_picture(tally), refresh=True))
        live.update(_picture(tally), refresh=True)


def print_summary(console: Console, summary: Summary, program: str) -> None:
    """The numbers, and what to try next with ``program``, which is how this one is called."""
    console.print()
    for name, text in _facts(summary):
        console.print(f"[cyan]{name:<15}[/]  {text}", highlight=False, soft_wrap=True)
    console.print("\nNext:", highlight=False)
    for command, text in _next(summary, program):
        console.print(f"  [bold]{command}[/]\n      {text}", highlight=False, soft_wrap=True)


def _at_intervals(seconds: float, act: Callable[[], None]) -> Callable[[], None]:
    last = time.monotonic()

    def act_if_due() -> None:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            act()

    return act_if_due


def _line(tally: Tally) -> str:
    p50, p99 = tally.latency_ms(RECENT)
    return (
        f"  {len(tally.seen):5,} of {tally.total:,} decided, {tally.rate:,.0f}/s, p50 {p50:.0f} ms, p99 {p99:.0f} ms, "
        f"{tally.caught} frauds caught, {tally.fraud_outcomes['approve']} missed"
    )


def _picture(tally: Tally) -> Panel:
    p50, p99 = tally.latency_ms(RECENT)
    caught, passed = tally.caught, tally.fraud_outcomes["approve"]
    facts = Table.grid(padding=(0, 2))
    for style in ("cyan", "bold", "cyan", "bold", "cyan", "bold"):
        facts.add_column(style=style, min_width=9 if style == "bold" else None)
    outcomes = tally.outcomes
    rows = [
        ("decided", f"{len(tally.seen):,} of {tally.total:,}", "approved", f"{outcomes['approve']:,}"),
        ("throughput", f"{tally.rate:,.0f}/s", "in review", f"{outcomes['review']:,}"),
        ("latency p50", f"{p50:.0f} ms", "declined", f"{outcomes['decline']:,}"),
        ("latency p99", f"{p99:.0f} ms", "", ""),
    ]
    frauds = [("frauds caught", f"[green]{caught}[/]"), ("frauds missed", f"[yellow]{passed}[/]"), ("", ""), ("", "")]
    for left, right in zip(rows, frauds, strict=True):
        facts.add_row(*left, *right)
    bar = ProgressBar(total=tally.total, completed=len(tally.seen))
    parts = (bar, Text(), facts, Text(), _declined(list(tally.last_declined)))
    return Panel(Group(*parts), title="fraud.decisions", border_style="cyan")


def _declined(last: list[Declined]) -> Table:
    """The last first. As many rows at the beginning as at the end, so that nothing jumps."""
    table = Table(box=None, pad_edge=False, expand=True, header_style="dim")
    table.add_column("last declined", no_wrap=True)
    table.add_column("amount", justify="right", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("because of", no_wrap=True)
    table.add_column("in truth", no_wrap=True)
    for each in reversed(last):
        reasons = "  ".join(f"{feature} {share:+.1f}" for feature, share in each.reasons)
        truth = "[green]fraud[/]" if each.is_fraud else "[yellow]honest[/]"
        table.add_row(each.transaction_id, f"{each.amount:,.2f}", f"{each.score:.3f}", reasons, truth)
    for _ in range(LAST_DECLINED - len(last)):
        table.add_row()
    return table


def _facts(summary: Summary) -> Iterator[tuple[str, str]]:
    yield "transactions in", f"{summary.transactions_in:,}"
    dead = f", [bold]{summary.dead_letters}[/] dead letters" if summary.dead_letters else ""
    yield (
        "decisions out",
        f"{summary.decisions_out:,}: [bold]{summary.missing}[/] missing, [bold]{summary.doubled}[/] doubled{dead}",
    )
    yield "", f"{summary.approved:,} approved, {summary.reviewed:,} for review, {summary.declined:,} declined"
    yield "delivery", _DELIVERY[summary.delivery]
    yield "throughput", f"{summary.throughput:,.0f} a second, as --rate asks"
    yield "latency", f"p50 {summary.p50_ms:.0f} ms, p99 {summary.p99_ms:.0f} ms, from due to be sent until read"
    caught = summary.frauds_declined + summary.frauds_reviewed
    how = f"{summary.frauds_declined} declined, {summary.frauds_reviewed} for review"
    yield "recall", f"{summary.recall:.1%}: {caught} of {summary.frauds} frauds caught ({how})"
    if summary.precision is None or summary.precision_at_real_prior is None:
        yield "precision", "nothing was flagged"
    else:
        yield "precision", f"{summary.precision:.1%} of what was flagged in this sample is fraud"
        yield "", f"{summary.precision_at_real_prior:.1%} where honest transactions are as many as in reality"
    yield "drift", _drift(summary.drift)


def _drift(seen: Drift) -> str:
    windows = f"{seen.windows} windows of ten minutes, at a transaction a second of event time"
    if not seen.alarmed:
        return f"none in {windows}"
    asked = (
        ""
        if seen.since is None
        else f"; for the one of {Times(seen.since, seen.since).at(seen.since)} a retraining is due"
    )
    return f"[bold red]{', '.join(seen.subjects)}[/] in {seen.alarmed} of {windows}{asked}"


def _next(summary: Summary, program: str) -> Iterator[tuple[str, str]]:
    if summary.delivery == "at_least_once":
        yield (
            f"{program} demo --bootstrap-servers 127.0.0.1:9092",
            ("the same on a real Kafka, exactly once (`make kafka` starts one)"),
        )
    if not summary.drift.alarmed:
        yield f"{program} demo --drift", "the same, but somebody sends amounts in cents from the middle on"
    yield f"{program} train --out model", "keep a model, with a report to read: model/report.html"
    yield f"{program} score --help", "point a worker at a topic of your own"
    yield f"{program} config", "every setting, and what it means"
