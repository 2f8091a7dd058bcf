"""The command line: minihire run | train | convert | attack | analyze | info."""

import argparse
import os
import sys
from pathlib import Path

import backends
from minihire import __version__, commands
from minihire.errors import MinihireError
from minihire.experiments import METHODS
from minihire.flags import Parser, add_execution, add_settings
from minihire.interrupt import Interrupted
from minihire.progress import Progress

EXAMPLES = """examples:
  minihire run                                   everything, small, on the embedded data set
  minihire run --preset cifar10-small --data-dir DIR --no-black-box
  minihire run --resume                          go on with the latest mini run
  minihire attack runs/mini/models/hire.npz --epsilon 16/255 --iterations 20
  minihire info vgg5 --width 0.25"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command; returns the exit code: 0, 2 for wrong input, 130 where it was stopped."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        options = _parser().parse_args(arguments)
        Progress.quiet = getattr(options, "quiet", False)
        options.command(options)
        sys.stdout.flush()
        return 0
    except Interrupted as stopped:
        print(f"minihire: {stopped}", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print("minihire: stopped; finished work was kept (run and train go on with --resume)", file=sys.stderr)
        return 130
    except (MinihireError, backends.BackendError) as error:
        print(f"minihire: {error}", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(
            f"minihire: not enough memory ({error}): choose a smaller --width, --hidden or --batch-size",
            file=sys.stderr,
        )
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _parser():
    parser = Parser(
        "minihire",
        description="Robust deep spiking neural networks (HIRE-SNN, ICCV 2021) from first principles.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"minihire {__version__}")
    subparsers = parser.add_subparsers(dest="name", required=True, metavar="COMMAND", parser_class=Parser)

    def command(name, function, text):
        sub = subparsers.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        sub.set_defaults(command=function)
        return sub

    run = command("run", commands.run, "train an ANN, convert it, train the SNN on, attack it, count its energy")
    run.add_argument(
        "--out", type=Path, metavar="DIR", help="the run's folder (default: runs/PRESET, numbered if taken)"
    )
    run.add_argument(
        "--resume", action="store_true", help="go on with the run in --out, or with the latest one of this preset"
    )
    _finish(run)

    train = command("train", commands.train, "train one network: an ANN, or an SNN from a converted one")
    train.add_argument("method", metavar="METHOD", help=", ".join(("ann", *METHODS)))
    train.add_argument(
        "--from", dest="start", type=Path, metavar="FILE", help="the converted SNN to start from (not for ann)"
    )
    train.add_argument("--out", type=Path, required=True, metavar="FILE", help="checkpoint to write, .npz")
    train.add_argument("--resume", action="store_true", help="go on from --out where it exists")
    _finish(train)

    convert = command("convert", commands.convert, "convert a trained ANN into an SNN by threshold balancing")
    convert.add_argument("ann", type=Path, metavar="ANN", help="the ANN's checkpoint")
    convert.add_argument("--out", type=Path, required=True, metavar="FILE", help="checkpoint to write, .npz")
    _finish(convert)

    attack = command("attack", commands.attack, "accuracy of a checkpoint on clean and attacked test images")
    attack.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    attack.add_argument("--source", type=Path, metavar="FILE", help="craft the images on this checkpoint (black box)")
    attack.add_argument("--json", type=Path, metavar="FILE", help="write the scores there too")
    _finish(attack)

    analyze = command("analyze", commands.analyze, "spiking activity, operations and energy of a checkpoint")
    analyze.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    analyze.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    _finish(analyze)

    info = command("info", commands.info, "layer table of a model: shapes, weights, operations")
    info.add_argument("model_name", metavar="MODEL", help="a model's name, or a checkpoint")
    info.add_argument("--classes", type=int, default=10, metavar="N")
    info.add_argument("--image-shape", type=int, nargs=3, default=(32, 32, 3), metavar=("H", "W", "C"))
    info.add_argument("--width", type=float, default=1.0, metavar="X")
    info.add_argument("--hidden", type=int, metavar="N")
    return parser


def _finish(parser):
    add_settings(parser)
    parser.add_argument(
        "--download", action="store_true", help="fetch the data set into --data-dir first, if it is not there"
    )
    add_execution(parser)
