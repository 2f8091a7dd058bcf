"""minihire info: the layer table of a model or a checkpoint."""

import argparse
import os
from pathlib import Path

import backends
from minihire.app.command import STEPS, Command
from minihire.app.flags import add_json, add_modules, flag_of
from minihire.app.inputs import data_of, open_checkpoint, refuse_hidden
from minihire.app.outputs import json_path, show_and_write
from minihire.models import MODELS, build
from minihire.report.tables import table
from minihire.runtime.errors import MinihireError
from minihire.runtime.terminal import escaped
from minihire.study.settings import Config
from minihire.training.checkpoint import Checkpoint

OF_A_MODEL = ("classes", "image_shape", "width", "hidden")  # flags that describe a model by name
MAX_CLASSES = 20  # number of class names to print


def add_flags(parser):
    """Add the flags of this command to the parser."""
    parser.add_argument("model_name", metavar="MODEL", help=f"a checkpoint, or {', '.join(MODELS)}")
    given = {"default": argparse.SUPPRESS}
    parser.add_argument("--classes", type=int, metavar="N", help="number of classes [10]", **given)
    parser.add_argument(
        "--image-shape", type=int, nargs=3, metavar=("H", "W", "C"), help="height, width, channels [32 32 3]", **given
    )
    parser.add_argument("--width", type=float, metavar="X", help="factor on all channel counts [1]", **given)
    parser.add_argument("--hidden", type=int, metavar="N", help="size of the hidden linear layers", **given)
    add_json(parser, "table")
    add_modules(parser)


def run(options) -> None:
    """Print shapes, weights and operations of each layer; for a checkpoint also its kind, time steps, data and classes."""
    json_path(options)
    given = {name: getattr(options, name) for name in OF_A_MODEL if hasattr(options, name)}
    about = {}
    file = os.path.exists(options.model_name) or options.model_name.endswith(".npz")
    if options.model_name not in MODELS and file:
        if given:
            raise MinihireError(
                f"{flag_of(next(iter(given)))} describes a model by name: leave it out for a checkpoint"
            )
        saved = open_checkpoint(Path(options.model_name))
        network = saved.network(backends.get_backend("reference"))
        model, about = network.model, _about(saved, network)
        sentence = _sentence(options.model_name, about, model)
    else:
        refuse_hidden(options, options.model_name)
        Config(width=getattr(options, "width", 1.0))  # raises MinihireError for a width out of the flag's range
        model = build(options.model_name, **given)
        sentence = f"{model.name}: T = {model.steps} time steps by default"
    shape = lambda s: "×".join(map(str, s))
    table_rows = model.table()
    rows = [
        [r.name, r.kind, shape(r.input_shape), shape(r.output_shape), f"{r.weights:,}", f"{r.operations:,}"]
        for r in table_rows
    ]
    weights, operations = sum(r.weights for r in table_rows), sum(r.operations for r in table_rows)
    rows.append(["total", "", "", "", f"{weights:,}", f"{operations:,}"])
    layers = [
        {**r._asdict(), "input_shape": list(r.input_shape), "output_shape": list(r.output_shape)} for r in table_rows
    ]
    show_and_write(
        options,
        {"model": model.name, "steps": model.steps, **about, "layers": layers},
        tables_text(rows) + f"\n\n{sentence}; operations are per image and time step with every input active",
    )


def tables_text(rows: list[list[str]]) -> str:
    """The layer table as text."""
    return table(["layer", "kind", "input", "output", "weights", "operations"], rows)


def _about(saved: Checkpoint, network) -> dict:
    name, classes = data_of(saved)
    return {
        "checkpoint": str(saved.path),
        "spiking": network.spiking,
        "steps": network.steps,
        "data": name,
        "classes": list(classes) or network.model.classes,
    }


def _sentence(path, about, model):
    kind = f"an SNN of T = {about['steps']} time steps" if about["spiking"] else "an ANN"
    data = f"trained on {about['data']}" if about["data"] else "which does not say what it was trained on"
    classes = about["classes"]
    if isinstance(classes, list):
        listed = ", ".join(map(escaped, classes[:MAX_CLASSES])) + (" …" if len(classes) > MAX_CLASSES else "")
        classes = f"{len(classes)} classes ({listed})"
    else:
        classes = f"{classes} classes"
    return f"{path}: {kind} ({model.name}), {data}, with {classes}"


COMMAND = Command(
    "info",
    STEPS,
    "layers of a model or checkpoint: shapes, weights, operations",
    "MODEL",
    add_flags,
    run,
    """minihire info vgg5 --width 0.25
  minihire info runs/mini/models/hire.npz""",
)
