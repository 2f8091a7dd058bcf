"""Code that the benchmark commands share: flags, measurement, tables, and the JSON file."""

import argparse
import contextlib
import json
import math
import signal
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from backends import BackendError
from backends.processors import affinity
from benchmarks import machine, report
from benchmarks.conditions import ALLOCATOR, INSTRUCTIONS, busy, environment, instruction_limits
from benchmarks.contest import MEMORY, Entrant, Remote, contest
from benchmarks.peers import MINIHIRE, PEERS, USUAL, missing
from benchmarks.prepare import Preparation, Request
from benchmarks.problem import Problem
from benchmarks.report import ratios
from minihire.app.flags import Parser
from minihire.models import MODELS
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import read_text, require_writable, write_atomically
from minihire.runtime.interrupt import Interrupted


def network_flags(p: Parser) -> None:
    """Add the flags that choose the network and the batch."""
    p.add_argument("--model", default="vgg5", metavar="NAME", help=f"{', '.join(MODELS)} (default: vgg5)")
    p.add_argument("--width", type=float, default=1.0, metavar="X", help="factor on all channel counts (default: 1)")
    p.add_argument("--hidden", type=int, metavar="N", help="size of the hidden linear layers (default: the model's)")
    p.add_argument("--batch", type=int, metavar="N", help="images per batch (default: 32; ANN: 128)")
    p.add_argument("--steps", type=int, metavar="T", help="time steps T (default: that of the model or checkpoint)")
    p.add_argument(
        "--density", metavar="D", help="'trained', or the fraction of neurons that fire in every layer, such as 0.1"
    )
    p.add_argument("--checkpoint", type=Path, metavar="FILE", help="trained network to measure")
    p.add_argument("--data-dir", type=Path, metavar="DIR", help="folder with CIFAR-10, for images and training")
    p.add_argument("--cache", type=Path, metavar="DIR", help="folder for trained networks (default: runs/benchmarks)")
    p.add_argument("--ann-steps", type=int, default=300, metavar="N", help="batches of ANN training (default: 300)")
    p.add_argument(
        "--trained-on-all",
        action="store_true",
        help="train on all of CIFAR-10 instead: 8 epochs of the ANN, one of the SNN",
    )
    p.add_argument("--snn-steps", type=int, default=1000, metavar="N", help="batches of SNN training (default: 1000)")
    p.add_argument(
        "--moment-steps",
        type=int,
        default=20,
        metavar="N",
        help="steps before measuring, which fill Adam's moments (default: 20)",
    )


def parser(name: str, text: str) -> Parser:
    """A parser with the flags that all commands share."""
    p = Parser(f"python -m benchmarks.{name}", description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    network_flags(p)
    p.add_argument("--rounds", type=int, default=7, metavar="N", help="measured rounds (default: 7)")
    p.add_argument("--warm-up", type=int, default=2, metavar="N", help="rounds before the measured ones (default: 2)")
    p.add_argument("--threads", type=int, nargs="+", metavar="N", help="numbers of threads (default: 2 1)")
    p.add_argument(
        "--peers",
        default=",".join(USUAL),
        metavar="NAMES",
        help=f"other sides, of {', '.join(PEERS)} (default: {','.join(USUAL)})",
    )
    p.add_argument(
        "--backend", default="numba", metavar="NAME", help=f"minihire's backend: {', '.join(MINIHIRE)} (default: numba)"
    )
    p.add_argument(
        "--instructions",
        choices=INSTRUCTIONS,
        default="native",
        help="instruction set of all sides: all that the processor has, AVX-512 without AMX, or AVX2 (default: native)",
    )
    p.add_argument(
        "--busy",
        type=int,
        default=0,
        metavar="N",
        help="processes that keep a core busy during the contest (default: 0)",
    )
    add_json(p)
    return p


def add_json(p: Parser, text: str = "write all results to this file") -> None:
    """Add --json to the flags. The file is tested before the measurement."""
    p.add_argument("--json", type=json_file, metavar="PATH", help=text)


def json_file(text: str) -> Path:
    """The path of a file to write. Raises MinihireError if it is not writable, or has something else than a JSON object."""
    path = Path(text)
    require_writable(path)
    if path.exists():
        try:
            ours = isinstance(json.loads(read_text(path)), dict)
        except (OSError, ValueError, RecursionError):
            ours = False
        if not ours:
            raise MinihireError(f"--json {path} exists and has no results of a benchmark: choose another file")
    return path


def run(command, arguments: list[str] | None = None) -> int:
    """Run command(arguments) and return the exit code: 0, 2 after an error message, or 130 if it was interrupted."""
    before = signal.signal(signal.SIGTERM, _terminate)  # so that temporary files are deleted
    try:
        command(arguments)
        return 0
    except (Interrupted, KeyboardInterrupt) as stopped:
        print(f"benchmarks: stopped {stopped}".rstrip(), file=sys.stderr)
        return 130
    except (MinihireError, BackendError) as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        about = str(error) if error.filename is None else f"{error.filename}: {error.strerror}"
        print(f"benchmarks: {about}; give another file or folder", file=sys.stderr)
        return 2
    except MemoryError as error:
        print(f"benchmarks: not enough memory ({error}): choose a smaller network or batch", file=sys.stderr)
        return 2
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(*_):
    raise KeyboardInterrupt


def measure(
    options, task: str, *, spiking: bool = True, optimiser: str = "adam", entrants=None, figures=ratios
) -> dict:
    """Prepare the problem, measure all sides at each number of threads, print tables, and write JSON if --json is given.

    entrants: (name, peer, task) of each side; the first is the one that the others are compared with. Default: minihire
    and the chosen peers. figures(rows): derived values for the rows of one measurement, as plain data.
    Returns the content of the JSON file.
    """
    request = chosen_network(options, task, spiking, optimiser)
    check_threads(options.threads or ())
    counts = options.threads or sorted({min(n, affinity()) for n in (1, 2)}, reverse=True)
    here = machine.describe()
    print("\n".join(machine.sentences(here)))
    chosen = entrants or [("minihire", own(options), task), *chosen_peers(options, task)]
    limits = instruction_limits(options.instructions)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="minihire-benchmark-"))
        stack.enter_context(environment(limits))
        problem, small, about = prepared(request, Path(folder))
        own_optimiser = getattr(options, "optimiser", None)
        problem, small = (replace(p, own_optimiser=own_optimiser) for p in (problem, small))
        settings = {"task": task, "rounds": options.rounds, "warm_up": options.warm_up, **about}
        settings |= {"instructions": options.instructions, "environment": limits, "busy": options.busy}
        settings |= {"own_optimiser": own_optimiser} if own_optimiser else {}
        print("\n".join(report.settings(settings)))
        results = []
        stack.enter_context(busy(options.busy))
        for count in counts:
            print(f"{report.threads(count)}, {options.rounds} rounds after {options.warm_up} warm-up rounds")
            sides = [Entrant(*entrant, problem, small) for entrant in chosen]
            rows = contest(sides, count, options.rounds, options.warm_up)
            results.append({"threads": count, **figures(rows), "sides": rows})
    all_threads = max(results, key=lambda result: result["threads"])
    content = {"settings": settings, "machine": here, "memory": MEMORY, "allocator": ALLOCATOR}
    content |= {name: value for name, value in all_threads.items() if "ratio" in name or "fastest" in name} | {
        "results": results
    }
    print("\n" + report.results(results, MEMORY))
    if options.json:
        text = json.dumps(content, indent=1)
        write_atomically(options.json, lambda file: file.write(text.encode()))
    return content


def prepared(request: Request, folder: Path) -> tuple[Problem, Problem, dict]:
    """The result of `Preparation.make`, which runs in a process of its own."""
    preparation = Remote("the preparation", None, Preparation, request, folder)
    try:
        return preparation.call("make")
    finally:
        preparation.close()


def own(options):
    """minihire's side on the chosen backend. Raises MinihireError if the backend is unknown or not installed."""
    if options.backend not in MINIHIRE:
        raise MinihireError(f"--backend must be {' or '.join(MINIHIRE)}, not {options.backend!r}")
    side = MINIHIRE[options.backend]
    if missing(side):
        raise MinihireError(f"the {options.backend} backend needs {', '.join(missing(side))}, which is not installed")
    return side


def chosen_peers(options, task):
    """The (name, peer, task) of each chosen and installed peer. Prints why others are skipped."""
    names = [name.strip() for name in options.peers.split(",") if name.strip()]
    for name in names:
        if name not in PEERS:
            raise MinihireError(f"there is no peer {name!r}: choose from {', '.join(PEERS)}")
        packages = missing(PEERS[name])
        if packages:
            print(
                f"{PEERS[name].title} is skipped, because {', '.join(packages)} is not installed: pip install -e '.[bench]'"
            )
        else:
            yield name, PEERS[name], task


def check_threads(counts) -> None:
    """Raise MinihireError unless every number of threads is 1 … 1024."""
    for count in counts:
        if not 1 <= count <= 1024:
            raise MinihireError(f"--threads must be 1 … 1024, not {count}")


def chosen_network(options, task: str, spiking: bool = True, optimiser: str = "adam") -> Request:
    """The `Request` of the flags. Raises MinihireError if they contradict each other or are out of range."""
    density = options.density or ("trained" if options.checkpoint or options.data_dir else "0.1")
    if density != "trained":
        try:
            density = float(density)
        except ValueError:
            density = math.nan
        if not 0 < density < 1:
            raise MinihireError(f"--density must be 'trained' or a number between 0 and 1, not {options.density}")
    elif not options.checkpoint and not options.data_dir:
        raise MinihireError("--density trained needs a trained network: give --checkpoint FILE or --data-dir DIR")
    if options.trained_on_all and (options.checkpoint or not options.data_dir):
        raise MinihireError("--trained-on-all trains on CIFAR-10: give --data-dir DIR, and omit --checkpoint")
    minima = {
        "batch": 1,
        "steps": 1,
        "hidden": 1,
        "ann_steps": 1,
        "snn_steps": 1,
        "moment_steps": 0,
        "rounds": 1,
        "warm_up": 0,
        "busy": 0,
    }
    for name, low in minima.items():
        value = getattr(options, name, None)
        if value is not None and value < low:
            raise MinihireError(f"--{name.replace('_', '-')} must be {low} or more, not {value}")
    return Request(
        model=options.model,
        width=options.width,
        hidden=options.hidden,
        batch=options.batch or (32 if spiking else 128),
        steps=options.steps,
        spiking=spiking,
        density=None if density == "trained" or not spiking else density,
        checkpoint=options.checkpoint,
        data_dir=options.data_dir,
        cache=options.cache,
        ann_steps=options.ann_steps,
        snn_steps=options.snn_steps,
        trained_on_all=options.trained_on_all,
        moment_steps=options.moment_steps,
        optimiser=optimiser,
        train=task in ("train", "traditional", "hire"),
    )
