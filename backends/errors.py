"""The error that backends raise, and the end of messages about unknown names."""

import difflib
from collections.abc import Iterable


class BackendError(ValueError):
    """A backend that is unknown or cannot be imported, lacks what was requested, or is used in a way that it cannot serve."""


def choose(unknown: str, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: "did you mean hire?" if a known name is similar, else "choose ann, hire".

    A name with other digits is not similar: table9 does not mean table7.
    """
    known = list(known)
    similar = [name for name in known if _digits(name) == _digits(unknown)]
    close = difflib.get_close_matches(unknown, similar, n=1, cutoff=0.7)
    return f"did you mean {close[0]}?" if close else f"choose {', '.join(known)}"


def _digits(name: str) -> str:
    return "".join(filter(str.isdecimal, name))
