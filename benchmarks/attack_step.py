"""Time and memory of one PGD step (equation 4) on a spiking network in evaluation mode: minihire and other libraries.

A step computes the gradient with respect to the images, its sign, and the projection. No side computes weight gradients.

    python -m benchmarks.attack_step --data-dir DIR                    trained VGG5
    python -m benchmarks.attack_step --density 0.1 --width 0.25        random weights, 10 % of neurons fire
"""

import sys

from benchmarks.command import measure, parser, run


def main(arguments=None) -> None:
    """Parse the flags and measure."""
    measure(parser("attack_step", __doc__).parse_args(arguments), "attack")


if __name__ == "__main__":
    sys.exit(run(main))
