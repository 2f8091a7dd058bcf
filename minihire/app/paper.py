"""minihire paper: the paper's tables and figures at a scale, from one cache of networks and measurements."""

import json
import os
import platform
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from backends.errors import choose
from minihire.app import folders
from minihire.app.command import WHOLE, Command
from minihire.app.flags import add_download, add_execution, add_file, add_time_limit
from minihire.app.flags import names as names_of
from minihire.app.inputs import open_backend
from minihire.report import paper_page as page
from minihire.report.tables import table
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import read_text, utf8, write_atomically
from minihire.runtime.interrupt import resumable_by
from minihire.runtime.progress import duration, say
from minihire.study.paper import accuracy, adversarial, attackers, choices, cost, recipes, robustness, spikes, sweeps
from minihire.study.paper.dry_run import Plan
from minihire.study.paper.outcome import Outcome
from minihire.study.paper.paper_study import PaperStudy
from minihire.study.paper.scales import SCALES, scale

SEEDS = 1000  # at most
FILES = ("paper.json", "paper.md", "paper.html")
MODELS = "vgg5, vgg11, resnet12 or all (of small and full). Scale small has CIFAR-100 only with vgg11 or resnet12"


class Experiment(NamedTuple):
    """A table or figure of the paper, or an experiment that the paper does not have.

    several: whether it has rows for several networks and data sets, where the scale has them.
    """

    what: str
    make: Callable[[PaperStudy], Outcome]
    several: bool = False


EXPERIMENTS = {
    "table1": Experiment("ANN, rate-coded and low-latency SNN, white and black box", accuracy.table1, several=True),
    "table2": Experiment("HIRE under white-box attacks, with its controls", accuracy.table2, several=True),
    "table3": Experiment("HIRE under black-box attacks, with its controls", accuracy.table3, several=True),
    "table4": Experiment("checklist for obfuscated gradients", sweeps.table4),
    "table5": Experiment("frozen thresholds and leaks", accuracy.table5),
    "table6": Experiment("operations of every layer", cost.table6),
    "table7": Experiment("energy of an operation", cost.table7),
    "fig1b": Experiment("spikes by layer, rate and direct coding", spikes.figure1b, several=True),
    "fig1c": Experiment("SNN and ANN under attack", accuracy.figure1c, several=True),
    "fig3": Experiment("time-averaged spiking activity by layer", spikes.figure3, several=True),
    "fig4": Experiment("T swept", sweeps.figure4, several=True),
    "fig5": Experiment("perturbation distance over the leak, and by layer", spikes.figure5),
    "fig7": Experiment("time and memory of training", cost.figure7, several=True),
    "fig8": Experiment("attack bound ε and iterations K swept", sweeps.figure8),
    "fig9": Experiment("crafted against Gaussian noise", accuracy.figure9, several=True),
    "fig10": Experiment("noise step ε_s swept, T of both codings", sweeps.figure10, several=True),
    "fig11": Experiment("compute energy, FP and INT", cost.figure11, several=True),
    "attackers": Experiment("HIRE under other surrogate gradients", attackers.attackers),
    "adversarial": Experiment("adversarial training at HIRE's cost and epochs", adversarial.adversarial),
    "robustness": Experiment("strong attacks on HIRE and its controls", robustness.robustness),
    "recipes": Experiment("recipes at HIRE's cost, searched on held-out images", recipes.recipes),
    "choices": Experiment("choices that the paper leaves open, one at a time", choices.open_choices),
    "moments": Experiment("Adam's moments in 16 bits", choices.moments),
}
GROUPS = {"all": tuple(name for name in EXPERIMENTS if name.startswith(("table", "fig"))), "fig1": ("fig1b", "fig1c")}


def add_flags(parser):
    """Its flags."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="table1 … table7, fig1 … fig11, all (default), attackers, adversarial, robustness, recipes, choices, moments",
    )
    parser.add_argument(
        "--scale",
        default="mini",
        metavar="SCALE",
        help="mini (default; “shapes”), small or medium (part of CIFAR-10), or full",
    )
    add_file(parser, "--out", "folder of paper.html and the cache (default: runs/paper)", "DIR")
    parser.add_argument(
        "--data-dir", metavar="DIR", help="folder of CIFAR-10, CIFAR-100 or both; for all scales but mini"
    )
    add_download(parser)
    parser.add_argument("--seeds", type=int, default=1, metavar="K", help="train everything K times (default: 1)")
    parser.add_argument("--models", type=names_of, default=(), metavar="A,B", help=MODELS)
    parser.add_argument("--list", action="store_true", help="list what each needs, has and would cost; do nothing")
    add_time_limit(parser, "run the same command again")
    add_execution(parser, record=True)


def run(options) -> None:
    """Make the tables and figures, or list them. Raises MinihireError for unknown names and data that do not fit."""
    names = chosen(options.names or ["all"])
    if not 1 <= options.seeds <= SEEDS:
        raise MinihireError(f"--seeds must be 1 … {SEEDS}, not {options.seeds}")
    at = scale(options.scale, options.data_dir, options.models, options.download)
    if options.data_dir is not None and all(config.data == "shapes" for config in at.settings):
        raise MinihireError(
            f"--data-dir {options.data_dir} was given, but scale {at.name} uses the data set shapes, which needs no files: "
            "leave it out, or give --scale small, medium or full"
        )
    out = options.out or folders.BASE / "paper"
    study = PaperStudy(at, open_backend(options), out, options.seeds, options.download)
    if options.list:
        print(listing(study, names))
        return
    others = [name for name in FILES if os.path.lexists(out / name)]
    if others and not (out / "cache").is_dir():
        raise MinihireError(
            f"{out} holds other files, {', '.join(others)}, which would be overwritten: choose another --out"
        )
    with folders.lock(out), resumable_by("the same command"):
        content = reproduce(study, names, out)
    print(f"{out}/paper.html, paper.md and paper.json: {len(content['outcomes'])} tables and figures")


def chosen(names: list[str]) -> list[str]:
    """Experiments by name, each once, in the order given. Raises MinihireError for an unknown name."""
    found = {}
    for name in names:
        if name not in EXPERIMENTS and name not in GROUPS:
            raise MinihireError(f"the paper has no {name!r}: {choose(name, (*EXPERIMENTS, *GROUPS))}")
        found |= dict.fromkeys(GROUPS.get(name, (name,)))
    return list(found)


def listing(study: PaperStudy, names: list[str]) -> str:
    """A table: how many networks and measurements each experiment needs and has, and the time that the rest takes."""
    plan = Plan(study)
    rows = []
    for name in names:
        needs = plan.needs(EXPERIMENTS[name].make)
        left = plan.seconds(needs)
        cost_left = "nothing" if not needs.missing else "not known yet" if left is None else f"about {duration(left)}"
        have = f"{len(needs.networks) - len(needs.missing_networks)} of {len(needs.networks)}"
        done = f"{needs.measurements - needs.missing_measurements} of {needs.measurements}"
        rows.append([f"{name:<12}{EXPERIMENTS[name].what}", have, done, cost_left])
    return table(["what", "networks there", "measured", "still to do"], rows)


def reproduce(study: PaperStudy, names: list[str], out: Path) -> dict:
    """Make the outcomes, print each and write all to OUT/paper.json, paper.md and paper.html. Returns the content.

    The files are written after each outcome. Earlier files with more outcomes are replaced only at the end.
    """
    machine = f"{study.store.maker()} backend on {study.backend.device}, {os.cpu_count()} cores, {platform.system()}"
    content = {
        "schema": 1,
        "scale": study.scale.name,
        "seeds": len(study.seeds),
        "command": _command(study, names),
        "machine": machine,
        "seconds": 0.0,
        "outcomes": [],
    }
    earlier, earlier_command = _earlier(out)
    for number, name in enumerate(names, 1):
        outcome = EXPERIMENTS[name].make(study).as_dict()
        outcome["notes"] += study.scale.left_out if EXPERIMENTS[name].several else ()
        content["outcomes"].append(outcome)
        content["seconds"] = study.store.seconds()
        others = sorted({maker for maker in study.store.makers.values() if maker and maker != study.store.maker()})
        content["machine"] = machine + (f" (in part made earlier by {', '.join(others)})" if others else "")
        say("\n" + page.as_text(outcome) + "\n")
        if number >= min(earlier, len(names)):
            _write(out, content)
    if earlier_command not in ("", content["command"]):
        say(
            f"the page of `{earlier_command}` was replaced: that command, with the same --out, makes it again from the cache"
        )
    return content


def _earlier(out) -> tuple[int, str]:
    """The number of outcomes in OUT/paper.json and the command that makes them again; (0, "") if there is no such file."""
    try:
        content = json.loads(read_text(out / "paper.json"))
        return len(content["outcomes"]), str(content["command"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return 0, ""


def _command(study, names):
    """The command that makes the same again, without the folders."""
    whole = GROUPS["all"]
    names = ["all", *names[len(whole) :]] if tuple(names[: len(whole)]) == whole else names
    found = ["minihire", "paper", *names, "--scale", study.scale.name, "--seeds", str(len(study.seeds))]
    models = tuple(dict.fromkeys(c.model for c in study.scale.settings))
    if models != SCALES.get(study.scale.name, study.scale).usual_models:
        found += ["--models", ",".join(models)]
    return shlex.join(found)


def _write(out, content):
    files = {
        "paper.json": json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False),
        "paper.md": page.as_markdown(content),
        "paper.html": page.as_page(content),
    }
    for name, text in files.items():
        write_atomically(Path(out) / name, lambda file, text=text: file.write(utf8(text)))


COMMAND = Command(
    "paper",
    WHOLE,
    "reproduce the paper's tables and figures, beside what it prints",
    "[NAME …]",
    add_flags,
    run,
    """minihire paper --list        what each needs, has, and would cost
  minihire paper table2 fig8
  minihire paper all --scale small --seeds 3 --data-dir DIR""",
)
