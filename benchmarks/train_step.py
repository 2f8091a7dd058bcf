"""Time and memory of a training step (forward, backward, optimiser) of a spiking network: minihire and other libraries.

python -m benchmarks.train_step --data-dir DIR                     trained VGG5
python -m benchmarks.train_step --density 0.1 --width 0.25         random weights, 10 % of neurons fire
python -m benchmarks.train_step --ann                              training step of an ANN: minihire and PyTorch
python -m benchmarks.train_step --hire                             a HIRE batch (N = 2) on all sides; minihire's traditional batch
python -m benchmarks.train_step --optimiser adam16 --data-dir DIR  minihire with 16-bit moments, the others with 32-bit Adam
"""

import sys

from benchmarks.command import chosen_peers, measure, own, parser, run
from benchmarks.peers import PEERS, variants
from benchmarks.report import MEBIBYTE, ratios
from minihire.runtime.errors import MinihireError

TASKS = {"hire": "minihire, HIRE batch", "traditional": "minihire, traditional batch"}


def main(arguments=None) -> None:
    """Parse the flags and measure."""
    p = parser("train_step", __doc__)
    p.add_argument(
        "--ann", action="store_true", help="measure ANN training (SGD with momentum); the usual peers are ANNs"
    )
    p.add_argument("--hire", action="store_true", help="measure a HIRE batch (N = 2) of all sides")
    p.add_argument(
        "--optimiser", metavar="NAME", help="minihire's optimiser: adam, or adam16 with 16-bit moments (default: adam)"
    )
    options = p.parse_args(arguments)
    if options.ann and options.hire:
        raise MinihireError("give --ann or --hire, not both")
    if options.optimiser not in (None, "adam", "adam16"):
        raise MinihireError(f"--optimiser must be adam or adam16, not {options.optimiser!r}")
    if options.optimiser and options.ann:
        raise MinihireError("an ANN is trained with SGD: omit --optimiser")
    if options.ann:
        if options.peers == p.get_default("peers"):
            options.peers = ",".join(variants("ann", PEERS["ann"]))
        for name in map(str.strip, options.peers.split(",")):
            if name in PEERS and PEERS[name].spiking:
                anns = ", ".join(variants("ann", PEERS["ann"]))
                raise MinihireError(f"--ann compares ANNs, but {name} is an SNN: choose --peers from {anns}")
        measure(options, "train", spiking=False, optimiser="sgd")
    elif options.hire:
        if options.steps is not None and options.steps < 2:
            raise MinihireError("a HIRE batch has N = 2 periods: give --steps 2 or more")
        hire(options)
    else:
        measure(options, "train")


def hire(options) -> dict:
    """Compare minihire's HIRE batch with its traditional batch and with the HIRE batches of the spiking peers."""
    sides = [(task, own(options)._replace(title=title), task) for task, title in TASKS.items()]
    peers = [entrant for entrant in chosen_peers(options, "hire") if entrant[1].spiking]
    return measure(options, "train", entrants=sides + peers, figures=compare)


def compare(rows: list[dict]) -> dict:
    """Print the ratios HIRE / traditional of time and activation memory. Return them and the ratios to the peers.

    rows: HIRE, traditional, then the peers.
    """
    hire, traditional, *_ = rows
    saved = [row["held_for_backward_bytes"] for row in (traditional, hire)]
    found = {
        "hire_time_ratio": hire["median_s"] / traditional["median_s"],
        "hire_activation_memory_ratio": saved[1] / max(saved[0], 1),
    }
    print(
        f"  HIRE / traditional: time {found['hire_time_ratio']:.3f}, activation memory "
        f"{found['hire_activation_memory_ratio']:.2f} ({saved[1] / MEBIBYTE:,.1f} and {saved[0] / MEBIBYTE:,.1f} MiB; "
        "increase of resident memory from the start of the batch to the loss)"
    )
    return ratios(rows) | found


if __name__ == "__main__":
    sys.exit(run(main))
