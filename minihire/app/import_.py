"""minihire import: convert a file of another program to a checkpoint of minihire."""

import backends
from minihire.app.command import EXCHANGE, Command
from minihire.app.flags import add_file
from minihire.app.outputs import exchange_warnings, output_path
from minihire.data.cifar import CLASSES
from minihire.interop import nir_reader, published
from minihire.study.settings import paper_settings
from minihire.training import checkpoint


def add_flags(parser):
    """Add the flags of this command to the parser."""
    add_file(parser, "file", "a state dict that torch.save wrote (.pt), or an NIR graph (.nir)")
    add_file(parser, "--out", "checkpoint to write (default: .npz beside the file)")
    parser.add_argument(
        "--data",
        choices=tuple(CLASSES),
        metavar="{" + ",".join(CLASSES) + "}",
        help="the data set it was trained on (default for .pt: by the number of classes)",
    )
    parser.add_argument(
        "--steps", type=int, metavar="N", help="time steps T, where the file has none (default: the model's)"
    )


def run(options) -> None:
    """Read the file, whose content tells its format, and write the checkpoint."""
    with exchange_warnings():
        if nir_reader.is_nir(options.file):
            saved = nir_reader.read(options.file, data=options.data, steps=options.steps)
        else:
            saved = published.read(options.file, data=options.data, steps=options.steps, about=paper_settings)
    out = output_path(options.file, options.out, ".npz")
    extra = {name: saved.meta[name] for name in ("about", "data") if name in saved.meta}
    checkpoint.save(out, saved.network(backends.get_backend("reference")), extra=extra, new=True)
    print(f"{out}: {in_words(saved.meta)}")


def in_words(meta: dict) -> str:
    """A short description of a checkpoint from its metadata: kind, model, width, classes."""
    model, network = meta["model"], meta["network"]
    kind = f"an SNN of {network['steps']} time steps" if network["spiking"] else "an ANN"
    width = f" with width {model['width']:g}" if "width" in model else ""
    return f"{kind}, {model['name']}{width}, for {model['classes']} classes"


COMMAND = Command(
    "import",
    EXCHANGE,
    "turn a .pt (the paper's authors) or .nir file into a checkpoint",
    "FILE",
    add_flags,
    run,
    "minihire import vgg5_cifar10.pt --out vgg5.npz",
)
