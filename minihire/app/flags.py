"""Command-line flags made from the settings: one flag for each field of `Config`."""

import argparse
import math
import types
import typing
from dataclasses import fields
from fractions import Fraction

from minihire.runtime.errors import MinihireError
from minihire.study.settings import PRESETS, Config

CONFIG_FIELDS = [f for f in fields(Config) if f.metadata]
_TYPES = typing.get_type_hints(Config)


class Parser(argparse.ArgumentParser):
    """Wrong flags end in one sentence, not in a page of usage."""

    def error(self, message):
        """Raise MinihireError."""
        raise MinihireError(f"{message}; see {self.prog} --help")


def number(text: str) -> float:
    """0.03 or 8/255."""
    try:
        return float(Fraction(text)) if "/" in text else float(text)
    except (ValueError, ZeroDivisionError, OverflowError) as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number (0.03 and 8/255 are)") from error


def minutes(text: str) -> float:
    """A number of minutes above 0."""
    value = number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a number of minutes above 0, not {text}")
    return value


def names(text: str) -> tuple[str, ...]:
    """traditional,hire."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def add_settings(parser: argparse.ArgumentParser) -> None:
    """--preset and a flag for every setting; only those given appear in the parsed arguments."""
    parser.add_argument(
        "--preset",
        default=argparse.SUPPRESS,
        metavar="NAME",
        help=f"{', '.join(PRESETS)} (default: mini, whose values stand below in [ ]; a checkpoint's own come first)",
    )
    sections = {}
    for f in CONFIG_FIELDS:
        group = f.metadata["group"]
        if group not in sections:
            sections[group] = parser.add_argument_group(group)
        _add(sections[group], f)


def _add(section, f):
    flag, text = f"--{f.name.replace('_', '-')}", f"{f.metadata['help']}{_usual(f)}"
    kind = _TYPES[f.name]
    if kind is bool:
        section.add_argument(flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text)
        return
    if isinstance(kind, types.UnionType):
        kind = next(t for t in typing.get_args(kind) if t is not type(None))
    choices = f.metadata["choices"]
    convert = {float: number, int: int, str: str}.get(kind, names)
    metavar = "{" + ",".join(choices) + "}" if choices else {float: "X", int: "N"}.get(kind, "DIR")
    section.add_argument(flag, type=convert, default=argparse.SUPPRESS, metavar=metavar, help=text)


def _usual(f):
    """The default of the preset that is the default, where the text names none."""
    value = PRESETS["mini"].get(f.name, f.default)
    if value is None or "default" in f.metadata["help"]:
        return ""
    shown = ",".join(value) if isinstance(value, tuple) else {True: "yes", False: "no"}.get(value, value)
    shown = shown if isinstance(value, bool | str | tuple) else f"{value:.4g}" if isinstance(value, float) else value
    return f" [{shown}]"


def given_settings(arguments: argparse.Namespace) -> dict:
    """The settings that were given as flags."""
    return {f.name: getattr(arguments, f.name) for f in CONFIG_FIELDS if hasattr(arguments, f.name)}


def add_time_limit(parser: argparse.ArgumentParser, again: str = "run again with --resume", note: str = "") -> None:
    """--max-minutes, for a command that can go on; again: how; note: what to know."""
    parser.add_argument(
        "--max-minutes",
        type=minutes,
        metavar="M",
        help=f"after M minutes finish the batch, save, and exit with 3: not finished, {again}{note}",
    )


def add_execution(parser: argparse.ArgumentParser) -> None:
    """--backend, --device, --precision, --threads, --quiet."""
    section = parser.add_argument_group("execution")
    section.add_argument("--backend", metavar="NAME", help="numba (default), torch or reference; also MINIHIRE_BACKEND")
    section.add_argument(
        "--device", default="cpu", metavar="DEVICE", help="cpu (default) or, with torch, cuda or cuda:N"
    )
    section.add_argument(
        "--precision",
        default="float32",
        metavar="P",
        help="of products, with torch: float32 (default), tf32 (on CUDA) or bf16; membranes and weights stay in float32",
    )
    section.add_argument(
        "--record",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="on CUDA, launch training periods and attack steps as recorded graphs (default), or kernel by kernel",
    )
    section.add_argument("--threads", type=int, metavar="N", help="CPU threads (default: all cores)")
    section.add_argument("--quiet", action="store_true", help="no progress")
