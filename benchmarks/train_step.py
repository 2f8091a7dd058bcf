"""A training step (forward, backward, optimiser) of a spiking network: minihire beside its peers.

python -m benchmarks.train_step --data-dir DIR                     VGG5 at trained density
python -m benchmarks.train_step --density 0.1 --width 0.25         random weights, forced density
python -m benchmarks.train_step --ann                              an ANN's training step beside PyTorch's
python -m benchmarks.train_step --hire                             a HIRE batch beside a traditional one
python -m benchmarks.train_step --optimiser adam16 --data-dir DIR  minihire with moments of 16 bits; the peers keep their Adam
"""

import sys

from benchmarks.command import measure, own, parser, run
from benchmarks.report import MEBIBYTE
from minihire.runtime.errors import MinihireError

TASKS = {"traditional": "traditional batch", "hire": "HIRE batch, N = 2"}


def main(arguments=None) -> None:
    """Parse, measure, and say what --hire adds."""
    p = parser("train_step", __doc__)
    p.add_argument("--ann", action="store_true", help="the ANN's training (SGD with momentum) beside PyTorch's")
    p.add_argument("--hire", action="store_true", help="one HIRE batch (N = 2) beside one traditional batch")
    p.add_argument("--optimiser", metavar="NAME", help="minihire's: adam or adam16, moments in 16 bits (default: adam)")
    options = p.parse_args(arguments)
    if options.ann and options.hire:
        raise MinihireError("give --ann or --hire, not both")
    if options.optimiser not in (None, "adam", "adam16"):
        raise MinihireError(f"--optimiser is adam or adam16, not {options.optimiser!r}")
    if options.optimiser and options.ann:
        raise MinihireError("the ANN is trained with SGD: leave --optimiser out")
    if options.ann:
        options.peers = "ann"
        measure(options, "train", spiking=False, optimiser="sgd")
    elif options.hire:
        if options.steps is not None and options.steps < 2:
            raise MinihireError("a HIRE batch has N = 2 periods: --steps must be 2 or more")
        hire(options)
    else:
        measure(options, "train")


def hire(options) -> dict:
    """The HIRE batch's time and activation memory over the traditional batch's."""
    sides = [(task, own(options)._replace(title=title), task) for task, title in TASKS.items()]
    return measure(options, "train", entrants=sides, figures=compare)


def compare(rows: list[dict]) -> dict:
    """What HIRE costs, said and returned: the second side's time and memory over the first's."""
    traditional, hire = rows
    held = [row["held_for_backward_bytes"] for row in (traditional, hire)]
    found = {
        "hire_time_ratio": hire["median_s"] / traditional["median_s"],
        "hire_activation_memory_ratio": held[1] / max(held[0], 1),
    }
    print(
        f"  a HIRE batch takes {found['hire_time_ratio']:.3f} of a traditional batch's time and holds "
        f"{found['hire_activation_memory_ratio']:.2f} of its activations for the backward pass "
        f"({held[1] / MEBIBYTE:,.1f} and {held[0] / MEBIBYTE:,.1f} MiB: resident at the loss, less before the batch)"
    )
    return found


if __name__ == "__main__":
    sys.exit(run(main))
