"""Error messages for unknown commands and flags, with a suggestion if a known one is similar."""

import argparse
import difflib
from collections.abc import Mapping

from backends.errors import choose
from minihire.report.words import listed

ALIASES = {"--lr": "--learning-rate", "--eps": "--epsilon", "--optimizer": "--optimiser", "--time-steps": "--steps"}


def unknown_command(name: str, known: list[str]) -> str:
    """The message for a command that does not exist."""
    return f"there is no command {name!r}: " + (
        "use minihire --help, or minihire COMMAND --help" if name == "help" else choose(name, known)
    )


def unknown_arguments(name: str, unknown: list[str], parsers: Mapping[str, argparse.ArgumentParser]) -> str:
    """The message for arguments that the command `name` does not have."""
    flags = [word.partition("=")[0] for word in unknown if word.startswith("-")]
    if not flags:
        return f"{name} has no argument {unknown[0]!r}; see minihire {name} --help"
    flag = flags[0]
    others = [other for other, parser in parsers.items() if flag in parser._option_string_actions]
    if others:
        return f"{name} has no {flag}; it is a flag of {listed(others)}; see minihire {name} --help"
    close = close_flags(flag, [known for known in parsers[name]._option_string_actions if known.startswith("--")])
    if close:
        return f"{name} has no {flag}: did you mean {listed(close, 'or')}?"
    return f"{name} has no {flag}; see minihire {name} --help"


def close_flags(flag: str, known: list[str]) -> list[str]:
    """Up to three known flags for a shortened flag, or the most similar one for a misspelt flag."""
    flag = ALIASES.get(flag, flag)
    word = flag.lstrip("-")
    full = [other for other in known if other == flag or other.endswith(f"-{word}") or other.startswith(f"{flag}-")]
    full = [other for other in full if not other.startswith("--no-")]
    return full[:3] if word and full else difflib.get_close_matches(flag, known, n=1, cutoff=0.7)
