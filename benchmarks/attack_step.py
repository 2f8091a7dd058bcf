"""One PGD step (equation 4) on a spiking network, in evaluation mode: minihire beside its peers.

The gradient with respect to the images alone, its sign, the projection; no weight gradients on any side.

    python -m benchmarks.attack_step --data-dir DIR                    VGG5 at trained density
    python -m benchmarks.attack_step --density 0.1 --width 0.25        random weights, forced density
"""

import sys

from benchmarks.command import measure, parser, run


def main(arguments=None) -> None:
    """Parse and measure."""
    measure(parser("attack_step", __doc__).parse_args(arguments), "attack")


if __name__ == "__main__":
    sys.exit(run(main))
