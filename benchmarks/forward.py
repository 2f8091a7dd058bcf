"""Time and memory of inference of a spiking network (the logits of one batch): minihire and other libraries.

python -m benchmarks.forward --data-dir DIR                        trained VGG5
python -m benchmarks.forward --density 0.1 --width 0.25            random weights, 10 % of neurons fire
"""

import sys

from benchmarks.command import measure, parser, run


def main(arguments=None) -> None:
    """Parse the flags and measure."""
    measure(parser("forward", __doc__).parse_args(arguments), "forward")


if __name__ == "__main__":
    sys.exit(run(main))
