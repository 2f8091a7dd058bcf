"""Bold and coloured text for terminals. It is off if NO_COLOR is set (no-color.org) or the terminal is "dumb"."""

import os

BOLD, RED, YELLOW = 1, 31, 33


def styled(text: str, code: int, stream) -> str:
    """Return the text in bold or in a colour if the stream is a terminal that supports it, else unchanged."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
    return text if plain else f"\033[{code}m{text}\033[0m"
