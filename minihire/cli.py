"""The command line: minihire run | train | convert | attack | analyze | report | paper | demo | import | export | info."""

import argparse
import contextlib
import os
import sys
from importlib import metadata
from pathlib import Path

import backends
from minihire import __version__, commands, completion
from minihire.data.cifar import CLASSES
from minihire.demo import demo
from minihire.errors import MinihireError
from minihire.experiments import METHODS
from minihire.flags import Parser, add_execution, add_settings, add_time_limit, names
from minihire.interrupt import Interrupted, OutOfTime, stop_after
from minihire.progress import Progress
from minihire.style import RED, styled

GROUPS = {
    "everything at once": ("run", "report", "paper"),
    "step by step": ("train", "convert", "attack", "analyze", "info"),
    "checkpoints of the paper's authors": ("import", "export"),
    "to learn": ("demo",),
    "for your shell": ("completion",),
}
EXAMPLES = {
    "": """minihire run                                   everything, small, on the embedded data set
  minihire run --preset cifar10-small --data-dir DIR --no-black-box
  minihire paper table2 fig8                     the paper's table 2 and figure 8 in seconds; --scale small on CIFAR-10
  minihire demo 1                                the first lesson""",
    "run": """minihire run --preset cifar10-small --data-dir DIR --no-black-box
  minihire run --resume                          go on with the latest mini run
  minihire run --out DIR --max-minutes 50; while [ $? = 3 ]; do minihire run --resume --out DIR --max-minutes 50; done
  torchrun --nproc-per-node 2 -m minihire run --backend torch --device cuda     two processes: docs/several-processes.md""",
    "report": "minihire report runs/mini runs/mini-2 --out compare.html",
    "paper": """minihire paper --list                          what each needs, has, and would cost
  minihire paper table2 fig8
  minihire paper all --scale small --seeds 3 --data-dir DIR""",
    "train": """minihire train ann --out ann.npz && minihire convert ann.npz --out snn.npz
  minihire train hire --from snn.npz --out hire.npz""",
    "convert": "minihire convert ann.npz --out snn.npz --steps 8 --scaling-factor 0.4",
    "attack": """minihire attack runs/mini/models/hire.npz --epsilon 16/255 --iterations 20
  minihire attack runs/mini/models/hire.npz --source runs/mini/models/second/hire.npz     black box
  minihire attack runs/mini/models/hire.npz --json - | python -m json.tool""",
    "analyze": "minihire analyze runs/mini/models/hire.npz",
    "info": "minihire info vgg5 --width 0.25",
    "import": "minihire import vgg5_cifar10.pt --out vgg5.npz",
    "export": "minihire export runs/mini/models/hire.npz --out hire.pt",
    "demo": "minihire demo 3",
    "completion": """minihire completion bash > ~/.local/share/bash-completion/completions/minihire
  minihire completion zsh >> ~/.zshrc
  minihire completion fish > ~/.config/fish/completions/minihire.fish""",
}
CODES = (
    "exit codes: 0 done, 2 wrong input or too little memory, 3 stopped by --max-minutes and not finished, "
    "130 stopped by Ctrl-C"
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
        options = _parser().parse_args(arguments)
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
        (found,) = (action for action in self._actions if isinstance(action, argparse._SubParsersAction))
        text = {choice.dest: choice.help for choice in found._choices_actions}
        lines = [f"usage: {self.usage}", "", self.description]
        for group, members in GROUPS.items():
            lines += ["", f"{group}:", *(f"    {name:<10}  {text[name]}" for name in members)]
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
        epilog=f"examples:\n  {EXAMPLES['']}\n\n{CODES}",
    )
    parser.add_argument("--version", action=Version, nargs=0, help="this program's and its backends' versions")
    subparsers = parser.add_subparsers(dest="name", required=True, metavar="COMMAND", parser_class=Parser)

    def command(name, function, text, shape=""):
        sub = subparsers.add_parser(
            name,
            help=text,
            prog=f"minihire {name}",
            usage=f"minihire {name} {shape}{' ' * bool(shape)}[FLAG …]",
            description=text[0].upper() + text[1:] + ".",
            epilog=f"examples:\n  {EXAMPLES[name]}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        sub.set_defaults(command=function)
        return sub

    run = command("run", commands.run, "train an ANN, convert it, train the SNN on, attack it, count its energy")
    run.add_argument(
        "--out", type=Path, metavar="DIR", help="the run's folder (default: runs/PRESET, numbered if taken)"
    )
    run.add_argument(
        "--resume", action="store_true", help="go on with the run in --out, or with the latest one of this preset"
    )
    add_time_limit(run)
    _finish(run)

    train = command(
        "train", commands.train, "train one network: an ANN, or an SNN from a converted one", "METHOD --out FILE"
    )
    train.add_argument("method", metavar="METHOD", help=", ".join(("ann", *METHODS)))
    train.add_argument(
        "--from", dest="start", type=Path, metavar="FILE", help="the converted SNN to start from (not for ann)"
    )
    train.add_argument("--out", type=Path, required=True, metavar="FILE", help="checkpoint to write, .npz")
    train.add_argument("--resume", action="store_true", help="go on from --out where it exists")
    add_time_limit(train)
    _finish(train)

    convert = command(
        "convert", commands.convert, "convert a trained ANN into an SNN by threshold balancing", "ANN --out FILE"
    )
    convert.add_argument("ann", type=Path, metavar="ANN", help="the ANN's checkpoint")
    convert.add_argument("--out", type=Path, required=True, metavar="FILE", help="checkpoint to write, .npz")
    _finish(convert)

    attack = command(
        "attack", commands.attack, "accuracy of a checkpoint on clean and attacked test images", "CHECKPOINT"
    )
    attack.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    attack.add_argument("--source", type=Path, metavar="FILE", help="craft the images on this checkpoint (black box)")
    attack.add_argument(
        "--json", type=Path, metavar="FILE", help="write the scores there too; - for standard output, alone"
    )
    _finish(attack)

    analyze = command(
        "analyze", commands.analyze, "spiking activity, operations and energy of a checkpoint", "CHECKPOINT"
    )
    analyze.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    analyze.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures there too; - for standard output, alone"
    )
    _finish(analyze)

    report = command(
        "report",
        commands.report,
        "one page of a run, or of several side by side, from their results.json",
        "DIR [DIR …]",
    )
    report.add_argument("folders", type=Path, nargs="+", metavar="OUT", help="a run's folder")
    report.add_argument(
        "--out", type=Path, metavar="FILE", help="page to write (default, for one run: OUT/report.html)"
    )

    take = command(
        "import", commands.import_published, "turn a checkpoint of the paper's authors (VGG, .pt) into ours", "FILE"
    )
    take.add_argument("file", type=Path, metavar="FILE", help="what torch.save wrote: a state dict, or one with it")
    take.add_argument("--out", type=Path, metavar="FILE", help="checkpoint to write (default: .npz beside the file)")
    take.add_argument(
        "--data",
        choices=tuple(CLASSES),
        metavar="{" + ",".join(CLASSES) + "}",
        help="the data set it was trained on (default: by the number of classes)",
    )
    take.add_argument(
        "--steps", type=int, metavar="N", help="time steps T, where the file has none (default: the model's)"
    )

    give = command(
        "export",
        commands.export_published,
        "write a checkpoint (VGG) in the format of the paper's authors",
        "CHECKPOINT",
    )
    give.add_argument("checkpoint", type=Path, metavar="CHECKPOINT")
    give.add_argument("--out", type=Path, metavar="FILE", help="file to write (default: .pt beside the checkpoint)")

    paper = command(
        "paper", commands.paper, "reproduce the paper's tables and figures, beside what it prints", "[NAME …]"
    )
    paper.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="table1 … table7, fig1 … fig11, all (the default), attackers, choices; --list shows them",
    )
    paper.add_argument(
        "--scale", default="mini", metavar="SCALE", help="mini (default; “shapes”), small (part of CIFAR-10), or full"
    )
    paper.add_argument("--out", type=Path, metavar="DIR", help="for paper.html and the cache (default: runs/paper)")
    paper.add_argument("--data-dir", metavar="DIR", help="where the data set lies, for small and full")
    paper.add_argument("--download", action="store_true", help="fetch the data set into --data-dir, if it is not there")
    paper.add_argument("--seeds", type=int, default=1, metavar="K", help="train everything K times (default: 1)")
    paper.add_argument("--models", type=names, default=(), metavar="A,B", help="of scale full: vgg5, vgg11, resnet12")
    paper.add_argument("--list", action="store_true", help="what each needs, has, and would cost; nothing is done")
    add_time_limit(paper, "run the same command again")
    add_execution(paper)

    info = command("info", commands.info, "layer table of a model: shapes, weights, operations", "MODEL")
    info.add_argument("model_name", metavar="MODEL", help="a model's name, or a checkpoint")
    info.add_argument("--classes", type=int, default=10, metavar="N")
    info.add_argument("--image-shape", type=int, nargs=3, default=(32, 32, 3), metavar=("H", "W", "C"))
    info.add_argument("--width", type=float, default=1.0, metavar="X")
    info.add_argument("--hidden", type=int, metavar="N")
    info.add_argument(
        "--json", type=Path, metavar="FILE", help="write the table there too; - for standard output, alone"
    )

    lesson = command("demo", demo, "list the lessons of demos/, run one, or write them as notebooks", "[LESSON]")
    lesson.add_argument("lesson", nargs="?", metavar="LESSON", help="a lesson's number (default: list them)")
    lesson.add_argument("--notebook", action="store_true", help="write the lesson, or all, as .ipynb instead")
    lesson.add_argument("--quick", action="store_true", help="less of everything, to see that it runs")
    lesson.add_argument(
        "--out", type=Path, metavar="DIR", help="folder of the figure (demos/figures) or of the notebooks (notebooks)"
    )

    shell = command(
        "completion",
        lambda options: print(completion.script(parser, options.shell), end=""),
        "a shell's completion of commands and flags",
        "SHELL",
    )
    shell.add_argument("shell", metavar="SHELL", help=", ".join(completion.SHELLS))
    return parser


def _finish(parser):
    add_settings(parser)
    parser.add_argument(
        "--download", action="store_true", help="fetch the data set into --data-dir first, if it is not there"
    )
    add_execution(parser)
