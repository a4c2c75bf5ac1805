"""Name the features of a model for people: the code and the text that an analyst or a cardholder is given."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Annotated

import msgspec

from schemas.errors import ConfigurationError

REASONS_FILE = "reasons.json"


@dataclass(frozen=True, slots=True)
class ReasonName:
    """``code`` stands in the decisions in the place of the feature; ``text`` says what it means."""

    code: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]


def read_reasons(data: bytes, source: str, features: Collection[str]) -> dict[str, ReasonName]:
    """The names in a ``reasons.json``: {feature: {"code": …, "text": …}}, for some or all of ``features``.

    Raises ConfigurationError, naming ``source``, where it is something else or names a feature that there is not.
    """
    try:
        names = msgspec.json.decode(data, type=dict[str, ReasonName])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{source} does not give each feature a code and a text: {error}") from None
    unknown = [feature for feature in names if feature not in features]
    if unknown:
        raise ConfigurationError(f"{source} names {unknown[0]}, which is no feature of the model")
    return names
