"""Keep what others wrote from commanding our terminal."""


def printable(text: str) -> str:
    """The text with U+FFFD for every letter of an escape sequence that a terminal would obey."""
    return "".join(letter if letter.isprintable() else "\ufffd" for letter in text)
