"""Time and memory of a training step over batch size, time steps, width and firing density. One factor varies at a time.

python -m benchmarks.scaling --json FILE --figure FILE.png         all factors; minihire and dense PyTorch
python -m benchmarks.scaling --only batch --batches 16 32          one factor
python -m benchmarks.scaling --from FILE --figure FILE.png         draw earlier results

Weights are random. The base point is part of every curve and is measured once. It is set with --batch, --steps, --width
and --density (default: 32, that of the model, 1, 0.1). Hidden layers have the model's size times the width, rounded to a
multiple of 8, unless --hidden is given. Other defaults: --peers torch, --rounds 3, --threads all cores. After Ctrl-C the
points measured so far are kept.
"""

import argparse
import contextlib
import io
import json
import math
import sys
from pathlib import Path
from typing import NamedTuple

from backends.processors import affinity
from benchmarks import charts
from benchmarks.command import measure, parser, run
from minihire.app.flags import names
from minihire.models import MODELS, build
from minihire.runtime.errors import MinihireError
from minihire.runtime.files import write_atomically


class Point(NamedTuple):
    """One point to measure: batch size, time steps T, factor on channels, fraction of firing neurons."""

    batch: int
    steps: int
    width: float
    density: float

    def __str__(self):
        return f"batch {self.batch}, T = {self.steps}, width {self.width:g}, density {self.density:g}"


class Factor(NamedTuple):
    """A factor: its field of `Point`, its flag, the type of its values, and the default values."""

    field: str
    flag: str
    kind: type
    values: tuple


FACTORS = {
    "batch": Factor("batch", "batches", int, (8, 16, 32, 64)),
    "time": Factor("steps", "times", int, (2, 4, 6, 10)),
    "width": Factor("width", "widths", float, (0.25, 0.5, 1.0)),
    # Neurons with random weights cannot fire in half of all steps.
    "density": Factor("density", "densities", float, (0.03, 0.1, 0.2, 0.3, 0.45)),
}


def main(arguments=None) -> None:
    """Measure all points, or read earlier results, and draw them if --figure is given."""
    options = parse(arguments)
    if options.source:
        charts.write_scaling(load(options.source), options.figure)
        return
    base, values = plan(options)
    points = list(dict.fromkeys([base, *(base._replace(**{f: v}) for f, found in values.items() for v in found)]))
    content = {
        "settings": {
            "model": options.model,
            "hidden": options.hidden,
            "base": base._asdict(),
            "values": values,
            "rounds": options.rounds,
            "warm_up": options.warm_up,
            "threads": options.threads[0],
        },
        "points": [],
        "left_out": [],
    }
    try:
        for number, point in enumerate(points, 1):
            print(f"{number} of {len(points)}: {point}", flush=True)
            add(content, options, point)
    finally:
        if options.figure and content["points"]:
            charts.write_scaling(content, options.figure)


def parse(arguments) -> argparse.Namespace:
    """Parse the flags. Raises MinihireError for flags that contradict each other."""
    p = parser("scaling", __doc__)
    p.set_defaults(batch=32, density="0.1", rounds=3, peers="torch", threads=[affinity()])
    for name, factor in FACTORS.items():
        default = " ".join(f"{value:g}" for value in factor.values)
        p.add_argument(
            f"--{factor.flag}",
            type=factor.kind,
            nargs="+",
            default=factor.values,
            metavar="X",
            help=f"values of the factor {name} (default: {default})",
        )
    p.add_argument(
        "--only",
        type=names,
        default=tuple(FACTORS),
        metavar="NAMES",
        help=f"factors to vary (default: {','.join(FACTORS)})",
    )
    p.add_argument("--figure", type=Path, metavar="PATH.png", help="draw the results; needs matplotlib")
    p.add_argument(
        "--from", type=Path, dest="source", metavar="JSON", help="draw the results in this file instead of measuring"
    )
    options = p.parse_args(arguments)
    if options.figure:
        if options.figure.suffix.lower() != ".png":
            raise MinihireError(f"--figure writes a PNG file: give a name that ends in .png, not {options.figure}")
        charts.pyplot()  # so that a missing matplotlib is reported before the measurement
    if options.source and (options.json or not options.figure):
        raise MinihireError("--from only draws: give it with --figure PATH.png and without --json")
    if options.checkpoint or options.data_dir:
        raise MinihireError("scaling uses random weights: omit --checkpoint and --data-dir")
    if len(options.threads) > 1:
        raise MinihireError(f"scaling uses one number of threads: give one value for --threads, not {options.threads}")
    return options


def plan(options) -> tuple[Point, dict[str, list]]:
    """Return the base point, and the sorted values of each chosen factor by field, including the base point's value."""
    for name in options.only or ("",):
        if name not in FACTORS:
            raise MinihireError(f"--only must be one or more of {','.join(FACTORS)}, not {name!r}")
    try:
        density = float(options.density)
    except ValueError as error:
        raise MinihireError(f"--density must be a number between 0 and 1, not {options.density}") from error
    default_steps = build(options.model).steps  # raises for an unknown model
    steps = default_steps if options.steps is None else options.steps
    base, values = Point(options.batch, steps, options.width, density), {}
    for name, (field, flag, kind, _) in FACTORS.items():
        given = getattr(options, flag) if name in options.only else ()
        for name_of_flag, value in [(field, getattr(base, field)), *((flag, value) for value in given)]:
            _check(name_of_flag, kind, value, below=1 if name == "density" else math.inf)
        if name in options.only:
            values[field] = sorted({getattr(base, field), *given})
    return base, values


def _check(flag, kind, value, below):
    if not 0 < value < below:
        expected = "1 or more" if kind is int else "above 0" + (f" and below {below}" if below < math.inf else "")
        raise MinihireError(f"--{flag} must be {expected}, not {value}")


def hidden_size(options, width: float) -> int | None:
    """Size of the hidden linear layers: --hidden, or the model's size times the width, rounded to a multiple of 8.

    None for a model without hidden layers.
    """
    sizes = getattr(MODELS[options.model], "hidden", ())
    if options.hidden is not None or not sizes:
        return options.hidden
    return max(8, 8 * round(sizes[0] * width / 8))


def add(content: dict, options, point: Point) -> None:
    """Measure a point, print its result, and add it to `content` and to the JSON file.

    A point that fails is skipped with a message. If the first point fails, the error is raised, because the others would
    fail for the same reason.
    """
    first = not content["points"]
    hidden = hidden_size(options, point.width)
    flags = vars(options) | point._asdict() | {"density": str(point.density), "hidden": hidden, "json": None}
    try:
        with contextlib.nullcontext() if first else contextlib.redirect_stdout(io.StringIO()):
            found = measure(argparse.Namespace(**flags), "train")
    except MinihireError as error:
        if first:
            raise
        content["left_out"].append({**point._asdict(), "reason": str(error)})
        print(f"  skipped: {error}")
    else:
        if first:
            content.update({name: found[name] for name in ("machine", "memory", "allocator")})
        result, busy = found["results"][0], found["machine"]["busy_cores_before"]
        known = {"hidden": hidden, "busy_cores_before": busy, "ratios": result["ratios"], "sides": result["sides"]}
        content["points"].append(point._asdict() | known)
        print("  " + sentence(result))
    if options.json:
        text = json.dumps(content, indent=1)
        write_atomically(options.json, lambda file: file.write(text.encode()))


def sentence(result: dict) -> str:
    """A result as text, for example "minihire 362.0 ms, dense PyTorch 729.0 ms (2.01 times)"."""
    own, *peers = result["sides"]
    parts = [f"{own['title']} {1000 * own['median_s']:.1f} ms"]
    parts += [f"{r['title']} {1000 * r['median_s']:.1f} ms ({result['ratios'][r['side']]:.2f} times)" for r in peers]
    return ", ".join(parts)


def load(path: Path) -> dict:
    """Read a JSON file that this command wrote. Raises MinihireError for any other file."""
    try:
        content = json.loads(path.read_bytes())
        complete = content["settings"]["base"].keys() == set(Point._fields) and content["points"]
    except OSError as error:
        raise MinihireError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        complete = False
    if not complete:
        raise MinihireError(f"{path} is not a file that benchmarks.scaling wrote: give one of its --json files")
    return content


if __name__ == "__main__":
    sys.exit(run(main))
