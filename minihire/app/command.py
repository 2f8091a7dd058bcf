"""What a command is: one value for each file of this package that has a command."""

import argparse
from collections.abc import Callable
from typing import NamedTuple

from minihire.app.flags import Parser

WHOLE, STEPS, PUBLISHED = "everything at once", "step by step", "checkpoints of the paper's authors"
LEARN, SHELL = "to learn", "for your shell"


class Command(NamedTuple):
    """A command of the program.

    group: its heading in `minihire --help`; summary: what it does, in one line; usage: its arguments in the usage line;
    add_flags: adds its arguments and flags to a parser; run: runs it with the parsed arguments, and raises MinihireError for
    wrong input; examples: shown at the end of its help.
    """

    name: str
    group: str
    summary: str
    usage: str
    add_flags: Callable[[Parser], None]
    run: Callable[[argparse.Namespace], None]
    examples: str
