"""Surrogate gradients by name, as in `--surrogate arctan:2`."""

import inspect
from fractions import Fraction

from backends import surrogates
from backends.errors import choose
from backends.surrogates import Surrogate
from minihire.runtime.errors import MinihireError

# kind → function that makes the surrogate. Its argument is a width (triangle, rectangle) or a sharpness (exponential, arctan).
# straight_through and rate have no argument.
SURROGATES = {
    "triangle": surrogates.unit_triangle,
    "exponential": surrogates.exponential,
    "rectangle": surrogates.rectangle,
    "arctan": surrogates.arctan,
    "straight_through": surrogates.straight_through,
    "rate": surrogates.rate,
}


def parse_surrogate(text: str | None, flag: str = "--surrogate") -> Surrogate | None:
    """The surrogate that KIND or KIND:NUMBER names; None for None.

    Raises MinihireError, naming the flag, for an unknown kind or an impossible number.
    """
    if text is None:
        return None
    kind, colon, width = text.partition(":")
    if kind not in SURROGATES:
        raise MinihireError(f"{flag}: there is no surrogate {kind!r}: {choose(kind, SURROGATES)}")
    make = SURROGATES[kind]
    takes_width = bool(inspect.signature(make).parameters)
    if not colon:
        return make(*([1.0] if kind == "triangle" else []))
    try:
        value = float(Fraction(width)) if "/" in width else float(width)
    except (ValueError, ZeroDivisionError, OverflowError):
        value = 0.0
    if not takes_width or not 0 < value < 1e6:
        expected = "KIND:NUMBER with a number above 0, as in arctan:2" if takes_width else f"{kind} without a number"
        raise MinihireError(f"{flag} must be {expected}, not {text!r}")
    return make(value)
