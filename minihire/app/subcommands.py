"""Every command of the program: its group, what it does, its flags, and examples that run."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from minihire.app import commands, completion
from minihire.app.demo import demo
from minihire.app.flags import Parser, add_execution, add_settings, add_time_limit, names
from minihire.data.cifar import CLASSES
from minihire.study.settings import METHODS

CONVERSION = " (a conversion starts again: give it more time than that takes)"


class Subcommand(NamedTuple):
    """function: what runs it, given the parsed flags; shape: its arguments in the usage line; flags: adds them to a parser."""

    group: str
    function: Callable
    text: str
    shape: str
    flags: Callable[[Parser], None]
    examples: str


def _file(parser, flag, help, metavar="FILE", **options):
    parser.add_argument(flag, type=Path, metavar=metavar, help=help, **options)


def _json(parser, what):
    _file(parser, "--json", f"write the {what} there too; - for standard output, alone")


def _settings(parser):
    add_settings(parser)
    parser.add_argument(
        "--download", action="store_true", help="fetch the data set into --data-dir first, if it is not there"
    )
    add_execution(parser)


def _run(parser):
    _file(parser, "--out", "the run's folder (default: runs/PRESET, numbered if taken)", "DIR")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the run in --out, or with the latest one of this preset"
    )
    add_time_limit(parser, note=CONVERSION)
    _settings(parser)


def _train(parser):
    parser.add_argument("method", metavar="METHOD", help=", ".join(("ann", *METHODS)))
    _file(parser, "--from", "the converted SNN to start from (not for ann)", dest="start")
    _file(parser, "--out", "checkpoint to write, .npz", required=True)
    parser.add_argument("--resume", action="store_true", help="go on from --out where it exists")
    add_time_limit(parser, note=CONVERSION)
    _settings(parser)


def _convert(parser):
    _file(parser, "ann", "the ANN's checkpoint", "ANN")
    _file(parser, "--out", "checkpoint to write, .npz", required=True)
    _settings(parser)


def _attack(parser):
    _file(parser, "checkpoint", None, "CHECKPOINT")
    _file(parser, "--source", "craft the images on this checkpoint (black box)")
    _json(parser, "scores")
    add_time_limit(parser, "run the same command, with --json FILE, again")
    _settings(parser)


def _analyze(parser):
    _file(parser, "checkpoint", None, "CHECKPOINT")
    _json(parser, "figures")
    _settings(parser)


def _report(parser):
    _file(parser, "folders", "a run's folder, which holds its results.json", "DIR", nargs="+")
    _file(parser, "--out", "page to write (default, for one run: DIR/report.html)")


def _paper(parser):
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="table1 … table7, fig1 … fig11, all (the default), attackers, choices; --list shows them",
    )
    parser.add_argument(
        "--scale", default="mini", metavar="SCALE", help="mini (default; “shapes”), small (part of CIFAR-10), or full"
    )
    _file(parser, "--out", "for paper.html and the cache (default: runs/paper)", "DIR")
    parser.add_argument("--data-dir", metavar="DIR", help="where the data set lies, for small and full")
    parser.add_argument(
        "--download", action="store_true", help="fetch the data set into --data-dir, if it is not there"
    )
    parser.add_argument("--seeds", type=int, default=1, metavar="K", help="train everything K times (default: 1)")
    parser.add_argument("--models", type=names, default=(), metavar="A,B", help="of scale full: vgg5, vgg11, resnet12")
    parser.add_argument("--list", action="store_true", help="what each needs, has, and would cost; nothing is done")
    add_time_limit(parser, "run the same command again", CONVERSION)
    add_execution(parser)


def _info(parser):
    parser.add_argument("model_name", metavar="MODEL", help="a model's name, or a checkpoint")
    parser.add_argument("--classes", type=int, default=10, metavar="N")
    parser.add_argument("--image-shape", type=int, nargs=3, default=(32, 32, 3), metavar=("H", "W", "C"))
    parser.add_argument("--width", type=float, default=1.0, metavar="X")
    parser.add_argument("--hidden", type=int, metavar="N")
    _json(parser, "table")


def _import(parser):
    _file(parser, "file", "what torch.save wrote: a state dict, or one with it")
    _file(parser, "--out", "checkpoint to write (default: .npz beside the file)")
    parser.add_argument(
        "--data",
        choices=tuple(CLASSES),
        metavar="{" + ",".join(CLASSES) + "}",
        help="the data set it was trained on (default: by the number of classes)",
    )
    parser.add_argument(
        "--steps", type=int, metavar="N", help="time steps T, where the file has none (default: the model's)"
    )


def _export(parser):
    _file(parser, "checkpoint", None, "CHECKPOINT")
    _file(parser, "--out", "file to write (default: .pt beside the checkpoint)")


def _demo(parser):
    parser.add_argument("lesson", nargs="?", metavar="LESSON", help="a lesson's number (default: list them)")
    parser.add_argument("--notebook", action="store_true", help="write the lesson, or all, as .ipynb instead")
    parser.add_argument("--quick", action="store_true", help="less of everything, to see that it runs")
    _file(parser, "--out", "folder of the figure (demos/figures) or of the notebooks (notebooks)", "DIR")


def _completion(parser):
    parser.add_argument("shell", metavar="SHELL", help=", ".join(completion.SHELLS))


WHOLE, STEPS, PUBLISHED = "everything at once", "step by step", "checkpoints of the paper's authors"
SUBCOMMANDS = {
    "run": Subcommand(
        WHOLE,
        commands.run,
        "train an ANN, convert it, train the SNN, attack, count energy",
        "",
        _run,
        """minihire run --preset cifar10-small --data-dir DIR --no-black-box
  minihire run --resume        go on with the latest mini run
  minihire run --out DIR --max-minutes 50
  while [ $? = 3 ]; do minihire run --resume --out DIR --max-minutes 50; done
  torchrun --nproc-per-node 2 -m minihire run --backend torch --device cuda""",
    ),
    "report": Subcommand(
        WHOLE,
        commands.report,
        "one page of a run, or of several side by side",
        "DIR [DIR …]",
        _report,
        "minihire report runs/mini runs/mini-2 --out compare.html",
    ),
    "paper": Subcommand(
        WHOLE,
        commands.paper,
        "reproduce the paper's tables and figures, beside what it prints",
        "[NAME …]",
        _paper,
        """minihire paper --list        what each needs, has, and would cost
  minihire paper table2 fig8
  minihire paper all --scale small --seeds 3 --data-dir DIR""",
    ),
    "train": Subcommand(
        STEPS,
        commands.train,
        "train one network: an ANN, or an SNN from a converted one",
        "METHOD --out FILE",
        _train,
        """minihire train ann --out ann.npz && minihire convert ann.npz --out snn.npz
  minihire train hire --from snn.npz --out hire.npz""",
    ),
    "convert": Subcommand(
        STEPS,
        commands.convert,
        "convert a trained ANN into an SNN by threshold balancing",
        "ANN --out FILE",
        _convert,
        "minihire convert ann.npz --out snn.npz --steps 8 --scaling-factor 0.4",
    ),
    "attack": Subcommand(
        STEPS,
        commands.attack,
        "accuracy of a checkpoint on clean and attacked test images",
        "CHECKPOINT",
        _attack,
        """minihire attack runs/mini/models/hire.npz --epsilon 16/255 --iterations 20
  minihire attack runs/mini/models/hire.npz \\
    --source runs/mini/models/second/hire.npz     black box
  minihire attack runs/mini/models/hire.npz --json - | python -m json.tool""",
    ),
    "analyze": Subcommand(
        STEPS,
        commands.analyze,
        "spiking activity, operations and energy of a checkpoint",
        "CHECKPOINT",
        _analyze,
        "minihire analyze runs/mini/models/hire.npz",
    ),
    "info": Subcommand(
        STEPS,
        commands.info,
        "layer table of a model: shapes, weights, operations",
        "MODEL",
        _info,
        "minihire info vgg5 --width 0.25",
    ),
    "import": Subcommand(
        PUBLISHED,
        commands.import_published,
        "turn a checkpoint of the paper's authors (VGG, .pt) into ours",
        "FILE",
        _import,
        "minihire import vgg5_cifar10.pt --out vgg5.npz",
    ),
    "export": Subcommand(
        PUBLISHED,
        commands.export_published,
        "write a checkpoint (VGG) in the format of the paper's authors",
        "CHECKPOINT",
        _export,
        "minihire export runs/mini/models/hire.npz --out hire.pt",
    ),
    "demo": Subcommand(
        "to learn",
        demo,
        "list the lessons of demos/, run one, or write them as notebooks",
        "[LESSON]",
        _demo,
        "minihire demo 3",
    ),
    "completion": Subcommand(
        "for your shell",
        lambda options: print(completion.script(options.program, options.shell), end=""),
        "a shell's completion of commands and flags",
        "SHELL",
        _completion,
        """minihire completion bash >> ~/.bashrc
  minihire completion zsh >> ~/.zshrc
  minihire completion fish >> ~/.config/fish/config.fish""",
    ),
}
