"""Command-line flags: the parser, the values it reads, and the flags that several commands share.

Each field of `Config` has one flag. A command lists the settings that it uses, so it accepts these flags and no others.
"""

import argparse
import math
import shutil
from collections.abc import Collection, Iterable
from dataclasses import fields
from fractions import Fraction
from pathlib import Path

from minihire.runtime.errors import MinihireError
from minihire.study.settings import BOUNDS, PIXELS, PRESETS, TYPES, Config
from minihire.training.callbacks import Callback, KeepEvery, keep_best

CONFIG_FIELDS = [f for f in fields(Config) if f.metadata]
BY_NAME = {f.name: f for f in CONFIG_FIELDS}
METAVARS = {"craft_surrogate": "KIND", "time_division": "A+B"}


class _Help(argparse.RawDescriptionHelpFormatter):
    """Help that uses the whole width, and shows --flag and --no-flag as --[no-]flag."""

    def __init__(self, prog):
        super().__init__(prog, max_help_position=27, width=shutil.get_terminal_size().columns)

    def _format_action_invocation(self, action):
        if isinstance(action, argparse.BooleanOptionalAction):
            return f"--[no-]{action.option_strings[0].removeprefix('--')}"
        return super()._format_action_invocation(action)


class Parser(argparse.ArgumentParser):
    """A parser that reports a wrong flag in one sentence. Flags cannot be abbreviated."""

    def __init__(self, *arguments, **options):
        options = {"formatter_class": _Help, "allow_abbrev": False, **options}
        super().__init__(*arguments, **options)
        self.hidden: list[tuple[argparse.Action, str]] = []  # flags that only --help-all shows, and their descriptions

    def error(self, message):
        """Raise MinihireError."""
        raise MinihireError(f"{message}; see {self.prog} --help")

    def hide(self, action: argparse.Action) -> None:
        """Leave a flag out of --help."""
        self.hidden.append((action, action.help))
        action.help = argparse.SUPPRESS


class HelpAll(argparse.Action):
    """--help-all: the help with every flag."""

    def __call__(self, parser, *_):
        """Print it and exit."""
        for action, text in parser.hidden:
            action.help = text
        parser.print_help()
        parser.exit()


def number(text: str) -> float:
    """Read a number, written as 0.03 or as a fraction, 8/255 or 0.5/255."""
    try:
        above, slash, below = text.partition("/")
        if not slash:
            return float(text)
        if "e" in above.lower():  # as a Fraction, 1e999999999 would fill the memory
            return float(above) / int(below)
        return float(Fraction(above) / int(below))
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number (0.03 and 8/255 are)") from error


def minutes(text: str) -> float:
    """Read a number of minutes above 0."""
    value = number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of minutes above 0, not {text}")
    return value


def names(text: str) -> tuple[str, ...]:
    """Read a list of names, separated by commas: "traditional,hire"."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def settings(*groups: str, without: Collection[str] = ()) -> tuple[str, ...]:
    """The names of all settings in these groups, except `without`, in the order of the fields of `Config`."""
    return tuple(f.name for f in CONFIG_FIELDS if f.metadata["group"] in groups and f.name not in without)


def flag_of(name: str) -> str:
    """The flag of a setting: --noise-step for "noise_step"."""
    return f"--{name.replace('_', '-')}"


def add_file(parser: argparse.ArgumentParser, flag: str, text: str | None, metavar: str = "FILE", **options) -> None:
    """Add a flag or an argument whose value is a path."""
    parser.add_argument(flag, type=Path, metavar=metavar, help=text, **options)


def add_json(parser: argparse.ArgumentParser, what: str) -> None:
    """Add --json FILE."""
    add_file(parser, "--json", f"also write the {what} to FILE; with - print only JSON")


def add_settings(
    parser: Parser, chosen: Iterable[str], common: Collection[str] | None = None, defaults: bool = True
) -> None:
    """Add a flag for each chosen setting. The parsed arguments contain only the settings whose flags were given.

    common: the settings that --help shows, if only --help-all shows all of them. With None, --help shows all. defaults: whether
    the help shows default values, those of the preset mini. It should not if the defaults come from a checkpoint.
    """
    sections = {"run": parser}
    for name in chosen:
        f = BY_NAME[name]
        group = f.metadata["group"]
        if group not in sections:
            sections[group] = parser.add_argument_group(group)
        action = _add(sections[group], f, defaults)
        if common is not None and name not in common:
            parser.hide(action)
    if common is not None:
        parser.add_argument("--help-all", action=HelpAll, nargs=0, help="show all flags")


def add_preset(parser: argparse.ArgumentParser, note: str = "") -> None:
    """Add --preset. note: text to append to its help."""
    known = [f"{name}{'[-2core]' * (f'{name}-2core' in PRESETS)}" for name in PRESETS if not name.endswith("-2core")]
    text = f"{', '.join(known)} (default: mini, whose values are in [ ]{note})"
    parser.add_argument("--preset", default=argparse.SUPPRESS, metavar="NAME", help=text)


def _add(section, f, defaults):
    """Add the flag of one field of `Config`. Its type and its choices determine how the value is read and shown in the help."""
    flag, text = flag_of(f.name), f"{f.metadata['help']}{_default(f) if defaults else ''}"
    kind = TYPES[f.name]
    if kind is bool:
        return section.add_argument(flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text)
    choices = f.metadata["choices"]
    convert = {float: number, int: int, str: str}.get(kind, names)
    shown = "{" + ",".join(choices) + "}" if choices else ""
    metavar = (
        shown
        if 0 < len(shown) <= 24
        else {float: "X", int: "N", str: "NAME" if choices else METAVARS.get(f.name, "DIR")}.get(kind, "A,B")
    )
    text = f"{text}: {', '.join(choices)}" if choices and metavar not in (shown, "A,B") else text
    return section.add_argument(flag, type=convert, default=argparse.SUPPRESS, metavar=metavar, help=text)


def _default(f):
    """The default of the preset mini in brackets, unless the description names a default."""
    value = PRESETS["mini"].get(f.name, f.default)
    if value is None or "default" in f.metadata["help"]:
        return ""
    shown = ",".join(value) if isinstance(value, tuple) else value
    if isinstance(value, bool):
        shown = "yes" if value else "no"
    if isinstance(value, float):
        shown = f"{value * 255:g}/255" if f.name in BOUNDS else f"{value:.4g}"
    return f" [{shown}]"


def given_settings(arguments: argparse.Namespace) -> dict:
    """The settings that were given as flags.

    Raises MinihireError for a noise or attack bound above 1, which probably counts in levels from 0 to 255.
    """
    given = {f.name: getattr(arguments, f.name) for f in CONFIG_FIELDS if hasattr(arguments, f.name)}
    for name in PIXELS:
        value = given.get(name)
        if value is not None and 1 < value <= 255:
            raise MinihireError(
                f"{flag_of(name)} must be in 0 … 1, not {value:g}, because pixels lie in [0, 1]: "
                f"did you mean {value:g}/255?"
            )
    return given


def add_time_limit(parser: argparse.ArgumentParser, how_to_resume: str = "then --resume") -> None:
    """Add --max-minutes. how_to_resume: the end of its help text."""
    text = f"after M minutes save and exit with code 3; {how_to_resume}"
    parser.add_argument("--max-minutes", type=minutes, metavar="M", help=text)


def add_keep(parser: Parser) -> None:
    """Add --keep-best and --keep-every, which only --help-all shows."""
    text = "also keep the network of the best held-out accuracy, NAME.best.npz"
    parser.hide(parser.add_argument("--keep-best", action="store_true", help=text))
    text = "also keep the network of every K-th epoch, NAME.epoch-N.npz"
    parser.hide(parser.add_argument("--keep-every", type=int, metavar="K", help=text))


def chosen_callbacks(options: argparse.Namespace, heldout) -> list[Callback]:
    """The callbacks that --keep-best and --keep-every ask for. heldout: the held-out images, or None.

    Raises MinihireError for --keep-best without held-out images, and for a --keep-every below 1.
    """
    if options.keep_best and not heldout:
        raise MinihireError(
            "--keep-best compares accuracies on held-out images: set some aside, as with --heldout 1000"
        )
    if options.keep_every is not None and options.keep_every < 1:
        raise MinihireError(f"--keep-every needs a number of epochs of at least 1, not {options.keep_every}")
    return [keep_best] * options.keep_best + ([KeepEvery(options.keep_every)] if options.keep_every else [])


def add_download(parser: argparse.ArgumentParser) -> None:
    """Add --download."""
    parser.add_argument("--download", action="store_true", help="download the data set to --data-dir if needed")


def add_modules(parser: argparse.ArgumentParser) -> None:
    """Add --module, which can be repeated."""
    add_file(parser, "--module", "your models, layers and attacks (runs first)", "FILE.py", action="append")


def add_execution(parser: argparse.ArgumentParser, record: bool = False) -> None:
    """Add --backend, --device, --precision, --threads and --quiet. record: also add --record."""
    section = parser.add_argument_group("execution")
    section.add_argument("--backend", metavar="NAME", help="numba (default), torch or reference")
    section.add_argument("--device", default="cpu", metavar="DEVICE", help="cpu (default), cuda or cuda:N (with torch)")
    section.add_argument(
        "--precision",
        default="float32",
        metavar="P",
        help="float32 (default); with torch also tf32, bf16",
    )
    if record:
        section.add_argument(
            "--record",
            action=argparse.BooleanOptionalAction,
            help="on CUDA, record and replay kernels (default)",
        )
    section.add_argument(
        "--threads", type=int, metavar="N", help="CPU threads (default: all cores that the program may use)"
    )
    section.add_argument("--quiet", action="store_true", help="print no progress")
