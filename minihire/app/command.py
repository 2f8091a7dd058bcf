"""The description of a command. Each file of this package that implements a command has one."""

import argparse
from collections.abc import Callable
from typing import NamedTuple

from minihire.app.flags import Parser

WHOLE, STEPS, EXCHANGE = "everything at once", "step by step", "exchange with other programs"
LEARN, SHELL = "to learn", "for your shell"


class Command(NamedTuple):
    """A command of the program.

    group: heading in `minihire --help`. summary: description in one line. usage: arguments in the usage line.
    add_flags: function that adds the arguments and flags to a parser. run: function that runs the command with the parsed
    arguments and raises MinihireError for wrong input. examples: text at the end of its help.
    """

    name: str
    group: str
    summary: str
    usage: str
    add_flags: Callable[[Parser], None]
    run: Callable[[argparse.Namespace], None]
    examples: str
