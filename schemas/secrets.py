"""Take credentials out of text that people and logs will see."""

import re

_USER_INFO = re.compile(r"(\w+://)?\S*@")
"""Up to the last @ of a word, for a password may hold any character that should have been escaped."""


def without_credentials(text: str) -> str:
    """The text with stars for the user and the password of every URL in it.

    >>> without_credentials("cannot reach https://ann:hunter2@registry:8081/subjects")
    'cannot reach https://****@registry:8081/subjects'
    """
    return _USER_INFO.sub(r"\1****@", text)
