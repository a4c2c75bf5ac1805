"""Read the one transaction of a request, and say which field is wrong where one is."""

import re
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
import numpy as np

from fraudstream.transaction_file import LARGEST
from schemas.errors import InvalidRecordError

PUBLIC_ROW = ("Time", *(f"V{number}" for number in range(1, 29)), "amount")
"""A row of the public card data, in its own order: 30 numbers, the first of which no model of ours uses."""

LARGEST_BODY = 100_000
"""Bytes; a transaction takes less than a thousand."""

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=512)]


class BadRequestError(InvalidRecordError):
    """One field of a request is wrong; ``field`` names it, and is None where it is the request as a whole."""

    def __init__(self, sentence: str, field: str | None = None) -> None:
        super().__init__(sentence)
        self.field = field


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One transaction: its features in order or by name, and what else decides about it.

    Without a ``unit`` (the card, by which variants are drawn) the control decides. ``event_time`` is ms since 1970.
    """

    features: list[float | None] | dict[str, float | None]
    transaction_id: Text | None = None
    unit: Text | None = None
    event_time: Annotated[int, msgspec.Meta(ge=0, le=1 << 53)] | None = None


def read(body: bytes, features: Sequence[str]) -> tuple[Request, dict[str, float]]:
    """The request, and the value of each of the ``features``, NaN where one is null or left out.

    A list is a row of ``features`` or, where that has them all, of the public card data. Raises BadRequestError.
    """
    if len(body) > LARGEST_BODY:
        raise BadRequestError(f"the body is larger than {LARGEST_BODY:,} bytes")
    names = row_of(features)
    try:
        request = msgspec.json.decode(body, type=Request)
    except msgspec.ValidationError as error:
        raise _as_field(str(error), body, names) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequestError("the body is not JSON") from None
    sent = request.features
    given: Mapping[str, float | None] = _by_name(sent, features, names) if isinstance(sent, list) else sent
    for name, value in given.items():
        if name not in names:
            raise BadRequestError(f"the model has no feature of this name, but for example {names[0]}", _shown(name))
        if value is not None and abs(value) > LARGEST:
            raise BadRequestError("beyond what a model can take", f"features.{name}")
    if not any(given.get(name) is not None for name in features):
        raise BadRequestError("no feature of the model is given", "features")
    return request, {name: np.nan if (value := given.get(name)) is None else value for name in features}


def row_of(features: Sequence[str]) -> Sequence[str]:
    """The names that a caller may use: of the public card data where that has all features, else the features."""
    return PUBLIC_ROW if set(features) <= set(PUBLIC_ROW) else features


def _by_name(
    values: Sequence[float | None], features: Sequence[str], names: Sequence[str]
) -> Mapping[str, float | None]:
    for order in (names, features):
        if len(values) == len(order):
            return dict(zip(order, values, strict=True))
    lengths = " or ".join(str(length) for length in sorted({len(features), len(names)}))
    raise BadRequestError(f"has {len(values)} numbers, and the model takes {lengths}", "features")


def _as_field(sentence: str, body: bytes, names: Sequence[str]) -> BadRequestError:
    """What msgspec complains of, without the place in its own notation."""
    complaint, _, place = sentence.partition(" - at `$")
    place = place.rstrip("`").lstrip(".")
    if unknown := re.fullmatch(r"Object contains unknown field `(.*)`", complaint, re.DOTALL):
        return BadRequestError("there is no such field", _shown(unknown[1]))
    if missing := re.fullmatch(r"Object missing required field `(\w+)`", complaint):
        return BadRequestError("is missing", missing[1])
    complaint = complaint[:1].lower() + complaint[1:]
    if re.fullmatch(r"features\[.*\]", place):
        return BadRequestError(complaint, _feature_of(place, body, names))
    return BadRequestError(complaint, place or None)


def _feature_of(place: str, body: bytes, names: Sequence[str]) -> str:
    """The feature that msgspec means: by its position in a list; of an object it does not say which.

    Of what a body says twice only the last is left to look at, and that may be right.
    """
    try:
        given = msgspec.json.decode(body)["features"]
    except (
        msgspec.DecodeError,
        RecursionError,
    ):  # a number beyond every number can only be read as what it should have been
        return "features"
    at = re.fullmatch(r"features\[(\d+)\]", place)
    if isinstance(given, list) and at:
        return f"features.{names[int(at[1])]}" if len(given) == len(names) else place
    odd = [name for name, value in given.items() if not _is_number(value)] if isinstance(given, dict) else []
    return f"features.{_shown(odd[0])}" if odd else "features"


def _is_number(value: object) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _shown(name: str) -> str:
    """A name that a stranger has chosen, as far as it is one."""
    return name if re.fullmatch(r"\w{1,64}", name) else "a name that is none"
