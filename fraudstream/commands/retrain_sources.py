"""Where `fraudstream retrain` finds the labelled window: in a file, or on the topics."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from consumer.ranges import parse_duration
from consumer.settings import WorkerSettings
from fraudstream.commands.bars import reading_bars
from fraudstream.commands.connection import connect
from fraudstream.commands.points import moment
from fraudstream.stored_file import local_copy

if TYPE_CHECKING:
    from drift.retrain import Request
    from fraudstream.labelled import Period
    from schemas.dataset import Dataset

USUAL_DAYS = 30
"""How far before the end of the window that alarmed the labelled one begins."""


@dataclass(frozen=True, slots=True)
class Sources:
    """The file ``data``, with the names of its ``columns`` by role, or the topics; as somebody typed it."""

    data: str | None
    columns: dict[str, str | None]
    legitimate_kept: float | None
    labels_topic: str
    start: str | None
    end: str | None
    matured: str | None


@dataclass(frozen=True, slots=True)
class Window:
    """The labelled window; ``card`` names the column with the card, if there is one."""

    dataset: "Dataset"
    source: str
    card: str | None


def labelled_window(
    settings: WorkerSettings, request: "Request", sources: Sources, features: tuple[str, ...]
) -> Window:
    """What a model with these features is trained on again. Raises ConfigurationError where there is nothing."""
    # SciPy and pandas take a second to load; only who trains waits for them.
    from fraudstream.labelled import CARD, LabelledTraffic  # noqa: PLC0415
    from schemas.dataset import read_dataset  # noqa: PLC0415

    if sources.data is not None:
        with local_copy(sources.data, settings.store_endpoint) as path:
            dataset = read_dataset(path, **sources.columns, features=features, legitimate_kept=sources.legitimate_kept)
        return Window(dataset, sources.data, None)
    traffic = LabelledTraffic(connect(settings), settings, sources.labels_topic, features)
    with reading_bars() as tell:
        found = traffic.of(period_of(request.window_end, sources), tell)
    return Window(found.dataset, found.source, CARD)


def period_of(window_end: int, sources: Sources) -> "Period":
    """What is read of the topics about a window that ended then: as long a period whatever must have matured."""
    from drift.windows import DAY  # noqa: PLC0415
    from fraudstream.labelled import Period  # noqa: PLC0415

    matured = _duration("--matured", sources.matured)
    usual = window_end - USUAL_DAYS * DAY - (matured or 0)
    start = usual if sources.start is None else moment("--from", sources.start)
    end = None if sources.end is None else moment("--to", sources.end)
    return Period(start, end, matured)


def _duration(option: str, text: str | None) -> int | None:
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
