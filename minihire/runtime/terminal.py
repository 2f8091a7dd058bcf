"""Text for terminals: bold and colours, which are off if NO_COLOR is set (no-color.org) or the terminal is "dumb"; escaping."""

import os
import re

BOLD, RED, YELLOW = 1, 31, 33
CONTROL = r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]"  # also those that reverse the order of the text
OURS = rf"[\n\r\t]|\033\[(?:0|{BOLD}|{RED}|{YELLOW})m|\033\[A"  # what this program and its progress bars print


def styled(text: str, code: int, stream) -> str:
    """Return the text in bold or in a colour if the stream is a terminal that supports it, else unchanged."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not stream.isatty()
    return text if plain else f"\033[{code}m{text}\033[0m"


def escaped(text: str) -> str:
    """The text with every control character as \\xNN, line breaks included: for names of files in a sentence."""
    return re.sub(CONTROL, lambda found: found[0].encode("unicode_escape").decode(), text)


def without_foreign_codes(text: str) -> str:
    """The text with every control character escaped, except line breaks, tabs, and the codes that this program uses."""
    return re.sub(f"({OURS})|{CONTROL}", lambda found: found[1] or escaped(found[0]), text)
