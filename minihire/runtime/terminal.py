"""Bold and colour where somebody sees them: on a terminal, unless NO_COLOR is set (no-color.org) or it is a dumb one."""

import os

BOLD, RED, YELLOW = 1, 31, 33


def styled(text: str, code: int, stream) -> str:
    """The text, in bold or in a colour if the stream is a terminal that takes it."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
    return text if plain else f"\033[{code}m{text}\033[0m"
