"""minihire export: write a checkpoint of minihire in a format of other programs."""

from minihire.app.command import EXCHANGE, Command
from minihire.app.flags import add_file, add_modules
from minihire.app.import_ import in_words
from minihire.app.inputs import open_checkpoint
from minihire.app.outputs import exchange_warnings, output_path
from minihire.interop import nir, onnx, published
from minihire.runtime.errors import MinihireError

FORMATS = {"pt": published.write, "nir": nir.write, "onnx": onnx.write}
SUFFIXES = {".pt": "pt", ".pth": "pt", ".nir": "nir", ".onnx": "onnx"}


def add_flags(parser):
    """Add the flags of this command to the parser."""
    add_file(parser, "checkpoint", "the network to write: an .npz file", "CHECKPOINT")
    add_modules(parser)
    add_file(parser, "--out", "file to write; its name chooses the format (default: beside the checkpoint)")
    parser.add_argument(
        "--to",
        choices=tuple(FORMATS),
        metavar="{" + ",".join(FORMATS) + "}",
        help="the format: pt of the paper's authors, nir or onnx (default: by the name of --out, else pt)",
    )


def run(options) -> None:
    """Write the checkpoint in the format that --to or the name of --out chooses."""
    chosen = _format(options.to, options.out)
    saved = open_checkpoint(options.checkpoint)
    out = output_path(options.checkpoint, options.out, f".{chosen}")
    with exchange_warnings():
        FORMATS[chosen](out, saved)
    print(f"{out}: {in_words(saved.meta)}")


def _format(to, out):
    """The format. Raises MinihireError if the name of the file has another format, or none."""
    if out is None:
        return to or "pt"
    by_name = SUFFIXES.get(out.suffix)
    if to and by_name in (None, to):
        return to
    if to:
        raise MinihireError(
            f"--to {to} contradicts {out}, which is the name of a .{by_name} file: leave one of them out"
        )
    if by_name is None:
        raise MinihireError(f"--out {out} does not name a format: end it in {', '.join(SUFFIXES)}, or give --to")
    return by_name


COMMAND = Command(
    "export",
    EXCHANGE,
    "write a checkpoint as .pt (the paper's authors), .nir or .onnx",
    "CHECKPOINT",
    add_flags,
    run,
    "minihire export runs/mini/models/hire.npz --out hire.onnx",
)
