"""The command line: minihire run | train | convert | attack | analyze | report | paper | demo | import | export | info."""

import argparse
import contextlib
import itertools
import os
import sys
from importlib import metadata

import backends
from minihire import __version__
from minihire.app import commands
from minihire.app.flags import Parser
from minihire.app.subcommands import SUBCOMMANDS
from minihire.runtime.errors import MinihireError
from minihire.runtime.interrupt import Interrupted, OutOfTime, stop_after
from minihire.runtime.progress import Progress
from minihire.runtime.terminal import RED, styled

EXAMPLES = """minihire run                 everything, small, on the embedded data set
  minihire run --preset cifar10-small --data-dir DIR --no-black-box
  minihire paper table2 fig8   the paper's table 2 and figure 8, in minutes
  minihire demo 1              the first lesson"""
CODES = (
    "exit codes: 0 done, 2 wrong input or too little memory, 3 stopped by\n"
    "  --max-minutes and not finished, 130 stopped by Ctrl-C"
)


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 2 for wrong input, 3 where its time was over, 130 where it was stopped."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    with _silence() if backends.launched()[0] > 0 else contextlib.nullcontext():
        return _main(arguments)


def _main(arguments):
    rank = backends.launched()[0]
    try:
        options, unknown = _parser().parse_known_args(arguments)
        if unknown:
            raise MinihireError(f"unrecognized arguments: {' '.join(unknown)}; see minihire {options.name} --help")
        Progress.quiet = (
            getattr(options, "quiet", False) or rank > 0 or getattr(options, "json", None) == commands.STDOUT
        )
        with stop_after(getattr(options, "max_minutes", None)):
            options.command(options)
        sys.stdout.flush()
        return 0
    except (Interrupted, KeyboardInterrupt) as stopped:
        if rank == 0:
            _tell(str(stopped) or "stopped; finished work was kept (run and train go on with --resume)")
        return 3 if isinstance(stopped, OutOfTime) else 130
    except (MinihireError, backends.BackendError) as error:
        _tell(error)
        return 2
    except MemoryError as error:
        _tell(f"not enough memory ({error}): choose a smaller --width, --hidden or --batch-size")
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


@contextlib.contextmanager
def _silence():
    """Standard output goes nowhere: what torchrun's first process says, the others need not repeat."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


def _tell(sentence):
    """Say on standard error why the command ends, and in which of torchrun's processes."""
    rank = backends.launched()[0]
    name = styled(f"minihire{f' (process {rank})' if rank else ''}:", RED, sys.stderr)
    print(f"{name} {sentence}", file=sys.stderr)


class TopParser(Parser):
    """The whole program's help: commands in groups, a line each, where argparse knows one list."""

    def format_help(self):
        """Usage, commands, examples, exit codes."""
        lines = [f"usage: {self.usage}", "", self.description]
        for group, members in itertools.groupby(SUBCOMMANDS.items(), lambda item: item[1].group):
            lines += ["", f"{group}:", *(f"    {name:<10}  {sub.text}" for name, sub in members)]
        return "\n".join([*lines, "", self.epilog, ""])


class Version(argparse.Action):
    """--version: minihire's, and those of the backends that are installed."""

    def __call__(self, parser, *_):
        """Print them and exit; nothing is imported for it."""
        found = []
        for name, package in (("numba", "numba"), ("torch", "torch"), ("reference", "numpy")):
            with contextlib.suppress(metadata.PackageNotFoundError):
                found.append(
                    f"{name} ({package} {metadata.version(package)})"
                    if name != package
                    else f"{name} {metadata.version(package)}"
                )
        print(f"minihire {__version__}; backends: {', '.join(found)}")
        parser.exit()


def _parser():
    parser = TopParser(
        "minihire",
        usage="minihire COMMAND [FLAG …]; minihire COMMAND --help",
        description="Robust deep spiking neural networks (HIRE-SNN, ICCV 2021) from first principles.",
        epilog=f"examples:\n  {EXAMPLES}\n\n{CODES}",
    )
    parser.add_argument("--version", action=Version, nargs=0, help="this program's and its backends' versions")
    parser.set_defaults(program=parser)
    subparsers = parser.add_subparsers(dest="name", required=True, metavar="COMMAND", parser_class=Parser)
    for name, sub in SUBCOMMANDS.items():
        one = subparsers.add_parser(
            name,
            help=sub.text,
            prog=f"minihire {name}",
            usage=f"minihire {name} {sub.shape}{' ' * bool(sub.shape)}[FLAG …]",
            description=sub.text[0].upper() + sub.text[1:] + ".",
            epilog=f"examples:\n  {sub.examples}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        one.set_defaults(command=sub.function)
        sub.flags(one)
    return parser
