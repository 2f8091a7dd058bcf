"""The command line: parse the arguments, run the command, turn errors into one sentence and an exit code."""

import argparse
import contextlib
import itertools
import os
import sys
from importlib import metadata
from pathlib import Path

import backends
from minihire import __version__
from minihire.app import (
    analyze,
    attack,
    completion,
    convert,
    demo,
    export,
    import_,
    info,
    pack,
    paper,
    predict,
    report,
    run,
    train,
)
from minihire.app.flags import Parser
from minihire.app.modules import explain, load_modules
from minihire.app.outputs import STDOUT, tell
from minihire.app.streams import guarded_streams, reader_is_gone
from minihire.app.suggestions import unknown_arguments, unknown_command
from minihire.report.words import listed
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import Written
from minihire.runtime.interrupt import Interrupted, OutOfTime, resumable_by, stop_after, terminated_like_interrupted
from minihire.runtime.progress import Progress

COMMAND_MODULES = (
    run,
    report,
    paper,
    train,
    convert,
    attack,
    analyze,
    predict,
    info,
    import_,
    export,
    pack,
    demo,
    completion,
)
# Flags that reduce the memory of a command.
SIZES = ("--width", "--hidden", "--batch-size", "--time-chunk", "--test-limit")
LISTS = {"files": Path, "paths": Path, "names": str}  # arguments of commands that may be repeated, and their type
COMMANDS = {module.COMMAND.name: module.COMMAND for module in COMMAND_MODULES}
EXAMPLES = """minihire run                 everything, small, on the embedded data set
  minihire run --preset cifar10-small --data-dir DIR --no-black-box
  minihire run --data-dir DIR  your own images, one folder per class
  minihire paper table2 fig8   the paper's table 2 and figure 8, in minutes
  minihire demo 1              the first lesson"""
CODES = (
    "exit codes: 0 done, 2 wrong input, too little memory or no space to write,\n"
    "  3 stopped by --max-minutes and not finished, 130 stopped by Ctrl-C"
)


def main(arguments: list[str] | None = None) -> int:
    """Run a command. Returns the exit code: see CODES."""
    with guarded_streams() as output, terminated_like_interrupted():
        try:
            with _silence() if backends.torchrun_rank()[0] > 0 else contextlib.nullcontext():
                code = _main(arguments)
        except SystemExit:  # argparse has printed a help or the version
            output.flush()
            if not output.error:
                raise
            code = 0
        if code == 0 and output.error:
            tell(f"standard output cannot be written ({output.error}): redirect it elsewhere, or free some space")
            code = 2
        return code


def _main(arguments):
    rank, Written.count, Written.earlier = backends.torchrun_rank()[0], 0, False
    quiet, modules, options = Progress.quiet, [], None
    try:
        options = parse(arguments)
        Progress.quiet = getattr(options, "quiet", False) or rank > 0 or getattr(options, "json", None) == STDOUT
        modules = getattr(options, "module", None) or []
        load_modules(modules)
        how_to_resume = "--resume" if hasattr(options, "resume") else None
        with stop_after(getattr(options, "max_minutes", None)), resumable_by(how_to_resume):
            options.command(options)
        sys.stdout.flush()
        return 0
    except (Interrupted, KeyboardInterrupt) as stopped:
        if rank == 0:
            tell(str(stopped) or "stopped; nothing was written yet")  # no message: Ctrl-C before the command began
        return 3 if isinstance(stopped, OutOfTime) else 130
    except (MinihireError, backends.BackendError) as error:
        tell(str(error))
        return 2
    except (Exception, SystemExit) as error:
        if isinstance(error, BrokenPipeError) and reader_is_gone():
            return 1
        said = _cause(error, modules, options)
        if said is None:  # the end of a help text, or a fault of minihire: the traceback is wanted
            raise
        tell(said)
        return 2
    finally:
        Progress.quiet = quiet  # --quiet is for this command, and a program may call `main` again


def _cause(error, modules, options):
    """A line about an error that the machine or a file of --module caused; else None. options: the parsed arguments, if any."""
    if isinstance(error, MemoryError):
        known = completion.commands(options.program)[options.name]._option_string_actions if options else ()
        flags = [flag for flag in SIZES if flag in known]
        advice = f"choose a smaller {listed(flags, 'or')}" if flags else "close other programs"
        return f"not enough memory{f' ({error})' if str(error) else ''}: {advice}"
    if said := explain(error, modules):
        return said
    if isinstance(error, OSError):  # from a check such as Path.exists; readers and writers raise MinihireError
        about = str(error) if error.filename is None else f"{error.filename}: {error.strerror}"
        return f"{about}; give another file or folder"
    return None


@contextlib.contextmanager
def _silence():
    """Discard standard output. Of the processes that torchrun started, only the first one prints."""
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


class TopParser(Parser):
    """The parser of the whole program. Its help lists the commands in groups, one line each."""

    def format_help(self):
        """Usage, commands, examples, exit codes."""
        lines = [f"usage: {self.usage}", "", self.description]
        for group, members in itertools.groupby(COMMANDS.values(), lambda command: command.group):
            lines += ["", f"{group}:", *(f"    {command.name:<10}  {command.summary}" for command in members)]
        return "\n".join([*lines, "", self.epilog, ""])


class Version(argparse.Action):
    """--version: the version of minihire, and those of the backends that are installed."""

    def __call__(self, parser, *_):
        """Print them and exit; no backend is imported for it."""
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


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The parsed arguments, with the command's function in `command`. Raises MinihireError for wrong ones."""
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = make_parser()
    if arguments and not arguments[0].startswith("-") and arguments[0] not in COMMANDS:
        raise MinihireError(unknown_command(arguments[0], list(COMMANDS)))
    options, unknown = parser.parse_known_args(arguments)
    lists = [name for name in LISTS if hasattr(options, name)]
    if lists and not any(word.startswith("-") for word in unknown):
        # argparse expects all words of a list in one place; here flags may stand between them
        getattr(options, lists[0]).extend(map(LISTS[lists[0]], unknown))
    elif unknown:
        raise MinihireError(unknown_arguments(options.name, unknown, completion.commands(parser)))
    return options


def make_parser() -> TopParser:
    """The parser of the program, with one subparser for each command."""
    parser = TopParser(
        "minihire",
        usage="minihire COMMAND [FLAG …]; minihire COMMAND --help",
        description="Robust deep spiking neural networks (HIRE-SNN, ICCV 2021) from first principles.",
        epilog=f"examples:\n  {EXAMPLES}\n\n{CODES}",
    )
    parser.add_argument("--version", action=Version, nargs=0, help="this program's and its backends' versions")
    parser.set_defaults(program=parser)
    subparsers = parser.add_subparsers(dest="name", required=True, metavar="COMMAND", parser_class=Parser)
    for command in COMMANDS.values():
        subparser = subparsers.add_parser(
            command.name,
            help=command.summary,
            prog=f"minihire {command.name}",
            usage=f"minihire {command.name} {command.usage}{' ' * bool(command.usage)}[FLAG …]",
            description=f"{command.summary[0].upper()}{command.summary[1:]}.",
            epilog=f"examples:\n  {command.examples}",
        )
        subparser.set_defaults(command=command.run)
        command.add_flags(subparser)
    return parser
