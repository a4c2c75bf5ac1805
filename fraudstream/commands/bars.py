"""The bars that show how far a command has read its topics."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


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
