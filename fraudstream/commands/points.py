"""Read a point of a topic from the command line."""

import time

import typer

from consumer.ranges import Point, parse_point


def point(option: str, text: str) -> Point:
    """What a person wrote behind ``option``. Raises typer.BadParameter saying what could stand there."""
    try:
        return parse_point(text, int(time.time() * 1000))
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint=option) from None
