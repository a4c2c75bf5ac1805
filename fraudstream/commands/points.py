"""Read a point of a topic from the command line."""

import time

import typer

from consumer.ranges import Moment, Point, parse_point


def point(option: str, text: str) -> Point:
    """What a person wrote behind ``option``. Raises typer.BadParameter saying what could stand there."""
    try:
        return parse_point(text, int(time.time() * 1000))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None


def moment(option: str, text: str) -> int:
    """The time (ms since 1970) that a person wrote behind ``option``, as such or as an age. Raises BadParameter."""
    found = point(option, text)
    if not isinstance(found, Moment):
        raise typer.BadParameter(
            f"{text!r} is neither a time such as 2026-01-31T12:00 nor an age: -90m", param_hint=option
        )
    return found.milliseconds
