"""minihire export: convert a checkpoint of minihire to the format of the paper's authors."""

from minihire.app.command import PUBLISHED, Command
from minihire.app.flags import add_file
from minihire.app.import_ import in_words
from minihire.app.inputs import open_checkpoint
from minihire.app.outputs import output_path
from minihire.interop import published


def add_flags(parser):
    """Add the flags of this command to the parser."""
    add_file(parser, "checkpoint", "the network to write: an .npz file", "CHECKPOINT")
    add_file(parser, "--out", "file to write (default: .pt beside the checkpoint)")


def run(options) -> None:
    """Write the checkpoint as a .pt file."""
    saved = open_checkpoint(options.checkpoint)
    out = output_path(options.checkpoint, options.out, ".pt")
    published.write(out, saved)
    print(f"{out}: {in_words(saved.meta)}")


COMMAND = Command(
    "export",
    PUBLISHED,
    "write a checkpoint (VGG) in the format of the paper's authors",
    "CHECKPOINT",
    add_flags,
    run,
    "minihire export runs/mini/models/hire.npz --out hire.pt",
)
