"""minihire import: convert a checkpoint of the paper's authors to a checkpoint of minihire."""

import backends
from minihire.app.command import PUBLISHED, Command
from minihire.app.flags import add_file
from minihire.app.outputs import output_path
from minihire.data.cifar import CLASSES
from minihire.interop import published
from minihire.study.settings import paper_settings
from minihire.training import checkpoint


def add_flags(parser):
    """Add the flags of this command to the parser."""
    add_file(parser, "file", "what torch.save wrote: a state dict, or one with it")
    add_file(parser, "--out", "checkpoint to write (default: .npz beside the file)")
    parser.add_argument(
        "--data",
        choices=tuple(CLASSES),
        metavar="{" + ",".join(CLASSES) + "}",
        help="the data set it was trained on (default: by the number of classes)",
    )
    parser.add_argument(
        "--steps", type=int, metavar="N", help="time steps T, where the file has none (default: the model's)"
    )


def run(options) -> None:
    """Read the file and write the checkpoint."""
    saved = published.read(options.file, data=options.data, steps=options.steps, about=paper_settings)
    out = output_path(options.file, options.out, ".npz")
    checkpoint.save(out, saved.network(backends.get_backend("reference")), extra={"about": saved.meta["about"]})
    print(f"{out}: {in_words(saved.meta)}")


def in_words(meta: dict) -> str:
    """A short description of a checkpoint from its metadata: kind, model, width, classes."""
    model, network = meta["model"], meta["network"]
    kind = f"an SNN of {network['steps']} time steps" if network["spiking"] else "an ANN"
    return f"{kind}, {model['name']} with width {model['width']:g}, for {model['classes']} classes"


COMMAND = Command(
    "import",
    PUBLISHED,
    "turn a checkpoint of the paper's authors (VGG, .pt) into ours",
    "FILE",
    add_flags,
    run,
    "minihire import vgg5_cifar10.pt --out vgg5.npz",
)
