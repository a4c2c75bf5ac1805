"""The bars that show how far a command has come."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


@contextmanager
def counting_bar(what: str, unit: str = "") -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error for work that is counted; what it yields is told how much is done, and of how much."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn(unit))
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def boosting_bar(rounds: int) -> Iterator[Callable[[], None]]:
    """A bar for a training of so many rounds; what it yields is called after each. It may stop early."""
    with counting_bar("boosting", "rounds") as tell:
        done = itertools.count(1)
        tell(0, rounds)
        yield lambda: tell(next(done), rounds)


@contextmanager
def reading_bars() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each topic on standard error, where that is a terminal; gone when all is read.

    What it yields is told the topic, how many offsets there are to read in all, and how many more have been.
    """
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as progress:
        tasks: dict[str, TaskID] = {}

        def tell(topic: str, total: int, steps: int) -> None:
            if topic not in tasks:
                tasks[topic] = progress.add_task(topic, total=total)
            progress.update(tasks[topic], total=total, advance=steps)

        yield tell
