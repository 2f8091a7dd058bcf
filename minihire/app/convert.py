"""minihire convert: convert the checkpoint of an ANN into the checkpoint of an SNN."""

from minihire.app.command import STEPS, Command
from minihire.app.flags import add_download, add_execution, add_file, add_modules, add_settings, settings
from minihire.app.inputs import open_backend, open_checkpoint, open_data, refuse_misfit, refuse_test_only, resolve
from minihire.app.outputs import require_absent
from minihire.report.tables import table
from minihire.runtime.errors import MinihireError
from minihire.study.single import convert_one
from minihire.training.checkpoint import training_images
from minihire.training.normalise import has_biases

USES = (
    *settings("data", without=("test_limit", "augment")),
    *settings("network", without=("model", "width", "hidden", "dropout")),
    *settings("conversion", "run"),
)


def add_flags(parser):
    """Add the flags of this command to the parser."""
    add_file(parser, "ann", "the ANN's checkpoint", "ANN")
    add_file(parser, "--out", "checkpoint to write, .npz", required=True)
    add_modules(parser)
    add_download(parser)
    add_settings(parser, USES)
    add_execution(parser)


def run(options) -> None:
    """Convert by threshold balancing and print the thresholds."""
    require_absent(options.out)
    saved = open_checkpoint(options.ann)
    config, backend = resolve(options, saved, USES), open_backend(options)
    ann = saved.network(backend)
    if ann.spiking:
        raise MinihireError(f"{options.ann} is a spiking network already: give an ANN's checkpoint")
    unused = [name for name in ("scaling_factor", "calibration_steps") if hasattr(options, name)]
    if unused and has_biases(ann):
        raise MinihireError(
            f"--{unused[0].replace('_', '-')} has no effect on a network with biases, whose weights are normalised: leave it out"
        )
    data = open_data(config, options, backend, USES)
    refuse_test_only(config, data)
    refuse_misfit(saved, ann, data.train)
    snn = convert_one(config, ann, data, backend, options.out, training_images(saved))
    values = {name: float(backend.to_numpy(a)[0]) for name, a in snn.parameters.items() if name.endswith(".threshold")}
    rows = [[name.removesuffix(".threshold"), f"{value:.4f}"] for name, value in values.items()]
    print(table(["layer", "threshold"], rows))
    print(f"\n{options.out}: an SNN of {snn.steps} time steps")


COMMAND = Command(
    "convert",
    STEPS,
    "convert a trained ANN into an SNN by threshold balancing",
    "ANN --out FILE",
    add_flags,
    run,
    "minihire convert ann.npz --out snn.npz --steps 8 --scaling-factor 0.4",
)
