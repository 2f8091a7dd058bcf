"""Inference (logits of one batch) of a spiking network: minihire beside its peers.

python -m benchmarks.forward --data-dir DIR                        VGG5 at trained density
python -m benchmarks.forward --density 0.1 --width 0.25            random weights, forced density
"""

import sys

from benchmarks.command import measure, parser, run


def main(arguments=None) -> None:
    """Parse and measure."""
    measure(parser("forward", __doc__).parse_args(arguments), "forward")


if __name__ == "__main__":
    sys.exit(run(main))
