"""minihire analyze: spiking activity, operations, energy and NeuroBench metrics of a checkpoint."""

from minihire.app.command import STEPS, Command
from minihire.app.flags import add_download, add_execution, add_file, add_json, add_modules, add_settings, settings
from minihire.app.inputs import (
    apply_flags,
    open_backend,
    open_checkpoint,
    open_data,
    refuse_misfit,
    refuse_seed,
    resolve,
)
from minihire.app.outputs import json_path, show_and_write
from minihire.report import tables
from minihire.study.networks import activity_and_energy, neurobench_metrics

USES = ("data", "data_dir", "image_size", "test_limit", "steps", "time_chunk", *settings("run"))


def add_flags(parser):
    """Add the flags of this command to the parser."""
    add_file(parser, "checkpoint", "the network to measure: an .npz file", "CHECKPOINT")
    add_json(parser, "figures")
    parser.add_argument(
        "--neurobench", action="store_true", help="also NeuroBench's metrics, which take three to four times as long"
    )
    add_modules(parser)
    add_download(parser)
    add_settings(parser, USES, defaults=False)
    add_execution(parser)


def run(options) -> None:
    """Measure the activity on the test images, and compute operations and energy from it."""
    json_path(options)
    saved = open_checkpoint(options.checkpoint)
    config, backend = resolve(options, saved, USES), open_backend(options)
    network = apply_flags(saved.network(backend), config, options, options.checkpoint)
    refuse_seed(options, network)
    test = open_data(config, options, backend, USES).test
    refuse_misfit(saved, network, test)
    activity, measured = activity_and_energy(network, test, config.seed)
    layers = [layer.as_dict() for layer in activity]
    energy = {kind: value.as_dict() for kind, value in measured.items()}
    content = {"checkpoint": str(options.checkpoint), "images": len(test), "activity": layers, "energy": energy}
    parts = [
        tables.activity_table(layers),
        tables.operations_table(energy["first_layer_once"]),
        tables.energy_table({"energy": {options.checkpoint.stem: energy}}),
    ]
    if options.neurobench:
        metrics = neurobench_metrics(network, test, config.seed).as_dict(measured["first_layer_once"])
        content["neurobench"] = metrics
        parts.append(tables.neurobench_table(metrics))
    show_and_write(options, content, "\n\n".join(parts))


COMMAND = Command(
    "analyze",
    STEPS,
    "spiking activity, operations, energy and NeuroBench metrics",
    "CHECKPOINT",
    add_flags,
    run,
    "minihire analyze runs/mini/models/hire.npz",
)
